"""Converted networks on disk, in the user's cache folder, so that one is converted once."""

from __future__ import annotations

import hashlib
import shutil
import time
import warnings
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from ...base import MedprobeWarning, OutputError, atomic_folder, fingerprint
from ...base.files import user_cache
from ...base.text import first_line
from ...cache import EmbeddingSpec
from ..device import openvino_batch

if TYPE_CHECKING:
    import openvino

_FORMAT = 1
"""Goes up when the same spec and versions shall be converted in another way."""
_ABANDONED_AFTER_S = 24 * 3600


@dataclass(frozen=True)
class ConvertedModel:
    """One converted network: a folder that is there whole or not at all. It may be removed at any time."""

    folder: Path

    @classmethod
    def of(cls, spec: EmbeddingSpec, library: str) -> ConvertedModel:
        """The place of the network that `spec` names, whose architecture is `library`'s.

        Graphs are the same in both precisions, and of the versions that took part in making them.
        """
        names = ("medprobe", "openvino", "torch", library)
        made_by = {
            "format": _FORMAT,
            "batch": openvino_batch(spec.transform.size),
            "versions": {name: version(name) for name in names},
        }
        key = fingerprint({"spec": asdict(replace(spec, precision="fp32")), **made_by}, digits=32)
        return cls(user_cache() / "converted" / key)

    def load(self) -> openvino.Model | None:
        """The graph, or None where there is none that is whole."""
        import openvino

        try:
            if (self.folder / "digest").read_text(encoding="ascii") != _digest(self.folder):
                self.remove()
                return None
            return openvino.Core().read_model(self.folder / "model.xml")
        except (OSError, RuntimeError, UnicodeDecodeError):
            return None  # not there, or another process has just removed it

    def save(self, model: openvino.Model) -> None:
        """Keeps a graph; of several processes the first one's counts. A disk that cannot take it is not an error."""
        import openvino

        self._sweep()
        try:
            with atomic_folder(self.folder) as temporary:
                openvino.save_model(model, temporary / "model.xml", compress_to_fp16=False)
                (temporary / "digest").write_text(_digest(temporary), encoding="ascii")
        except (OutputError, OSError, RuntimeError) as error:
            warnings.warn(
                f"the converted network cannot be kept ({first_line(error)}); it will be converted again next time.",
                MedprobeWarning,
                stacklevel=2,
            )

    def remove(self) -> None:
        """Forgets the graph; a process that has it open goes on with it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _sweep(self) -> None:
        """Removes what killed processes left half written."""
        for place in self.folder.parent.glob(".*.tmp"):
            with suppress(OSError):
                if time.time() - place.stat().st_mtime > _ABANDONED_AFTER_S:
                    shutil.rmtree(place, ignore_errors=True)


def _digest(folder: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name in ("model.xml", "model.bin"):
        with (folder / name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "blake2b").digest())
    return digest.hexdigest()

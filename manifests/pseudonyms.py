"""Patient ids made unreadable: a keyed hash, whose key stays beside the manifest."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pandas as pd

from ..base import ManifestError, writing
from .manifest import Manifest
from .tables import TEXT, as_words, column_of

_DIGITS = 20
"""Of a pseudonym: 80 bits, so that even ten million ids do not meet."""
_KEY_BYTES = 32
_UID = r"(?:^|[^0-9.])[0-2](?:\.(?:0|[1-9][0-9]*)){5,}"
"""A DICOM UID (PS3.5, 9.1), alone or within an id: numbers without leading zeros and dots between, six or more."""


@dataclass(frozen=True)
class Pseudonyms:
    """Gives each id another name, the same one for the same key; without the key nobody can try ids out.

    Keyed BLAKE2b (RFC 7693), a pseudorandom function, so no separate HMAC is needed.
    """

    key: bytes

    @classmethod
    def at(cls, file: Path) -> Pseudonyms:
        """With the key in `file`, which is made where it is missing, readable by its owner alone.

        Raises:
            ManifestError: the file holds no key.
            OutputError: it is not there and cannot be made.
        """
        with writing(file):
            try:
                descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            except FileExistsError:
                return cls(_read_key(file))
            with os.fdopen(descriptor, "w", encoding="ascii") as opened:
                key = secrets.token_bytes(_KEY_BYTES)
                opened.write(key.hex() + "\n")
                opened.flush()
                os.fsync(opened.fileno())
            return cls(key)

    def of(self, name: str) -> str:
        """The pseudonym of one id; an empty one stays empty."""
        return blake2b(name.encode(), key=self.key, digest_size=_DIGITS // 2).hexdigest() if name else ""

    def hide_ids(self, manifest: Manifest, columns: Sequence[str]) -> Manifest:
        """`manifest` with the ids in `columns` renamed; `identifying` says which of them tell who a sample is of."""
        renamed = {name: self._renamed(column_of(manifest.table, name)) for name in columns}
        return Manifest(manifest.table.assign(**renamed), manifest.card, manifest.path)

    def _renamed(self, ids: pd.Series) -> pd.Series:
        codes, names = pd.factorize(as_words(ids))
        return pd.Series(np.array([self.of(name) for name in names], object)[codes], dtype=TEXT)


def identifying(manifest: Manifest) -> list[str]:
    """The columns of `manifest` whose ids may tell who a sample is of.

    Those of groups and units; and sample ids where one holds the id of its group or unit, or the path of its file where
    groups or units are named, or a DICOM UID, which every archive that the image went through can look up.
    """
    columns = [name for name in ("group_id", "unit_id") if name in manifest.table]
    samples = column_of(manifest.table, "sample_id")
    if any(_tells(manifest.table, name) for name in columns) or samples.str.contains(_UID, regex=True).any():
        columns.append("sample_id")
    return columns


def _tells(table: pd.DataFrame, column: str) -> bool:
    """Whether any sample id holds the id in `column` of its row, or the path of its file.

    Files and folders are often called after the patient.
    """
    samples = as_words(column_of(table, "sample_id"))
    named = (as_words(column_of(table, name)) for name in (column, "path"))
    return any(name and name in sample for names in named for sample, name in zip(samples, names, strict=True))


def _read_key(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            # A little more than a key and its line end, so that what is no key is not read whole.
            key = bytes.fromhex(opened.read(2 * _KEY_BYTES + 8).decode("ascii"))
    except (OSError, ValueError):
        key = b""
    if len(key) != _KEY_BYTES:
        raise ManifestError(
            f"{file}: holds no key of {2 * _KEY_BYTES} hexadecimal digits; name another file with --key, move this one "
            "away, or give --keep-ids."
        )
    return key

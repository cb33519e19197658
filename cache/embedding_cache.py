"""A published cache: opening and reading."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from numpy.typing import DTypeLike

from ..base import CacheError, did_you_mean, one_of
from .hdf5 import SCHEMA, Matrix, check_seal, dataset, get_text, get_texts, hdf5_from
from .index import NOWHERE, Index, as_ids, get_index, get_trained_on, matrices, positions_in, unique_index
from .spec import IMPORTED, EmbeddingSpec, ImportedSpec, Spec, file_stem, spec_from_json

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class EmbeddingCache:
    """One published file of embeddings.

    Holds no file open between calls, so it pickles, needs no locks, and never keeps a newer publication from view.

    Examples:
        >>> from medprobe.cache import EmbeddingCache
        >>> cache = EmbeddingCache.open(caches[0].path)
        >>> cache.spec.backbone, cache.load("mean").shape
        ('timm:resnet50', (60, 16))
    """

    path: Path
    spec: Spec
    dataset: str
    """Name of the data set."""
    dims: dict[str, int] = field(compare=False)
    """Vector length by pooling, in the spec's order."""
    info: dict[str, Any] = field(compare=False)
    """schema, rows, content (digest of ids, pixels and quarantine), created (UTC), device, versions, throughput (of the
    process that published), quarantined (count), dtypes (by pooling), bytes (of the file), imported, trained_on."""

    @classmethod
    def open(cls, path: Path | str) -> EmbeddingCache:
        """Opens a published cache; reads its description, no vectors.

        Raises:
            CacheError: it is absent, damaged, of another schema, or not what its name says.
        """
        path = Path(path)
        with hdf5_from(path) as file:
            texts = get_texts(file)
            if texts["kind"] != "embeddings":
                raise ValueError("a part of an unfinished cache")
            spec = spec_from_json(texts["spec"])
            rows = len(dataset(file, "sample_id"))
            found = matrices(file, spec, rows)
            info = {
                "schema": SCHEMA,
                "rows": rows,
                **{name: texts[name] for name in ("content", "created", "device")},
                **{name: json.loads(texts[name]) for name in ("versions", "throughput")},
                "quarantined": int(texts["quarantined"]),
                "dtypes": {pooling: str(matrix.dtype) for pooling, matrix in found.items()},
                "bytes": file.id.get_filesize(),
                **{name: json.loads(texts.get(name, "{}")) for name in ("imported", "trained_on")},
            }
            dims = {pooling: int(matrix.shape[1]) for pooling, matrix in found.items()}
            _check_identity(path, spec, texts["fingerprint"])
            check_seal(file, texts)
        return cls(path=path, spec=spec, dataset=texts["dataset"], dims=dims, info=info)

    def __len__(self) -> int:
        return int(self.info["rows"])

    @property
    def computed_with(self) -> EmbeddingSpec:
        """The spec, where medprobe computed the embeddings.

        Raises:
            CacheError: they were imported, so that their network cannot be run.
        """
        if isinstance(self.spec, ImportedSpec):
            raise CacheError(
                f"{self.spec.backbone}: these embeddings were imported, so their network cannot be run on images;"
                " choose a backbone that `medprobe extract` has run."
            )
        return self.spec

    @property
    def poolings(self) -> tuple[str, ...]:
        """Names of the matrices."""
        return self.spec.poolings

    @property
    def sample_ids(self) -> np.ndarray:
        """(N,) object array of str, in the order of the rows."""
        return self._index.sample_id

    @property
    def content_digests(self) -> np.ndarray:
        """(N, 16) uint8: digest of each sample's decoded pixels."""
        return self._index.digest

    @cached_property
    def trained_on(self) -> np.ndarray:
        """(N,) bool: the samples whose pixels a fine-tuned network was trained on; none where that is not known."""
        if not self.info.get("trained_on"):
            return np.zeros(len(self), bool)
        with hdf5_from(self.path) as file:
            self._check_unchanged(file)
            return get_trained_on(file)

    @cached_property
    def quarantine(self) -> dict[str, str]:
        """Why a sample could not be embedded, by sample id."""
        return dict(zip(self._index.bad_id, self._index.bad_reason, strict=True))

    @cached_property
    def _index(self) -> Index:
        with hdf5_from(self.path) as file:
            self._check_unchanged(file)
            return get_index(file, self.path, self.spec, segment=False)

    def dim(self, pooling: str) -> int:
        """Vector length of a pooling.

        Raises:
            CacheError: the cache has no such pooling (lists those it has).
        """
        if pooling not in self.dims:
            raise CacheError(
                f'{self.path.name}: has no pooling "{pooling}"; it has {", ".join(self.dims)}.'
                f"{did_you_mean(pooling, self.dims)}"
            )
        return self.dims[pooling]

    def load(
        self,
        pooling: str,
        dtype: DTypeLike = np.float32,
        *,
        rows: np.ndarray | None = None,
        out: np.ndarray | None = None,
    ) -> np.ndarray:
        """The matrix of a pooling in one pass over the file, without a second copy in memory.

        Args:
            pooling: which.
            dtype: of the result, if there is no `out`.
            rows: (M,) which rows, in the order wanted; they may repeat. All, as in `sample_ids`, by default.
            out: (M, D), C-contiguous, to be filled and returned.

        Returns:
            (M, D) of `dtype`.

        Raises:
            CacheError: the cache has no such pooling (lists those it has), or a checksum is wrong.
        """
        width = self.dim(pooling)
        if rows is None:
            rows = np.arange(len(self))
        shape = len(rows), width
        if out is None:
            out = np.empty(shape, dtype=dtype)
        elif out.shape != shape:
            raise ValueError(f"out has the shape {out.shape}, what is read has {shape}")
        with hdf5_from(self.path) as file:
            self._check_unchanged(file)
            Matrix(file, pooling).read(out, rows, np.arange(len(rows)))
        return out

    def rows_of(
        self,
        sample_ids: Sequence[str] | np.ndarray,
        manifest: Path | None = None,
        *,
        parts: np.ndarray | None = None,
    ) -> np.ndarray:
        """The row of each sample: (len(sample_ids),) int64. Ids may repeat; `manifest` is where they are from.

        With `parts`, as `Manifest.parts` gives them, the part of the file that was embedded must be that of the sample;
        samples that take a whole file are not compared.

        Raises:
            CacheError: some samples are not in the cache, or another part of their file is (how many, which, and what
                to run).
        """
        wanted = as_ids(sample_ids)
        rows = positions_in(self._rows, wanted)
        absent = wanted[rows == NOWHERE]
        if len(absent):
            raise CacheError(self._absence(absent, len(wanted), manifest))
        if parts is not None and not isinstance(self.spec, ImportedSpec):
            others = wanted[(parts != 0) & (parts != self._index.stamp[rows].astype(np.uint32))]
            if len(others):
                raise CacheError(
                    f"{self.path.name}: {len(others):,} of {len(wanted):,} samples were embedded from another part of"
                    f" their file, e.g. {one_of(map(repr, others), most=3)}: their frame, window, or array in the path"
                    f" has changed since, or an earlier version embedded them. Run `{self._command(manifest)}`."
                )
        return rows

    @cached_property
    def _rows(self) -> pd.Index:
        return unique_index(self.sample_ids)

    def _absence(self, absent: np.ndarray, wanted: int, manifest: Path | None) -> str:
        bad = [f"{sample} ({self.quarantine[sample]})" for sample in absent if sample in self.quarantine]
        new = [sample for sample in absent if sample not in self.quarantine]
        text = f"{self.path.name}: {len(absent):,} of {wanted:,} samples are not in this cache."
        if new:
            text += (
                f" {len(new):,} are not embedded yet, e.g. {one_of(map(repr, new), most=3)}:"
                f" run `{self._command(manifest)}`."
            )
        if bad:
            text += (
                f" {len(bad):,} could not be embedded, e.g. {one_of(bad, most=3)}:"
                " fix these images and extract again, or remove them from the manifest."
            )
        return text

    def _command(self, manifest: Path | None) -> str:
        """What embeds samples into this cache."""
        options = () if isinstance(self.spec, ImportedSpec) else self.spec.options
        return extract_command(self.path.parent.parent, self.dataset, [self.spec.backbone], options, manifest)

    def _check_unchanged(self, file: h5py.File) -> None:
        """Rows of one publication must never be taken for rows of another."""
        if get_text(file, "content") != self.info["content"]:
            raise CacheError(f"{self.path.name}: was published again since it was opened; run the same command again.")

    def __getstate__(self) -> dict[str, Any]:
        """The fields alone: what was read is read again where it is needed."""
        return {name: self.__dict__[name] for name in ("path", "spec", "dataset", "dims", "info")}


def extract_command(
    store: Path,
    dataset: str,
    backbones: Sequence[str] = ("NAME",),
    options: Sequence[str] = (),
    manifest: Path | None = None,
) -> str:
    """The command that embeds a data set, or imports its embeddings where that is where `backbones` come from.

    Without `manifest`, with the one of its name that is next to `store`.
    """
    near = [store.absolute().parent / f"{dataset}{suffix}" for suffix in (".parquet", ".csv")]
    path = next((path for path in ([manifest] if manifest else near) if path.is_file()), None)
    own = path is not None and store.absolute() == (path.parent / "embeddings").absolute()
    place = [] if path is None or own else ["--cache", str(store)]
    imported = next((name.removeprefix(IMPORTED) for name in backbones if name.startswith(IMPORTED)), "")
    if imported:
        source = ["medprobe", "cache", "import", "FILE", "--manifest", str(path or "MANIFEST"), "--name"]
        return shlex.join([*source, re.sub(r"@[0-9a-f]{12}$", "", imported), *place])
    words = ["medprobe", "extract", str(path or "MANIFEST")]
    words += [word for name in backbones for word in ("--backbone", name)]
    return shlex.join([*words, *options, *place])


def _check_identity(path: Path, spec: Spec, stated: str) -> None:
    if stated != spec.fingerprint or not path.stem.endswith(f"--{spec.fingerprint}"):
        raise CacheError(
            f"{path}: is not what its name says, its spec being of {file_stem(spec)}.h5: it was renamed, altered, or"
            " written by another version of medprobe. Rename it to that, or move it away and run the extraction again."
        )

"""What a survey has seen, kept beside the manifest, so that an unchanged image is never decoded again."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ...base import OutputError, atomic_path, fingerprint
from ..manifest import Manifest
from ..schema.columns import as_arrow, as_numbers, column_of
from .table import ImageStats

SCHEMA = 1
"""Goes up when what is kept changes, or how an image is looked at."""
_TEXT = ("digest", "stored")
_NUMBERS = ("bytes", "height", "width", "constant", "letters", "hash")
_ARRAYS = ("thumbnail", "histogram")
_KEY_BYTES = 16
_DECODERS = ("pillow", "pydicom", "pylibjpeg-libjpeg", "pylibjpeg-openjpeg", "nibabel", "h5py", "zarr")
"""Whose other version may give other pixels, or refuse what this one reads."""


@dataclass(frozen=True, eq=False)
class SurveyFile:
    """The file of a manifest's survey: Parquet, a row for each image that could be read.

    A row is found by a digest of the manifest's `path` and `frame` and holds the stamp of the file, so neither ids nor
    paths are in it. A file that is damaged, of another schema, of another root or intensity policy, or made with
    another version of a decoder, counts as none.
    """

    manifest: Manifest
    path: Path | None
    """None where nothing is kept."""

    @classmethod
    def of(cls, manifest: Manifest) -> SurveyFile:
        """The file beside `manifest`: `brain.survey` for `brain.parquet`."""
        return cls(manifest, manifest.path and manifest.path.with_suffix(".survey"))

    def recall(self) -> tuple[ImageStats, np.ndarray]:
        """What is known of the manifest's images.

        Returns:
            A survey of all N rows, blank where nothing is known, and which rows are known, (N,) bool.
        """
        survey = ImageStats.blank(len(self.manifest))
        known = np.zeros(len(survey), bool)
        stamps, reasons = self._stamps
        table = self._read()
        if table is None or len(table) == 0 or len(survey) == 0:
            return survey, known
        keys = _bytes_of(table["key"], _KEY_BYTES).view(f"S{_KEY_BYTES}").ravel()
        order = np.argsort(keys)
        wanted = self._keys
        place = order[np.searchsorted(keys, wanted, sorter=order).clip(max=len(keys) - 1)]
        known = (keys[place] == wanted) & (table["stamp"].to_numpy()[place] == stamps) & (reasons == "")
        survey.put(np.flatnonzero(known), _to_survey(table).take(place[known]))
        return survey, known

    def keep(self, survey: ImageStats) -> None:
        """Writes what can be kept of `survey`, whole or not at all; a folder that cannot be written keeps nothing."""
        if self.path is None:
            return
        stamps, reasons = self._stamps
        rows = np.flatnonzero(survey.readable & (reasons == ""))
        seen = survey.take(rows)
        columns: dict[str, pa.Array] = {"key": _fixed(self._keys[rows]), "stamp": pa.array(stamps[rows])}
        columns |= {name: pa.array(getattr(seen, name)) for name in (*_TEXT, *_NUMBERS)}
        columns |= {name: _fixed(getattr(seen, name)) for name in _ARRAYS}
        table = pa.table(columns).replace_schema_metadata({"survey": self._made_by})
        with suppress(OutputError), atomic_path(self.path) as temporary:
            pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)

    @property
    def _made_by(self) -> str:
        """A digest of what must be the same for a row to be trusted; the root may tell whose disk it is."""
        return fingerprint(
            {
                "schema": SCHEMA,
                "root": self.manifest.card.root,
                "reading": self.manifest.card.reading.in_spec,
                "decoders": {name: _version(name) for name in _DECODERS},
            },
            digits=32,
        )

    def _read(self) -> pa.Table | None:
        if self.path is None or not self.path.is_file():
            return None
        try:
            with pq.ParquetFile(self.path, page_checksum_verification=True) as file:
                made_by = (file.schema_arrow.metadata or {}).get(b"survey", b"").decode(errors="replace")
                return file.read() if made_by == self._made_by else None
        except (pa.ArrowException, OSError):
            return None

    @cached_property
    def _stamps(self) -> tuple[np.ndarray, np.ndarray]:
        """As they were before the images were read, so that one that changes meanwhile is read again."""
        return self.manifest.stamps()

    @cached_property
    def _keys(self) -> np.ndarray:
        """(N,) of 16 bytes each: what tells the images of a manifest apart."""
        table = self.manifest.table
        paths = as_arrow(column_of(table, "path")).to_pylist()
        frames = as_numbers(column_of(table, "frame")) if "frame" in table else np.full(len(paths), np.nan)
        texts = (
            f"{path}\0{int(frame)}" if frame >= 0 else path for path, frame in zip(paths, frames.tolist(), strict=True)
        )
        joined = b"".join(blake2b(text.encode(), digest_size=_KEY_BYTES).digest() for text in texts)
        return np.frombuffer(joined, f"S{_KEY_BYTES}")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _to_survey(table: pa.Table) -> ImageStats:
    survey = ImageStats.blank(len(table))
    for name in (*_TEXT, *_NUMBERS):
        getattr(survey, name)[:] = table[name].to_numpy()
    for name in _ARRAYS:
        array = getattr(survey, name)
        array[:] = _bytes_of(table[name], array[0].nbytes).view(array.dtype).reshape(array.shape)
    return survey


def _fixed(rows: np.ndarray) -> pa.Array:
    """Each row's bytes as one cell of fixed size."""
    rows = np.ascontiguousarray(rows)
    size = rows.dtype.itemsize * int(np.prod(rows.shape[1:]))
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(size), len(rows), [None, pa.py_buffer(rows.tobytes())])


def _bytes_of(column: pa.ChunkedArray, size: int) -> np.ndarray:
    """The cells of fixed size as uint8 (N, size)."""
    cells = column.combine_chunks()
    cells = cells.chunk(0) if isinstance(cells, pa.ChunkedArray) else cells
    data = np.frombuffer(cells.buffers()[1], np.uint8)
    return data[cells.offset * size : (cells.offset + len(cells)) * size].reshape(-1, size)

"""Statistics of all images of a manifest: every image decoded once, and again only when its file has changed.

They are kept next to the manifest (`brain.survey` for `brain.parquet`) as a Parquet table, a row per readable image. A
row is found by a digest of the manifest's `path` and `frame` and has the stamp of the file, so the table has neither
ids nor paths. It is ignored if it is damaged, or made for another root, intensity policy or version of a decoder.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ...base import ImageError, OutputError, atomic_path, fingerprint, progress, usable_cores
from ..manifest import Manifest
from ..readers.source import Source
from ..readers.worker_pool import look_at
from ..schema.table_io import as_numbers, as_words, column_of
from .compute import Facts, ImageStats, facts_of

_SCHEMA = 2
"""Goes up when the table changes, or how an image is looked at."""
_DECODERS = (
    "pillow", "simplejpeg", "pydicom", "pylibjpeg-libjpeg", "pylibjpeg-openjpeg", "pyjpegls", "nibabel", "h5py", "zarr",
)  # fmt: skip
"""Another version of one may give other pixels, or refuse what this one reads."""
_CHUNK, _FRAMES = 32, 256
"""Images that a worker looks at before it reports: files, and frames of one file."""


def manifest_image_stats(manifest: Manifest, *, workers: int | None = None, show_progress: bool = True) -> ImageStats:
    """Statistics of every image of a manifest, each decoded once and not again while its file is unchanged.

    A manifest that was not saved, or is in a folder that cannot be written, is read again each time.

    Args:
        manifest: may have been loaded with `strict=False`.
        workers: processes; 0 reads in this one. The default is one per core.
        show_progress: show a bar while images are decoded.

    Returns:
        N rows, as the manifest has them.

    Examples:
        >>> from medprobe.manifests import manifest_image_stats
        >>> stats = manifest_image_stats(manifest, workers=1, show_progress=False)
        >>> stats.width[:3], stats.height[:3]
        (array([32, 32, 32], dtype=int32), array([32, 32, 32], dtype=int32))
    """
    # Taken before the images are read, so that one that changes meanwhile is read again.
    stamps, reasons = manifest.stamps()
    keys, kept = _keys(manifest), _read(manifest)
    place = kept.index.get_indexer(pd.Index(keys))
    known = (place >= 0) & (reasons == "")
    known[known] = kept["stamp"].to_numpy()[place[known]] == stamps[known]
    absent = np.flatnonzero(reasons != "")
    new, seen = np.flatnonzero(~known & (reasons == "")), []
    old = kept.iloc[place[known]].drop(columns="stamp")
    try:
        for facts in _look(manifest.sources(), new, workers, show_progress):
            seen += facts
    finally:
        # Kept even when the user stops in the middle: these images need not be read again.
        rows = np.concatenate([np.flatnonzero(known), new[: len(seen)], absent])
        places = (manifest.source(int(row)).path for row in absent)
        seen += [
            Facts(reason=reason, missing=not os.path.exists(place))
            for reason, place in zip(reasons[absent], places, strict=True)
        ]
        stats = ImageStats(pd.concat([old, ImageStats.of(seen).table]) if len(old) else ImageStats.of(seen).table)
        if len(new):
            _write(manifest, stats.table, keys[rows], stamps[rows], reasons[rows])
    return stats.take(np.argsort(rows))


def _file(manifest: Manifest) -> Path | None:
    return manifest.path and manifest.path.with_suffix(".survey")


def _keys(manifest: Manifest) -> np.ndarray:
    """(N,) object array of 16 bytes each: a digest of path and frame."""
    paths, table = as_words(column_of(manifest.table, "path")), manifest.table
    frames = as_numbers(column_of(table, "frame")) if "frame" in table else np.full(len(paths), np.nan)
    texts = [f"{path}\0{int(frame)}" if frame >= 0 else path for path, frame in zip(paths, frames, strict=True)]
    keys = np.empty(len(texts), object)
    keys[:] = [blake2b(text.encode(), digest_size=16).digest() for text in texts]
    return keys


def _made_by(manifest: Manifest) -> str:
    """A digest of what must be the same for a row to be valid; the root itself may name the owner of a disk."""
    card = manifest.card
    decoders = {name: _version(name) for name in _DECODERS}
    made_by = {"schema": _SCHEMA, "root": card.root, "reading": card.reading.in_spec, "decoders": decoders}
    return fingerprint(made_by, digits=32)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _read(manifest: Manifest) -> pd.DataFrame:
    """The kept table by key, with a column `stamp`; without rows if there is none that is valid."""
    file, empty = _file(manifest), ImageStats.of([]).table.assign(stamp=np.empty(0, np.uint64))
    if file is None or not file.is_file():
        return empty
    try:
        with pq.ParquetFile(file, page_checksum_verification=True) as parquet:
            made_by = (parquet.schema_arrow.metadata or {}).get(b"survey", b"").decode(errors="replace")
            if made_by != _made_by(manifest):
                return empty
            table = parquet.read().to_pandas(ignore_metadata=True).drop_duplicates("key").set_index("key")
        return table.assign(reason="", missing=False)[empty.columns].astype(empty.dtypes.to_dict())
    except (pa.ArrowException, OSError, LookupError, TypeError, ValueError):
        return empty


def _write(manifest: Manifest, table: pd.DataFrame, keys: np.ndarray, stamps: np.ndarray, reasons: np.ndarray) -> None:
    """Keeps the rows of readable images, whole or not at all; a folder that cannot be written keeps nothing."""
    file, valid = _file(manifest), (table["digest"] != "").to_numpy() & (reasons == "")
    if file is None:
        return
    kept = table[valid].drop(columns=["reason", "missing"]).assign(key=keys[valid], stamp=stamps[valid])
    arrow = pa.Table.from_pandas(kept, preserve_index=False).replace_schema_metadata({"survey": _made_by(manifest)})
    with suppress(OutputError), atomic_path(file) as temporary:
        pq.write_table(arrow, temporary, compression="zstd", write_page_checksum=True)


def _look(
    sources: Sequence[Source], rows: np.ndarray, workers: int | None, show_progress: bool
) -> Iterator[list[Facts]]:
    """The facts of `rows`, a chunk of neighbours at a time, in order."""
    workers = usable_cores() if workers is None else workers
    # As many as keep all workers busy to the end.
    few = max(1, min(_CHUNK, len(rows) // (4 * max(1, workers))))
    with progress("Reading images", len(rows), unit="images", enabled=show_progress) as bar:
        for chunk in look_at(facts_of, sources, _neighbours(sources, rows, few), workers=workers):
            yield [Facts(reason=str(one)) if isinstance(one, ImageError) else one for one in chunk.results]
            bar.advance(len(chunk.rows))


def _neighbours(sources: Sequence[Source], rows: np.ndarray, few: int) -> Iterator[list[int]]:
    """A few rows each, but many frames of one file, since a worker keeps the file that it has opened or decoded."""
    chunk, before = [], None
    for row in rows.tolist():
        path = sources[row].path
        if len(chunk) >= (_FRAMES if path == before else few):
            yield chunk
            chunk = []
        chunk.append(row)
        before = path
    if chunk:
        yield chunk

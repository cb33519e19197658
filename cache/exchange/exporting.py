"""A cache becomes a file or folder for other programs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from ...base import CacheError, OutputError, atomic_folder, no_such, one_of
from ...manifests import Manifest
from ...manifests.schema.labels import label_codes
from ...manifests.schema.table_io import as_words, column_of
from ..embedding_cache import EmbeddingCache
from .contents import Rows
from .formats import FORMATS, LAYOUTS, by_suffix

Column = Literal["labels", "split", "groups"]


def export_embeddings(
    cache: EmbeddingCache,
    out: Path | str,
    *,
    layout: str | None = None,
    poolings: Sequence[str] = (),
    manifest: Manifest | None = None,
    columns: Sequence[Column] = (),
    overwrite: bool = False,
) -> Path:
    """Writes the vectors of a cache as they are stored, named by sample id, in a format that `import_embeddings` reads.

    Args:
        cache: any, computed or imported.
        out: a file, whose suffix is the format: .npz, .npy (and a table .csv next to it), .parquet, .csv, .h5, .hdf5 or
            .safetensors; with `layout` a folder.
        layout: `clip-benchmark`, `clip-retrieval`, `stamp`, `trident` or `thingsvision`.
        poolings: only these; needed where the format holds one and the cache has several.
        manifest: of the data set; then the rows are its samples in its order. Without, all rows of the cache.
        columns: what to add of the manifest: `labels`, `split`, and `groups` (ids of groups, which may name patients).
        overwrite: replace the file; a folder is never replaced.

    Returns:
        `out` as a path.

    Raises:
        CacheError: the format is unknown or cannot hold what is requested, or samples are not in the cache.
        OutputError: `out` is there already, or cannot be written.

    Examples:
        >>> from medprobe.cache import export_embeddings
        >>> export_embeddings(caches[0], folder / "resnet18.npz", manifest=manifest, columns=["labels"]).name
        'resnet18.npz'
        >>> sorted(np.load(folder / "resnet18.npz").files)
        ['label', 'mean', 'sample_id']
    """
    path = Path(out)
    if layout is not None and layout not in LAYOUTS:
        raise CacheError(no_such("layout", layout, LAYOUTS))
    kind = layout or by_suffix(path)
    _require_free(path, kind, [cache.path, None if manifest is None else manifest.path], overwrite=overwrite)
    rows = _rows(cache, kind, poolings, manifest, columns)
    if FORMATS[kind].suffixes:
        FORMATS[kind].write(rows, path)
    else:
        with atomic_folder(path) as folder:
            FORMATS[kind].write(rows, folder)
    return path


def _require_free(path: Path, kind: str, read: Sequence[Path | None], *, overwrite: bool) -> None:
    """OutputError where something would be replaced that is not to be."""
    if any(one is not None and path.exists() and one.exists() and path.samefile(one) for one in read):
        raise OutputError(f"{path}: is what is to be exported; choose another name.")
    if not FORMATS[kind].suffixes and path.exists():
        raise OutputError(f"{path}: exists already, and a folder is never replaced; choose another name.")
    # The table beside a matrix is replaced with it alone: it may be somebody's manifest.
    there = [file for file in (path, path.with_suffix(".csv") if kind == "npy" else path) if file.exists()]
    if there and not (overwrite and path.exists()):
        raise OutputError(f"{there[0]}: exists already; choose another name, or replace the export (--overwrite).")


def _rows(
    cache: EmbeddingCache, kind: str, poolings: Sequence[str], manifest: Manifest | None, columns: Sequence[Column]
) -> Rows:
    chosen = tuple(poolings) or cache.poolings
    for pooling in chosen:
        cache.dim(pooling)
    if FORMATS[kind].one_matrix and len(chosen) > 1:
        raise CacheError(f"{kind}: holds one pooling; name it (--pooling): {one_of(chosen)}.")
    if manifest is None:
        if columns or kind == "clip-benchmark":
            needs = one_of(columns) if columns else "its split and labels"
            raise CacheError(f"{kind}: {needs} are in the manifest; give it (--manifest).")
        ids, found = cache.sample_ids, np.arange(len(cache))
        added = {}
    else:
        if manifest.name != cache.dataset:
            raise CacheError(f'{cache.path.name}: is of the data set "{cache.dataset}", not of "{manifest.name}".')
        kept = np.array([sample not in cache.quarantine for sample in manifest.sample_ids])
        ids = manifest.sample_ids[kept]
        found = cache.rows_of(ids, manifest.path)
        added = {name: values[kept] for name, values in _columns(manifest, kind, columns).items()}
    vectors = {pooling: cache.load(pooling, cache.info["dtypes"][pooling], rows=found) for pooling in chosen}
    return Rows(ids, vectors, added, cache.spec.backbone)


def _columns(manifest: Manifest, kind: str, columns: Sequence[Column]) -> dict[str, np.ndarray]:
    unknown = [name for name in columns if name not in get_args(Column)]
    if unknown:
        raise CacheError(no_such("column", unknown[0], get_args(Column)))
    if columns and not FORMATS[kind].columns:
        raise CacheError(
            f"{kind}: has no place for {one_of(columns)}; export them to a file, such as .npz or .parquet."
        )
    if kind == "clip-benchmark":
        return {**_split(manifest), "target": _targets(manifest)}
    makers = {"labels": _labels, "split": _split, "groups": lambda one: {"group_id": as_words(one.group_ids)}}
    return {name: values for column in columns for name, values in makers[column](manifest).items()}


def _labels(manifest: Manifest) -> dict[str, np.ndarray]:
    if manifest.card.require_task("exporting labels") == "multilabel":
        codes = label_codes(manifest.table, manifest.card)
        return {f"label:{name}": codes[:, number].astype(np.int8) for number, name in enumerate(manifest.card.classes)}
    return {"label": as_words(column_of(manifest.table, manifest.card.label_column))}


def _split(manifest: Manifest) -> dict[str, np.ndarray]:
    if "split" not in manifest.table:
        raise CacheError(f"{manifest.path or manifest.name}: has no column split, which is to be exported.")
    return {"split": as_words(column_of(manifest.table, "split"))}


def _targets(manifest: Manifest) -> np.ndarray:
    if manifest.card.require_task("exporting targets") == "multilabel":
        raise CacheError(
            "clip-benchmark: holds one class per image, and the task is multilabel; choose another format."
        )
    return label_codes(manifest.table, manifest.card)

"""Embeddings from a file become a published cache of a manifest."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b, sha256
from pathlib import Path

import numpy as np

from ...base import CacheError, MedprobeWarning, counted, one_of
from ...base.files import sha256_of
from ...manifests import Manifest, manifest_image_stats
from ..embedding_cache import EmbeddingCache
from ..hdf5 import put_matrix
from ..index import NOWHERE, Index, as_digests, as_ids
from ..lookup import default_store
from ..publish import Description, cache_file
from ..spec import IMPORTED, ImportedSpec, published_path, safe_name, whole_files
from .contents import Contents
from .formats import FORMATS, format_of
from .matching import rows_by_name, rows_in_order
from .tables import read_names


def import_embeddings(
    file: Path | str,
    manifest: Manifest,
    name: str,
    *,
    store: Path | str | None = None,
    rows: Path | str | None = None,
    in_order: bool = False,
    poolings: Sequence[str] = (),
    skip_missing: bool = False,
    note: str = "",
    overwrite: bool = False,
    progress: bool = True,
) -> EmbeddingCache:
    """Makes a cache of vectors that another program computed.

    Rows are matched by sample id or path. Digests of pixels, by which copies of images are found, are taken from the
    images; where one cannot be read, equal vectors count as equal pixels.

    Args:
        file: .npz, .npy, .parquet, .csv, .h5, .hdf5 or .safetensors, or a folder as CLIP_benchmark, clip-retrieval,
            STAMP, TRIDENT or thingsvision write it.
        manifest: the data set; every sample needs a row.
        name: what the embeddings are to be called; the backbone is then `imported:NAME`. The same name for two data
            sets declares that one network computed both, so that `external` may train on one and test on the other.
        store: the folder of all caches; by default `embeddings` next to the manifest.
        rows: a table (.csv, .parquet) or text file that names the rows, where `file` does not.
        in_order: rows are in the order of the manifest's, and as many; names are not looked at.
        poolings: only these matrices of the file.
        skip_missing: samples without a row are quarantined, as images that could not be embedded are.
        note: kept with the cache: how the vectors were computed, say.
        overwrite: replace embeddings of that name.
        progress: show a bar while images are read.

    Raises:
        CacheError: the file cannot be read, rows are missing or doubled, values are not finite, or embeddings of that
            name are there already.
        OutputError: the cache cannot be written.

    Examples:
        >>> import numpy as np
        >>> from medprobe.cache import import_embeddings
        >>> X = np.random.default_rng(0).standard_normal((len(manifest), 8), np.float32)
        >>> np.savez("mine.npz", sample_id=manifest.sample_ids.astype(str), X=X)
        >>> cache = import_embeddings("mine.npz", manifest, "mine", store=folder / "elsewhere", progress=False)
        >>> cache.spec.backbone, cache.dims
        ('imported:mine', {'X': 8})
    """
    path, place = Path(file), Path(store) if store is not None else default_store(manifest.path or ".")
    backbone, kind = _backbone(name), format_of(path)
    older = _of_name(place, manifest.name, backbone)
    if older and not overwrite:
        raise CacheError(
            f"{older[0].path}: embeddings called {name} are there already (imported from"
            f" {older[0].info['imported'].get('file')}); choose another name, or overwrite them (--overwrite)."
        )
    contents = FORMATS[kind].read(path)
    contents = contents if rows is None else Contents(contents.vectors, _named_by(Path(rows), contents))
    matched = _match(manifest, contents, path.name, in_order=in_order, skip_missing=skip_missing)
    vectors = _vectors(contents, matched, poolings, path.name)
    spec = ImportedSpec(backbone=backbone, dims={pooling: matrix.shape[1] for pooling, matrix in vectors.items()})
    provenance = {
        "file": path.resolve().name,
        "digest": _digest(path),
        "format": kind,
        "matched": matched.how,
        "note": note,
    }
    index = _index(manifest, matched, vectors, path.name, progress=progress)
    target = published_path(place, manifest.name, spec)
    with cache_file(target, index, Description(manifest.name, spec, "", {}, {}, provenance)) as written:
        for pooling, matrix in vectors.items():
            put_matrix(written, pooling, matrix.shape, matrix.dtype, [matrix])
    for one in older:
        if one.path != target:
            one.path.unlink(missing_ok=True)
    return EmbeddingCache.open(target)


@dataclass(frozen=True)
class _Matched:
    """Which samples have a row: both (M,), in the manifest's order."""

    ids: np.ndarray
    rows: np.ndarray
    samples: np.ndarray
    """Positions in the manifest."""
    missing: np.ndarray
    how: str


def _backbone(name: str) -> str:
    backbone = IMPORTED + name.removeprefix(IMPORTED)
    try:
        ImportedSpec(backbone=backbone, dims={"x": 1})
    except ValueError as error:
        raise CacheError(f'the name "{name}" cannot be used: {error}.') from error
    if "@" in name or backbone == IMPORTED:
        raise CacheError(f'the name "{name}" cannot be used: it must not be empty or hold "@".')
    return backbone


def _of_name(store: Path, dataset: str, backbone: str) -> list[EmbeddingCache]:
    folder = published_path(store, dataset, ImportedSpec(backbone=backbone, dims={"x": 1})).parent
    files = [file for file in whole_files(folder) if file.stem.rpartition("--")[0] == safe_name(backbone)]
    return [cache for cache in map(EmbeddingCache.open, files) if cache.spec.backbone == backbone]


def _named_by(table: Path, contents: Contents) -> np.ndarray:
    names = read_names(table)
    if len(names) != len(contents):
        raise CacheError(f"{table}: names {counted(len(names), 'row')}, the embeddings have {len(contents):,}.")
    return names


def _match(manifest: Manifest, contents: Contents, where: str, *, in_order: bool, skip_missing: bool) -> _Matched:
    if in_order:
        place, how = rows_in_order(manifest, contents, where), "order"
    elif contents.names is None:
        raise CacheError(
            f"{where}: nothing in it names its {len(contents):,} rows. Call the array or column that does sample_id"
            " or path, give a table that has one (--rows), or, if they are in the order of the manifest's rows,"
            " --in-order."
        )
    elif len(contents.names) != len(contents):
        raise CacheError(f"{where}: has {len(contents):,} rows and {len(contents.names):,} names of rows.")
    else:
        place, how = rows_by_name(manifest, contents.names, where)
        _note_others(contents.names, place, where)
    has, ids = place != NOWHERE, manifest.sample_ids
    if not has.all() and not skip_missing:
        raise CacheError(
            f"{where}: {(~has).sum():,} of {len(ids):,} samples of {manifest.name} have no row, e.g."
            f" {one_of(map(repr, ids[~has]), most=3)}. Embed these images too, remove them from the manifest, or leave"
            " them out (--skip-missing)."
        )
    return _Matched(ids[has], place[has], np.flatnonzero(has), ids[~has], how)


def _note_others(names: np.ndarray, place: np.ndarray, where: str) -> None:
    others = np.ones(len(names), bool)
    others[place[place != NOWHERE]] = False
    if others.any():
        _warn(f"{where}: {counted(int(others.sum()), 'row')} of no sample left out, e.g. {names[np.argmax(others)]!r}")


def _vectors(contents: Contents, matched: _Matched, poolings: Sequence[str], where: str) -> dict[str, np.ndarray]:
    """The chosen matrices in the manifest's order, C-contiguous, float16 where the file has that, else float32."""
    absent = [name for name in poolings if name not in contents.vectors]
    if absent:
        raise CacheError(f"{where}: has no vectors called {one_of(absent)}; it has {one_of(contents.vectors)}.")
    vectors = {}
    for pooling in poolings or contents.vectors:
        matrix = np.asarray(contents.vectors[pooling][matched.rows])
        finite = np.isfinite(matrix).all(axis=1)
        if not finite.all():
            raise CacheError(
                f"{where}, {pooling}: {counted(int((~finite).sum()), 'vector')} with a value that is no finite number"
                f" (blank, NaN or infinite), of {one_of(map(repr, matched.ids[~finite]), most=3)}."
            )
        with np.errstate(over="ignore"):
            vectors[pooling] = np.ascontiguousarray(matrix, np.float16 if matrix.dtype == np.float16 else np.float32)
        if not np.isfinite(vectors[pooling]).all():
            raise CacheError(f"{where}, {pooling}: has values that are too large for float32; rescale them.")
    if contents.left_out and not poolings:
        _warn(f"{where}: not taken for vectors: {one_of(contents.left_out)}")
    return vectors


def _index(
    manifest: Manifest, matched: _Matched, vectors: Mapping[str, np.ndarray], where: str, *, progress: bool
) -> Index:
    stats = manifest_image_stats(manifest, show_progress=progress)
    digests = stats.table["digest"].to_numpy(dtype=object)[matched.samples]
    unread = np.flatnonzero(digests == "")
    if len(unread):
        _warn(
            f"{counted(len(unread), 'image')} of {len(digests):,} cannot be read; copies among them are known by equal"
            " vectors alone"
        )
    for row in unread:
        hasher = blake2b(digest_size=16)
        for matrix in vectors.values():
            hasher.update(matrix[row].tobytes())
        digests[row] = hasher.hexdigest()
    keys, none = as_digests(digests), len(matched.missing)
    return Index(
        sample_id=matched.ids,
        digest=keys,
        stamp=np.zeros(len(keys), np.uint64),
        vector_digest=keys,
        bad_id=matched.missing,
        bad_stamp=np.zeros(none, np.uint64),
        bad_reason=as_ids([f"not in {where}"] * none),
    )


def _digest(path: Path) -> str:
    """SHA-256 of a file; of a folder, over the names and digests of the files below it."""
    if path.is_file():
        return sha256_of(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    lines = [f"{file.relative_to(path).as_posix()}\0{_digest(file)}\n" for file in files]
    return sha256("".join(lines).encode()).hexdigest()


def _warn(text: str) -> None:
    warnings.warn(f"{text}.", MedprobeWarning, stacklevel=4)

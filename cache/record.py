"""Records: small files that each name one cache, for commands that are to read just these of a shared folder."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..base import CacheError, atomic_path
from ..base.text import first_line
from .embedding_cache import EmbeddingCache
from .index import NOWHERE, Index, positions_in, unique_index

if TYPE_CHECKING:
    from ..manifests import Manifest

SCHEMA = 3
"""Version of the file, raised when an older reader would misread it."""
_KIND = "medprobe cache record"


def write_record(cache: EmbeddingCache, manifest: Manifest, path: Path | str) -> None:
    """Writes a JSON file that names a published cache of a manifest.

    It holds the cache's file relative to the folder of caches, whose name says which data set, backbone and fingerprint
    it is of, and a digest of the images: of the id and the pixels of each of the manifest's samples that are embedded.

    Raises:
        CacheError: the cache is damaged.
        OutputError: the file cannot be written.

    Examples:
        >>> from medprobe.cache import write_record
        >>> write_record(caches[0], manifest, folder / "resnet18.json")
    """
    record = {
        "kind": _KIND,
        "schema": SCHEMA,
        "cache": cache.path.relative_to(cache.path.parent.parent).as_posix(),
        "images": _digest_of_images(cache, manifest),
    }
    with atomic_path(Path(path)) as temporary:
        temporary.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_records(paths: Iterable[Path | str], store: Path | str, manifest: Manifest) -> list[EmbeddingCache]:
    """The caches that records name, each once, sorted by backbone and fingerprint.

    Args:
        paths: files that `write_record` wrote.
        store: the folder of all caches.
        manifest: the data set.

    Raises:
        CacheError: a file is not a record or is one of another data set; a cache is absent or damaged, or holds vectors
            of other images by now.

    Examples:
        >>> from medprobe.cache import default_store, read_records, write_record
        >>> write_record(caches[0], manifest, folder / "resnet.json")
        >>> [cache] = read_records([folder / "resnet.json"], default_store(manifest.path), manifest)
        >>> cache == caches[0]
        True
    """
    caches = [_open(Path(path), Path(store), manifest) for path in paths]
    unique = {cache.spec.fingerprint: cache for cache in caches}
    return sorted(unique.values(), key=lambda cache: (cache.spec.backbone, cache.spec.fingerprint))


def record_is_current(path: Path, store: Path, manifest: Manifest) -> bool:
    """Whether a file is a record of `manifest`, and the cache that it names is in `store` and of the same images."""
    try:
        _open(path, store, manifest)
    except CacheError:
        return False
    return True


def _digest_of_images(cache: EmbeddingCache, manifest: Manifest) -> str:
    """Of the id and the pixels of each sample of `manifest` in the cache: 32 hexadecimal digits.

    The order of rows makes no difference, nor what the cache holds of other manifests.
    """
    place = positions_in(unique_index(cache.sample_ids), np.sort(manifest.sample_ids))
    rows = place[place != NOWHERE]
    return Index(sample_id=cache.sample_ids[rows], digest=cache.content_digests[rows]).content


def _open(path: Path, store: Path, manifest: Manifest) -> EmbeddingCache:
    name, images = _read(path)
    file, dataset = store / name, manifest.name
    if not file.is_file():
        raise CacheError(
            f"{path}: names the cache {name}, which is not in {store}. Give the folder of the caches (--cache), or"
            " extract again with --record."
        )
    cache = EmbeddingCache.open(file)
    if cache.dataset != dataset:
        raise CacheError(
            f'{path}: is a record of the data set "{cache.dataset}", not of "{dataset}"; give the one that'
            " `medprobe extract --record` wrote for this manifest."
        )
    if images != _digest_of_images(cache, manifest):
        raise CacheError(
            f"{path}: was written when {file} held other images of {dataset}: the manifest or its images have changed"
            f" since, or another data set of this name was embedded into {store}. Extract again with --record; if"
            " there are two data sets, give each a name (`name` of the card) or a folder of caches (--cache) of its"
            " own."
        )
    return cache


def _read(path: Path) -> tuple[str, str]:
    """The cache's file, and the digest of the images."""
    why = "it is of another kind, or of another version"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if (record["kind"], record["schema"]) == (_KIND, SCHEMA):
            return str(record["cache"]), str(record["images"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        why = str(error.strerror) if isinstance(error, OSError) else first_line(error)
    raise CacheError(f"{path}: is not a record of a cache ({why}); give a file that `medprobe extract --record` wrote.")

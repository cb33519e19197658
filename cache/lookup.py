"""Which caches a store holds, finished and not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..base import CacheError, did_you_mean, one_of
from .embedding_cache import EmbeddingCache, extract_command
from .hdf5 import GoneError, dataset, hdf5_from
from .spec import IMPORTED, EmbeddingSpec, dataset_folder, safe_name, whole_files

if TYPE_CHECKING:
    from ..manifests import Manifest


@dataclass(frozen=True)
class ListedDraft:
    """An unfinished cache: samples in segments that are not published yet."""

    folder: Path
    samples: int
    segments: int
    damaged: int


def default_store(manifest_path: Path | str) -> Path:
    """The folder `embeddings` next to the manifest file.

    Examples:
        >>> from medprobe.cache import default_store
        >>> default_store("data/lesions.parquet").as_posix()
        'data/embeddings'
    """
    return Path(manifest_path).parent / "embeddings"


def find_caches(
    store: Path | str, dataset: str, backbones: Sequence[str] | None = None, *, manifest: Manifest | None = None
) -> list[EmbeddingCache]:
    """The published caches of a data set, sorted by backbone and fingerprint.

    Args:
        store: the folder of all caches.
        dataset: the data set's name (`manifest.name`).
        backbones: only these (names as given to `medprobe extract`); all by default. Of a backbone with several specs
            (sizes, precisions), all are returned; `name@fingerprint` names one of them.
        manifest: the data set itself; then the error has the commands that take its vectors from the caches of other
            data sets, where those of the requested backbones have equal pixels.

    Raises:
        CacheError: the data set or a backbone has no cache here (names the near ones), or a requested file is damaged.

    Examples:
        >>> from medprobe.cache import default_store, find_caches
        >>> [cache.spec.backbone for cache in find_caches(default_store(manifest.path), manifest.name)]
        ['timm:resnet18', 'timm:resnet50']
    """
    store = Path(store)
    folder = dataset_folder(store, dataset)
    paths = whole_files(folder)
    if not paths:
        raise CacheError(_no_caches(store, dataset, folder, _remedy(store, folder, backbones, manifest)))
    if backbones is None:
        caches = [EmbeddingCache.open(path) for path in paths]
    else:
        # Only files of these names are opened: another backbone's may be damaged.
        names = {name for given in backbones for name in (given, re.sub(r"@[0-9a-f]{12}$", "", given))}
        stems = {safe_name(name) for name in names}
        opened = [EmbeddingCache.open(path) for path in paths if path.stem.rpartition("--")[0] in stems]
        caches = [cache for cache in opened if _names_of(cache) & set(backbones)]
        found = {name for cache in caches for name in _names_of(cache)}
        absent = [backbone for backbone in backbones if backbone not in found]
        if absent:
            raise CacheError(_no_backbones(folder, absent, paths, _remedy(store, folder, absent, manifest)))
    return sorted(caches, key=lambda cache: (cache.spec.backbone, cache.spec.fingerprint))


def _names_of(cache: EmbeddingCache) -> set[str]:
    """The names of a cache: its backbone, or `backbone@fingerprint` where there are several."""
    return {cache.spec.backbone, f"{cache.spec.backbone}@{cache.spec.fingerprint}"}


def list_store(store: Path, dataset: str | None = None) -> tuple[list[EmbeddingCache], list[str], list[ListedDraft]]:
    """The caches of a store, why others cannot be read, and unfinished ones, by path; CacheError without a folder.

    Those of the data set alone where one is given.
    """
    folders = _folders(store, dataset)
    caches, faults = _readable([path for folder in folders for path in whole_files(folder)])
    drafts = [_draft(path) for folder in folders for path in sorted(folder.glob("*.parts"))]
    return caches, faults, [draft for draft in drafts if draft.segments or draft.damaged]


def files_in(store: Path, dataset: str | None = None) -> tuple[list[Path], list[Path]]:
    """The published files of a store (of a data set), and the segments of its drafts; CacheError if there are none."""
    folders = _folders(store, dataset)
    published = [path for folder in folders for path in whole_files(folder)]
    segments = [path for folder in folders for parts in sorted(folder.glob("*.parts")) for path in whole_files(parts)]
    if not published and not segments:
        of_it = f" of {dataset}" if dataset else ""
        raise CacheError(f"{store}: holds no caches{of_it}. Is this the folder that `medprobe extract` wrote to?")
    return published, segments


def _folders(store: Path, dataset: str | None = None) -> list[Path]:
    """The folder of the data set; or those of all, and the store itself, so that one data set's may be given too."""
    if not store.is_dir():
        raise CacheError(f"{store}: does not exist; by default caches are in `embeddings` next to the manifest.")
    if dataset is not None:
        return [dataset_folder(store, dataset)]
    return [store, *sorted(path for path in store.iterdir() if path.is_dir() and path.suffix != ".parts")]


def _readable(paths: Sequence[Path]) -> tuple[list[EmbeddingCache], list[str]]:
    caches, faults = [], []
    for path in paths:
        try:
            caches.append(EmbeddingCache.open(path))
        except CacheError as error:
            faults.append(str(error))
    return caches, faults


def _draft(folder: Path) -> ListedDraft:
    paths = whole_files(folder)
    samples = unreadable = 0
    for path in paths:
        try:
            with hdf5_from(path) as file:
                samples += len(dataset(file, "sample_id")) + len(dataset(file, "quarantine/sample_id"))
        except GoneError:
            continue  # it has been published meanwhile
        except CacheError:
            unreadable += 1
    set_aside = len(list(folder.glob("*.damaged")))
    return ListedDraft(folder, samples, segments=len(paths) - unreadable, damaged=unreadable + set_aside)


def _no_caches(store: Path, dataset: str, folder: Path, remedy: str) -> str:
    text = f'{store}: holds no embeddings of the data set "{dataset}".'
    if any(folder.glob("*.parts")):
        return f"{text} An extraction was started and not finished: run the same command again to continue."
    others = sorted(path.name for path in store.iterdir() if whole_files(path)) if store.is_dir() else []
    if others:
        text += f" It holds {one_of(others)}.{did_you_mean(dataset, others)}"
    return text + remedy


def _no_backbones(folder: Path, absent: Sequence[str], paths: Sequence[Path], remedy: str) -> str:
    caches, _ = _readable(paths)
    names = [cache.spec.backbone for cache in caches]
    several = [cache for cache in caches if names.count(cache.spec.backbone) > 1]
    there = sorted({*names}.union(*map(_names_of, several)))
    near = "".join(did_you_mean(name, there) for name in absent)
    begun = [name for name in absent if any(folder.glob(f"{safe_name(name)}--*.parts"))]
    text = f"{folder.name}: no embeddings by {one_of(absent)}; there are embeddings by {one_of(there) or 'none'}.{near}"
    if begun:
        text += f" The extraction with {one_of(begun)} was started and not finished."
    if all(IMPORTED + name in there for name in absent):
        return text
    return text + (remedy.replace(" Run `", " If another one is meant, run `", 1) if near else remedy)


def _remedy(store: Path, own: Path, backbones: Sequence[str] | None, manifest: Manifest | None) -> str:
    """The commands that embed `manifest` under the specs of other data sets' caches; without those, a plain one."""
    path = manifest.path if manifest is not None else None
    command = extract_command(store, own.name, backbones or ("NAME",), manifest=path)
    plain = f" Run `{command}`, or give the folder of its caches (--cache)."
    if manifest is None or not store.is_dir():
        return plain
    caches, _ = _readable([path for folder in _folders(store) if folder != own for path in whole_files(folder)])
    # Backbones with the same options in one command, which decodes each image once.
    by_options: dict[tuple[str, ...], dict[str, None]] = {}
    fit = []
    for cache in caches:
        spec, named = cache.spec, backbones is None or _names_of(cache) & set(backbones)
        if isinstance(spec, EmbeddingSpec) and spec.reading == manifest.card.reading.in_spec and named:
            by_options.setdefault(spec.options, {})[spec.backbone] = None
            fit.append(cache)
    lines = [
        f"\n  {extract_command(store, manifest.name, list(names), options, manifest.path)}"
        for options, names in by_options.items()
    ]
    names = one_of(sorted({cache.dataset for cache in fit}))
    start = f"\nTo take the vectors of equal pixels from {names} (images are decoded, and not embedded again), run"
    return start + "".join(lines) if lines else plain

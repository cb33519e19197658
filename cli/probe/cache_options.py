"""Options that say which caches a command reads, and the caches that follow from them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...base import ProbeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...cache import EmbeddingCache
    from ...manifests import Manifest

Backbones = Annotated[
    list[str] | None,
    typer.Option("--backbone", "-b", help="Only this backbone; may be repeated. [default: all cached]"),
]
Poolings = Annotated[list[str] | None, typer.Option(help="Only this pooling; may be repeated. [default: all cached]")]
Records = Annotated[
    list[Path] | None,
    typer.Option(
        help="Only the cache that this file of `medprobe extract --record` names, with all its poolings; instead of"
        " --backbone and --pooling; may be repeated."
    ),
]
Store = Annotated[Path | None, typer.Option(help="Folder of the caches. [default: embeddings/ next to the manifest]")]


def place_of(store: Path, manifest: Path) -> list[str]:
    """The option that names the folder of caches, where it is another than that of the manifest."""
    from ...cache import default_store

    return [] if store.absolute() == default_store(manifest).absolute() else ["--cache", str(store)]


def new_run(manifest: Path) -> Path:
    """A folder in `runs` for a first run of a manifest, which is not there yet."""
    names = (manifest.stem, *(f"{manifest.stem}-{number}" for number in range(2, 1000)))
    return next(place for name in names if not (place := Path("runs", name)).exists())


def caches_of(
    samples: Manifest,
    manifest: Path,
    store: Path | None,
    *,
    backbones: Sequence[str] | None,
    poolings: Sequence[str] | None,
    records: Sequence[Path] | None,
) -> list[EmbeddingCache]:
    """The caches of `samples`, which were loaded from `manifest`, that the options name; all by default.

    Raises:
        ProbeError: records are given together with backbones or poolings.
        CacheError: a cache or record does not exist or cannot be used.
    """
    from ...cache import default_store, find_caches, read_records

    store = store or default_store(manifest)
    if not records:
        return find_caches(store, samples.name, backbones or None, manifest=samples)
    if backbones or poolings:
        raise ProbeError(
            "--record names caches with their poolings: leave out --backbone and --pooling, or leave out --record."
        )
    return read_records(records, store, samples)

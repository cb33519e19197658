"""How a data set and a spec become file names, and back."""

from __future__ import annotations

import re
from hashlib import blake2b
from pathlib import Path

from .spec import EmbeddingSpec

_LONGEST = 100
"""Characters of a readable name; with fingerprint and suffixes it stays far below a file system's 255 bytes."""


def safe_name(name: str) -> str:
    """`name` with every character that some file system refuses replaced: `hf:org/net` becomes `hf_org_net`."""
    return re.sub(r"[^A-Za-z0-9._+=@-]+", "_", name).lstrip(".-")[:_LONGEST] or "_"


def dataset_folder(store: Path, dataset: str) -> Path:
    """The folder of a data set's caches. Two names never share one: a name that had to change gets a digest."""
    safe = safe_name(dataset)
    return store / (safe if safe == dataset else f"{safe}~{blake2b(dataset.encode(), digest_size=3).hexdigest()}")


def file_stem(spec: EmbeddingSpec) -> str:
    """`<backbone>--<fingerprint>`; the fingerprint alone makes it unique, the rest is for readers."""
    return f"{safe_name(spec.backbone)}--{spec.fingerprint}"


def published_path(store: Path, dataset: str, spec: EmbeddingSpec) -> Path:
    """Where the cache of `dataset` under `spec` is published."""
    return dataset_folder(store, dataset) / f"{file_stem(spec)}.h5"


def parts_folder(published: Path) -> Path:
    """Where the segments of an unfinished cache lie."""
    return published.with_name(f"{published.stem}.parts")


def fingerprint_in(path: Path) -> str:
    """The fingerprint that a file's name states, or an empty string."""
    found = re.search(r"--([0-9a-f]{12})$", path.stem)
    return found.group(1) if found else ""


def is_published_name(path: Path) -> bool:
    """False for temporary files, which begin with a dot."""
    return path.suffix == ".h5" and not path.name.startswith(".")

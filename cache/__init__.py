"""Where embeddings live: the spec that names them, the files that hold them, the checks that trust them.

In: vectors with sample ids and content digests, from the extractor; files of other programs. Out: one verified HDF5
file per data set and spec.
Nothing published is ever lost, and nothing half-written is ever trusted (docs/cache.md says why).
What exchanges files with other programs is imported when it is first requested: listing caches needs no pandas.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..base.lazy import lazy_names
from .draft import CacheDraft
from .embedding_cache import EmbeddingCache
from .lookup import default_store, find_caches
from .record import read_records, write_record
from .spec import Colour, EmbeddingSpec, ImportedSpec, TransformSpec
from .verify import verify_cache

if TYPE_CHECKING:
    from .exchange.exporting import export_embeddings
    from .exchange.importing import import_embeddings

__all__ = [
    "CacheDraft",
    "Colour",
    "EmbeddingCache",
    "EmbeddingSpec",
    "ImportedSpec",
    "TransformSpec",
    "default_store",
    "export_embeddings",
    "find_caches",
    "import_embeddings",
    "read_records",
    "verify_cache",
    "write_record",
]

_MODULES = {"export_embeddings": "exchange.exporting", "import_embeddings": "exchange.importing"}

__getattr__ = lazy_names(__name__, _MODULES)

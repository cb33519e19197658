"""What a file of embeddings holds, whatever its format."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import pyarrow as pa
from safetensors import SafetensorError

from ...base import CacheError, one_of
from ...base.text import first_line
from ..hdf5 import object_array

UNNAMED = "embedding"
"""The pooling of vectors that have no name in their file."""
NEVER_VECTORS = re.compile(r"(labels?|targets?|splits?|groups?|folds?|classes|y)([_:. ].*)?", re.IGNORECASE)
"""Names of arrays and columns that are not vectors, whatever they hold: a label among the features would be a leak."""
NAMES = (
    *("sample_id", "sample_ids", "id", "ids", "path", "paths", "image_path", "image_paths"),
    *("file_name", "file_names", "filename", "filenames", "name", "names", "file", "files", "image", "images"),
)
"""Columns or arrays that name the rows, the first that is there."""


@dataclass(frozen=True)
class Contents:
    """N rows of embeddings as a file has them."""

    vectors: Mapping[str, np.ndarray]
    """(N, D) float16, float32 or float64 by pooling."""
    names: np.ndarray | None = None
    """(N,) object array of str: a sample id or a path for each row; None where the file has none."""
    left_out: tuple[str, ...] = ()
    """What of the file is not taken for vectors, in words."""
    parts: np.ndarray | None = None
    """(N,) object array of `train`, `val`, `test`, where rows are in order within each part alone."""
    targets: np.ndarray | None = None
    """(N,) int64 class numbers, where the file has them."""

    def __len__(self) -> int:
        return len(next(iter(self.vectors.values())))


@dataclass(frozen=True)
class Rows:
    """N rows of a cache as they are to be exported."""

    sample_ids: np.ndarray
    """(N,) object array of str."""
    vectors: Mapping[str, np.ndarray]
    """(N, D) float16 or float32 by pooling."""
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    """(N,) of text or 0 and 1: `label` (for multilabel `label:CLASS`), `split` and `group_id`, as far as requested."""
    backbone: str = ""


@contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Turns what a library raises over a file into a `CacheError` that names the file and the format."""
    try:
        yield
    except MemoryError as error:
        raise CacheError(f"{path}: needs more memory than there is ({first_line(error)}).") from error
    except (OSError, ValueError, LookupError, EOFError, RuntimeError, TypeError, AttributeError) as error:
        raise CacheError(f"{path}: cannot be read as {kind}: {_why(error)}.") from error
    except (zipfile.BadZipFile, UnpicklingError, pa.ArrowException, SafetensorError) as error:
        raise CacheError(f"{path}: cannot be read as {kind}: {_why(error)}.") from error


def _why(error: BaseException) -> str:
    refusals = ("allow_pickle", "Python objects", "weights_only")
    if isinstance(error, UnpicklingError) or any(words in str(error) for words in refusals):
        return (
            "it is damaged, or holds Python objects, which are never loaded; save numbers as floats and names with"
            " dtype=str"
        )
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return first_line(error).rstrip(".")


def of_arrays(arrays: Mapping[str, np.ndarray], where: Path) -> Contents:
    """Tells vectors, (N, D) of floats, from the names of rows, (N,) of text or whole numbers; `where` is for messages.

    Raises:
        CacheError: there are no vectors, or matrices of different lengths and no names that decide.
    """
    named = name_of_rows(name for name in arrays if arrays[name].ndim == 1 and arrays[name].dtype.kind in "OSUiu")
    matrices = {
        name: array
        for name, array in arrays.items()
        if array.ndim == 2 and array.dtype.kind == "f" and not NEVER_VECTORS.fullmatch(name)
    }
    counts = {len(arrays[named])} if named else {len(matrix) for matrix in matrices.values()}
    vectors = {name: matrix for name, matrix in matrices.items() if len(matrix) in counts}
    shapes = [f"{name} ({' x '.join(map(str, array.shape))}, {array.dtype})" for name, array in arrays.items()]
    if not vectors or not all(matrix.size for matrix in vectors.values()):
        raise CacheError(
            f"{where}: holds no vectors, which are a matrix of floats with a row per image"
            f"{f' ({len(arrays[named]):,} rows, as {named} has)' if named else ''}. It holds"
            f" {one_of(shapes) or 'nothing'}."
        )
    if len(counts) > 1:
        raise CacheError(
            f"{where}: its matrices have different numbers of rows: {one_of(shapes)}. Name one (--pooling), or add an"
            " array sample_id."
        )
    others = [
        shape
        for (name, array), shape in zip(arrays.items(), shapes, strict=True)
        if name not in vectors and array.ndim > 1 and not NEVER_VECTORS.fullmatch(name)
    ]
    return Contents(vectors, as_names(arrays[named]) if named else None, tuple(others))


def name_of_rows(header: Iterable[str]) -> str | None:
    """Which column or array names the rows; None where none is called so."""
    by_lower = {name.lower(): name for name in header}
    return next((by_lower[name] for name in NAMES if name in by_lower), None)


def as_names(values: Iterable[object]) -> np.ndarray:
    """Names of rows as an object array of str; bytes are UTF-8."""
    return object_array([value.decode() if isinstance(value, bytes) else str(value) for value in values])

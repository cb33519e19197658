"""The formats by name: which one a file or folder has, how it is read, and how it is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ...base import CacheError, did_you_mean, one_of
from . import arrays, layouts, tables
from .contents import Contents, Rows


@dataclass(frozen=True)
class Format:
    """How embeddings are read from a file (with suffixes) or a folder (without), and written."""

    read: Callable[[Path], Contents]
    write: Callable[[Rows, Path], None]
    suffixes: tuple[str, ...] = ()
    one_matrix: bool = False
    """Whether it holds the vectors of one pooling alone."""
    columns: bool = True
    """Whether it holds labels, split and groups as well."""


FORMATS = {
    "npz": Format(arrays.read_npz, arrays.write_npz, (".npz",)),
    "npy": Format(arrays.read_npy, arrays.write_npy, (".npy",), one_matrix=True),
    "Parquet": Format(tables.read_parquet, tables.write_parquet, (".parquet",)),
    "CSV": Format(tables.read_csv, tables.write_csv, (".csv",)),
    "HDF5": Format(arrays.read_hdf5, arrays.write_hdf5, (".h5", ".hdf5")),
    "safetensors": Format(arrays.read_safetensors, arrays.write_safetensors, (".safetensors",)),
    "clip-benchmark": Format(layouts.read_clip_benchmark, layouts.write_clip_benchmark, one_matrix=True),
    "clip-retrieval": Format(layouts.read_clip_retrieval, layouts.write_clip_retrieval, one_matrix=True),
    "stamp": Format(layouts.read_stamp, layouts.write_stamp, one_matrix=True, columns=False),
    "trident": Format(layouts.read_trident, layouts.write_trident, one_matrix=True, columns=False),
    "thingsvision": Format(layouts.read_thingsvision, layouts.write_thingsvision, one_matrix=True, columns=False),
}
LAYOUTS = tuple(name for name, one in FORMATS.items() if not one.suffixes)
"""Those that are folders."""
_SUFFIXES = tuple(suffix for one in FORMATS.values() for suffix in one.suffixes)


def format_of(path: Path) -> str:
    """The name of the format that a file or folder has; CacheError where it has none, or does not exist."""
    if path.is_dir():
        tool = layouts.tool_of(path)
        if tool is None:
            raise CacheError(
                f"{path}: is not a folder of embeddings as {one_of(LAYOUTS)} write it; give such a folder, or a file"
                f" ({', '.join(_SUFFIXES)})."
            )
        return tool
    if not path.is_file():
        near = did_you_mean(path.name, [file.name for file in path.parent.glob("*")])
        raise CacheError(f"{path}: {'is not a file' if path.exists() else 'does not exist'}.{near}")
    return by_suffix(path)


def by_suffix(path: Path) -> str:
    """The name of the format that a file's suffix names; CacheError where it names none."""
    suffix = path.suffix.lower()
    found = next((name for name, one in FORMATS.items() if suffix in one.suffixes), None)
    if found is None:
        hint = " Save tensors as .safetensors or .npy." if suffix in (".pt", ".pth", ".pkl") else ""
        raise CacheError(
            f'{path}: embeddings are in a file with the suffix {one_of(_SUFFIXES)}, not "{suffix or path.name}".{hint}'
        )
    return found

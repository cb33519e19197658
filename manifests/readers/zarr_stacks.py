"""Stacks of images in zarr stores, formats 2 and 3, through zarr: `stack.zarr#group/images` and a frame.

A store is a folder of this machine. `image_stack.py` defines how arrays are cut into frames. An array's metadata is
read here first, and only codecs that turn bytes into numbers are allowed: others unpickle, or load code by name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...base import ImageError, one_of
from ...base.text import install_command
from .image_stack import Stack, no_array
from .memo import remembered
from .source import Source

_METADATA = ("zarr.json", ".zarray")
_NOT_CHUNKS = (*_METADATA, ".zattrs", ".zgroup", ".zmetadata")
_MOST_METADATA_BYTES = 4 * 2**20
_CODECS = {
    "adler32", "bitround", "blosc", "bytes", "bz2", "crc32", "crc32c", "delta", "endian", "fixedscaleoffset",
    "fletcher32", "gzip", "lz4", "lzma", "quantize", "sharding_indexed", "shuffle", "transpose", "zlib", "zstd",
}  # fmt: skip
"""Of both formats; numcodecs' own stand in format 3 as `numcodecs.NAME`."""


def stack_of(source: Source) -> Stack:
    """The array that a path names, opened; only the chunks that hold a frame are read."""
    member = (source.member or "").strip("/")
    parts = member.split("/") if member else []
    if any(part in ("", ".", "..") or "\\" in part for part in parts):
        raise ImageError(f'"{member}" is not the name of an array')
    folder = source.path.joinpath(*parts)
    described = _metadata_of(folder)
    if described is None:
        raise no_array(member)
    return _opened(described, member)


def _metadata_of(folder: Path) -> Path | None:
    """The file that describes an array in `folder`; None where it is not an array's folder."""
    for name in _METADATA:
        file = folder / name
        if file.is_file() and (name == ".zarray" or _parsed(file).get("node_type") != "group"):
            return file
    return None


def _parsed(file: Path) -> dict[str, Any]:
    if file.stat().st_size > _MOST_METADATA_BYTES:
        raise ImageError(f"{file.name} is larger than a description of an array can be")
    found = json.loads(file.read_bytes())
    if not isinstance(found, dict):
        raise ImageError(f"the store is damaged: {file.name} describes nothing")
    return found


@remembered(4)
def _opened(described: Path, member: str) -> Stack:
    try:
        import zarr
        from zarr.storage import LocalStore
    except ImportError as error:
        raise ImageError(f"zarr stores are read through zarr: {install_command('medical')}") from error
    what = f'array "{member}"' if member else "the array"
    metadata = _parsed(described)
    _refuse_other_codecs(metadata, what)
    store = LocalStore(described.parent, read_only=True)
    if _outermost(metadata) == "blosc":
        store = _with_checked_chunks(store)
    array = zarr.open_array(store=store, mode="r", zarr_format=3 if described.name == "zarr.json" else 2)
    # Of a shard its index and one chunk are read, so that chunks are what counts.
    return Stack.of(array, tuple(array.chunks), what)


def _with_checked_chunks(store: Any) -> Any:
    """`store`, refusing each blosc chunk that is shorter than its header declares.

    numcodecs does not tell blosc how long a chunk is, so that one which was cut off would be read beyond its end.
    """
    from zarr.storage import WrapperStore

    class CheckedChunks(WrapperStore):
        async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
            found = await super().get(key, prototype, byte_range)
            if found is not None and byte_range is None and not key.endswith(_NOT_CHUNKS):
                head = found[:16].to_bytes()
                # The fourth number of blosc's header is the length of the whole.
                if len(head) < 16 or int.from_bytes(head[12:], "little") > len(found):
                    raise ImageError("the store is damaged: a chunk is cut off")
            return found

    return CheckedChunks(store)


def _refuse_other_codecs(metadata: Mapping[str, Any], what: str) -> None:
    """Codecs are named anywhere below these fields: shards have codecs of their own."""
    other = sorted(set(_codec_names([metadata.get(key) for key in ("codecs", "compressor", "filters")])) - _CODECS)
    if other:
        raise ImageError(f"{what} needs a codec that is not supported ({one_of(other)}); save it with blosc or gzip")


def _outermost(metadata: Mapping[str, Any]) -> str | None:
    """The codec that a chunk was packed with last."""
    codecs = metadata.get("codecs") or [metadata.get("compressor")]
    return next(_codec_names(codecs[-1:]), None) if isinstance(codecs, list) else None


def _codec_names(found: Any) -> Iterator[str]:
    if isinstance(found, list):
        for one in found:
            yield from _codec_names(one)
    elif isinstance(found, dict):
        name = found.get("name", found.get("id"))
        if name is not None:
            yield str(name).removeprefix("numcodecs.")
        for one in found.values():
            if isinstance(one, dict | list):
                yield from _codec_names(one)

"""Stacks of images in HDF5 files, through h5py: `stack.h5#images` and a frame.

`image_stack.py` defines how arrays are cut into frames. Only what is in the file itself is read: no external or soft
links, no virtual or externally stored arrays, and no filter beyond those of the HDF5 library and h5py, so that no file
makes the library load code.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...base import ImageError
from .image_stack import Stack, no_array
from .memo import remembered
from .source import Source

_CACHED_BYTES = 64 * 2**20
"""Of decoded chunks, a file: frames read in order decode a chunk of several once."""
_FILTERS = {1, 2, 3, 4, 5, 6, 32000}
"""deflate, shuffle, Fletcher32, szip, nbit, scale-offset; LZF, which h5py brings."""


def recognises(head: bytes) -> bool:
    """Whether a file that starts with `head` is an HDF5 file."""
    return head.startswith(b"\x89HDF\r\n\x1a\n")


def stack_of(source: Source) -> Stack:
    """The array that a path names, opened; only the chunks that hold a frame are read."""
    return _opened(source.path, (source.member or "").strip("/"))


@remembered(4)
def _opened(path: Path, member: str) -> Stack:
    import h5py

    # Through a file of Python's: HDF5 would refuse to let this process write a file anew that it holds open itself, and
    # would give the old one's content for the new one's.
    here: Any = h5py.File(path.open("rb"), "r", rdcc_nbytes=_CACHED_BYTES)
    for part in member.split("/"):
        link = here.get(part, getlink=True) if isinstance(here, h5py.Group) and part in here else None
        if isinstance(link, h5py.SoftLink | h5py.ExternalLink):
            raise ImageError(f'"{member}" is a link to another place; name the array itself')
        if link is None:
            raise no_array(member)
        here = here[part]
    return _stack(here, member)


def _stack(found: Any, member: str) -> Stack:
    import h5py

    what = f'array "{member}"'
    if not isinstance(found, h5py.Dataset):
        raise ImageError(f'"{member}" is a group of arrays; name one of them')
    if found.is_virtual or found.external:
        raise ImageError(f"{what} has its values in other files, which are not followed")
    plist: Any = found.id.get_create_plist()
    other = {plist.get_filter(number)[0] for number in range(plist.get_nfilters())} - _FILTERS
    if other:
        raise ImageError(
            f"{what} is compressed with a filter that is not built into HDF5 ({min(other)}); save it with gzip"
        )
    return Stack.of(found, found.chunks, what)

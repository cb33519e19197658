"""Stacks of images in HDF5 files, through h5py: `stack.h5#images` and a frame.

`image_stack.py` defines how arrays are cut into frames. Only what is in the file itself is read: no external or soft
links, no virtual or externally stored arrays, and no filter beyond those of the HDF5 library and h5py, so that no file
makes the library load code.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...base import ImageError, did_you_mean, one_of
from .cache import Memo, file_key
from .image_stack import Stack
from .source import DAMAGE, Source, damage_as_image_error

if TYPE_CHECKING:
    import h5py

_CACHED_BYTES = 64 * 2**20
"""Of decoded chunks, a file: frames read in order decode a chunk of several once."""
_KEPT = 4
_FILTERS = {1, 2, 3, 4, 5, 6, 32000}
"""deflate, shuffle, Fletcher32, szip, nbit, scale-offset; LZF, which h5py brings."""
_MOST_SEARCHED = 1000
"""Objects of a file that are looked at for an array to suggest."""


def recognises(head: bytes) -> bool:
    """Whether a file that starts with `head` is an HDF5 file."""
    return head.startswith(b"\x89HDF\r\n\x1a\n")


def read(source: Source) -> np.ndarray:
    """The pixels of one frame: uint8, (H, W) or (H, W, 3). Only the chunks that hold it are read.

    Raises:
        ImageError: no array or frame is named, there is no such array or frame, the array is not a stack of images,
            leads out of the file, or cannot be decoded.
    """
    member = (source.member or "").strip("/")
    with damage_as_image_error("the file is damaged or cut off: the array cannot be read"):
        stack = _STACKS.get((*file_key(source.path), member), lambda: (_opened(source.path, member), 0))
        return stack.pixels(source.frame, source.reading)


_STACKS: Memo[Stack] = Memo(_KEPT)


def _opened(path: Path, member: str) -> Stack:
    import h5py

    # Through a file of Python's: HDF5 would refuse to let this process write a file anew that it holds open itself, and
    # would give the old one's content for the new one's.
    file = h5py.File(path.open("rb"), "r", rdcc_nbytes=_CACHED_BYTES)
    if not member:
        raise ImageError(_which_to_write(file))
    return _stack(_found(file, member), member)


def _found(file: h5py.File, member: str) -> Any:
    """The object called `member`, walked to step by step."""
    import h5py

    here: Any = file
    for part in member.split("/"):
        link = here.get(part, getlink=True) if isinstance(here, h5py.Group) and part in here else None
        if isinstance(link, h5py.SoftLink | h5py.ExternalLink):
            raise ImageError(f'"{member}" is a link to another place; name the array itself')
        if link is None:
            names = [name for name, _ in _stacks_in(file)]
            raise ImageError(f'has no array "{member}", only {one_of(names)}.{did_you_mean(member, names)}')
        here = here[part]
    return here


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


def _which_to_write(file: h5py.File) -> str:
    names = [name for name, _ in _stacks_in(file)]
    if not names:
        return "an HDF5 file without an array of images: none is (N, H, W), (N, H, W, 3) or (N, D, H, W)"
    several = "" if len(names) == 1 else f"; there are {one_of(names)}"
    return f"an HDF5 file holds arrays by name; write `#{names[0]}` after its name in the column `path`{several}"


def _stacks_in(file: h5py.File) -> Iterator[tuple[str, Stack]]:
    """The arrays of images in a file, found through its own groups."""
    seen: list[tuple[str, Stack]] = []
    looked_at = 0

    def look(name: str, found: Any) -> bool | None:
        nonlocal looked_at
        looked_at += 1
        try:
            seen.append((name, _stack(found, name)))
        except (ImageError, *DAMAGE):
            pass
        return True if looked_at >= _MOST_SEARCHED else None

    file.visititems(look)
    return iter(seen)

"""Why an image cannot be read: one wording for every format, and the checks that all readers share."""

from __future__ import annotations

import errno
from contextlib import ContextDecorator

from PIL import Image

from ...base import ImageError

_SYSTEM = {
    errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EREMOTEIO, errno.EMFILE, errno.ENFILE,
    errno.ELOOP, errno.ENAMETOOLONG,
}  # fmt: skip
"""Not every number: a damaged header can make a library seek or map where it cannot."""


def is_damage(error: BaseException) -> bool:
    """Whether the content of a file, not the operating system or the memory, is why it cannot be read."""
    elsewhere = MemoryError | FileNotFoundError | NotADirectoryError | IsADirectoryError | PermissionError
    number = getattr(error, "errno", None)
    return isinstance(error, Exception) and not isinstance(error, elsewhere) and number not in _SYSTEM


def reason_of(error: BaseException, details: str = "its header or its pixels cannot be read") -> str:
    """Why an image cannot be read, without its folder; `details` are for a file that is damaged."""
    if isinstance(error, ImageError):
        return str(error)
    if isinstance(error, Image.DecompressionBombError):
        return _too_many_pixels()
    if isinstance(error, MemoryError):
        return "needs more memory than there is"
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "the file is missing"
    if isinstance(error, IsADirectoryError):
        return "a folder, not a file"
    if isinstance(error, PermissionError):
        return "no permission to read the file"
    if isinstance(error, ValueError) and "null byte" in str(error):
        return "not a valid file name"
    if not is_damage(error):
        return f"the file cannot be read: {getattr(error, 'strerror', None) or type(error).__name__}"
    is_cut_off = isinstance(error, EOFError) or "truncated" in str(error).lower()
    return "the file is cut off" if is_cut_off else f"the file is damaged: {details}"


class SelectionError(ImageError):
    """The file can be read, and what a manifest names of it, a frame, an array or an axis, is missing or not there."""


class DamageAsImageError(ContextDecorator):
    """Turns any exception into an `ImageError`: what the decoding libraries raise on damaged files is not documented.

    The two are not chained, since the text of the first may hold the folder, or what is in a DICOM header.
    """

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, ImageError):
            raise ImageError(reason_of(error)) from None


def chosen_frame(frame: int | None, count: int, what: str = "images") -> int:
    """The index of the frame that is requested of a file or array that holds `count`; None is the only one."""
    if frame is None and count > 1:
        raise SelectionError(f"holds {count} {what}; say which in the manifest's column `frame`, from 0")
    if (frame or 0) >= count:
        raise SelectionError(f"has no frame {frame or 0}: it holds {count} {what}, counted from 0")
    return frame or 0


def refuse_too_many(pixels: int) -> None:
    """Refuses an image of more pixels than Pillow's limit, before memory is taken for it."""
    if Image.MAX_IMAGE_PIXELS is not None and pixels > Image.MAX_IMAGE_PIXELS:
        raise ImageError(_too_many_pixels())


def _too_many_pixels() -> str:
    limit = Image.MAX_IMAGE_PIXELS
    return f"has more than {limit:,} pixels (a decompression bomb, or a slide to be cut into tiles)"

"""Ordinary image files, through Pillow.

The colour policy, for every format:

- grey stays grey, (H, W); palette, CMYK, YCbCr, LAB and HSV become RGB, (H, W, 3), without regard to colour profiles;
- what alpha hides stays hidden: an image with alpha is composited on black, the background of medical images;
- 16-bit grey is scaled by its full range, `(v + 128) // 257`, so that equal values stay equal across images;
- 1-bit becomes 0 and 255; 32-bit and floating-point images are refused, because no range of theirs is the right one;
- a `window` in the card's `reading` other than `stored` applies to grey of more than 8 bits, and makes 32-bit and
  floating-point images readable; percentiles are of the one image. Colour and 8-bit grey are never stretched;
- JPEG is decoded smaller only where the card's `reading` sets `draft`;
- the EXIF orientation is applied.
"""

from __future__ import annotations

import threading
import warnings

import numpy as np
from PIL import Image, ImageOps

from ...base import ImageError
from ..schema.intensity_policy import IntensityPolicy
from .intensity import chosen_bounds, to_8_bits
from .read_errors import chosen_frame, reason_of, refuse_too_many
from .source import Source

_FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
_STRIP_PIXELS = 4_000_000
_SIGNATURES = (
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"GIF87a",
    b"GIF89a",
    b"BM",
    b"II*\x00",
    b"MM\x00*",
    b"II+\x00",
    b"MM\x00+",
    b"\x00\x00\x00\x0cjP  \r\n\x87\n",
    b"\xff\x4f\xff\x51",
    *(b"P%d" % kind + blank for kind in range(1, 7) for blank in (b"\n", b" ", b"\r", b"\t")),
)
# `catch_warnings` changes the whole process, so two threads must not do it at once.
_OPENING = threading.Lock()


def recognises(head: bytes) -> bool:
    """Whether a file that starts with `head` is one of the formats that are read here."""
    return head.startswith(_SIGNATURES) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def read(source: Source) -> np.ndarray:
    """The pixels: uint8, (H, W) or (H, W, 3)."""
    try:
        # Pillow only warns up to twice its limit; here the limit is the limit, so its warning would say nothing new.
        with _OPENING, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            opened = Image.open(source.path, formats=_FORMATS)
        with opened as image:
            return _pixels(image, source)
    except Exception as error:
        text = " ".join(str(error).split())[:100]
        # It may hold the name of the file and its folder.
        is_safe = text and "/" not in text and not isinstance(error, Image.UnidentifiedImageError)
        raise ImageError(reason_of(error, text) if is_safe else reason_of(error)) from error


def _pixels(image: Image.Image, source: Source) -> np.ndarray:
    refuse_too_many(image.width * image.height)
    # A JPEG of several pictures carries previews of the first.
    if source.frame is not None or image.format not in ("JPEG", "MPO"):
        image.seek(chosen_frame(source.frame, getattr(image, "n_frames", 1)))
    if source.reading.draft is not None:
        # Only JPEG supports it: the smallest of its sizes at which neither side is shorter than this.
        image.draft(None, (source.reading.draft, source.reading.draft))
    # Pillow gives some 16-bit images 32 bits, and what it has turned no longer knows its format.
    is_16_bit = image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode == "F" or image.mode.startswith("I"):
        return _more_than_8_bits(image, source.reading, is_16_bit=is_16_bit)
    if image.mode in ("L", "1"):
        return np.array(image.convert("L"))
    if "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info:
        return _on_black(image)
    return np.array(image.convert("RGB"))


def _more_than_8_bits(image: Image.Image, reading: IntensityPolicy, *, is_16_bit: bool) -> np.ndarray:
    if reading.window == "stored" and is_16_bit:
        wide = np.asarray(image).astype(np.uint32)
        return ((wide + 128) // 257).astype(np.uint8)
    if reading.window == "stored":
        raise ImageError(
            f"has {'floating-point' if image.mode == 'F' else 'whole'} 32-bit pixels, whose range is not known; set "
            "`window` under `reading` in the card (`percentiles`, or `[centre, width]`), or save it as 8 or 16 bits"
        )
    values = np.asarray(image)
    with np.errstate(all="ignore"):
        return to_8_bits(values, chosen_bounds(values, reading))


def _on_black(image: Image.Image) -> np.ndarray:
    grey = image.mode in ("L", "LA", "La")
    made = np.empty((image.height, image.width) if grey else (image.height, image.width, 3), np.uint8)
    # By strips: the copies that this takes would be several times a large image.
    rows = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        colours = strip.convert("LA" if grey else "RGBA")
        black = Image.new(colours.mode, colours.size, (0, 255) if grey else (0, 0, 0, 255))
        black.paste(colours, mask=colours.getchannel("A"))
        made[top : top + strip.height] = np.asarray(black.convert("L" if grey else "RGB"))
    return made

"""Ordinary image files, through Pillow.

The colour policy, for every format:

- grey stays grey, (H, W); palette, CMYK, YCbCr, LAB and HSV become RGB, (H, W, 3), without regard to colour profiles;
- what alpha hides stays hidden: an image with alpha is composited on black, the background of medical images;
- 16-bit grey is scaled by its full range, `(v + 128) // 257`, so that equal values stay equal across images, and so is
  grey of 1, 2, 4 or 12 bits; a TIFF that stores white as 0 is inverted;
- 32-bit, signed and floating-point images are refused, because no range of theirs is the right one;
- a `window` in the card's `reading` other than `stored` applies to grey of more than 8 bits, and makes 32-bit and
  floating-point images readable; percentiles are of the one image. Colour and 8-bit grey are never stretched;
- JPEG is decoded smaller only where the card's `reading` sets `draft`;
- the EXIF orientation is applied; nothing else of EXIF is read, so that a bad tag in it does no harm.

Pillow is held to its word where it gives wrong pixels for a sound file, or any for a damaged one: JPEG is decoded by
`codestreams.py`, PNG's checksums are verified, and TIFF's header is compared with what Pillow makes of it.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFile
from PIL.ExifTags import Base
from PIL.TiffImagePlugin import TiffImageFile

from ...base import ImageError
from ..schema.intensity_policy import DEFAULT_READING, IntensityPolicy
from .codestreams import decode_jpeg, describe_jpeg, describe_jpeg2000
from .intensity import chosen_bounds, to_8_bits
from .read_errors import chosen_frame, reason_of, refuse_too_many
from .source import Source

_FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
_STRIP_PIXELS = 4_000_000
_MOST_BYTES = 2**30
"""Of a JPEG or JPEG 2000 file: read whole, and longer than any of the pixels that are allowed."""
_HEAD = 2**20
"""Bytes in which a JPEG that Pillow does not read has its header."""
_FEWEST_ZEROS = 64
"""At the end of compressed data: fewer occur by chance."""
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


def recognises(head: bytes) -> bool:
    """Whether a file that starts with `head` is one of the formats that are read here."""
    return head.startswith(_SIGNATURES) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def read(source: Source) -> np.ndarray:
    """The pixels: uint8, (H, W) or (H, W, 3)."""
    try:
        with _opened(source.path) as image:
            pixels = _pixels(image, source)
            return _upright(pixels, image)
    except Exception as error:
        text = " ".join(str(error).split())[:100]
        # It may hold the name of the file and its folder.
        is_safe = text and "/" not in text and not isinstance(error, Image.UnidentifiedImageError)
        raise ImageError(reason_of(error, text) if is_safe else reason_of(error)) from error


def frames(source: Source) -> int:
    """How many images the file holds; previews inside a JPEG count only where a frame is requested."""
    with _opened(source.path) as image:
        return 1 if source.frame is None and image.format in ("JPEG", "MPO") else _frames(image, source.path)


def _opened(path: Path, *, verified: bool = False) -> ImageFile.ImageFile:
    # What Pillow only warns of (a size up to twice its limit, odd tags) is refused here or does no harm. For the whole
    # process: to switch it off and on again would, with several threads, leave it on or off by chance.
    warnings.filterwarnings("ignore", module=r"PIL(\.|$)")
    try:
        image = Image.open(path, formats=_FORMATS)
    except Image.UnidentifiedImageError:
        _refuse_if_sound(path)
        raise
    # No memory map: of a TIFF that is to be turned, Pillow maps width and height exchanged.
    image.filename = ""
    if image.format != "PNG" or verified:
        return image
    with image:
        # The checksums of all chunks, which decoding ignores; after that the image must be opened again.
        image.verify()
    return _opened(path, verified=True)


def _pixels(image: ImageFile.ImageFile, source: Source) -> np.ndarray:
    refuse_too_many(image.width * image.height)
    # A JPEG of several pictures carries previews of the first.
    if source.frame is not None or image.format not in ("JPEG", "MPO"):
        _seek(image, source)
    if source.reading.draft is not None:
        # Only JPEG supports it: the smallest of its sizes at which neither side is shorter than this.
        image.draft(None, (source.reading.draft, source.reading.draft))
    if image.format in ("JPEG", "MPO"):
        return _jpeg(image)
    if isinstance(image, TiffImageFile):
        _refuse_misread_tiff(image)
    elif image.format == "JPEG2000":
        _refuse_misread_jpeg2000(image)
    elif image.format == "WEBP":
        size = 8 + int.from_bytes(_read(image, 4, 4), "little")
        # Its coder writes a twentieth as zeros where the whole image is of one colour.
        _refuse_zeros_at_end(image, 0, size, max(size // 8, _FEWEST_ZEROS))
    return _converted(image, source.reading)


def pixels_of(image: Image.Image, reading: IntensityPolicy = DEFAULT_READING) -> np.ndarray:
    """The pixels of an image of Pillow in memory, uint8, (H, W) or (H, W, 3), by the colour and intensity policies.

    Raises:
        ImageError: it has more than 8 bits, and its range is not known; or 16-bit colours of which one is transparent.
    """
    return _upright(_converted(image, reading), image)


def _converted(image: Image.Image, reading: IntensityPolicy) -> np.ndarray:
    transparent = _transparent_grey(image)
    if image.mode == "F" or image.mode.startswith("I"):
        pixels = _more_than_8_bits(image, reading, transparent)
        return 255 - pixels if _tag(image, Base.PhotometricInterpretation) == 0 else pixels
    if image.mode in ("L", "1"):
        pixels = np.array(image.convert("L"))
        return pixels if transparent is None else np.where(pixels == transparent, np.uint8(0), pixels)
    if "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info:
        return _on_black(image)
    return np.array(image.convert("RGB"))


def _seek(image: ImageFile.ImageFile, source: Source) -> None:
    frame = chosen_frame(source.frame, _frames(image, source.path))
    try:
        image.seek(frame)
    except SyntaxError:
        if isinstance(image, TiffImageFile):
            raise _unsupported_tiff(image) from None
        raise


def _frames(image: ImageFile.ImageFile, path: Path) -> int:
    if isinstance(image, TiffImageFile):
        # A page of another kind does not concern the others, and Pillow would stop at it.
        with _TiffHeader(path) as header:
            return header.n_frames
    return getattr(image, "n_frames", 1)


def _jpeg(image: ImageFile.ImageFile) -> np.ndarray:
    scale = image.decoderconfig[0] if image.decoderconfig else 1
    pixels = decode_jpeg(_read(image, image.tile[0][2], _MOST_BYTES), image.mode, scale)
    if pixels is None:
        return np.array(image.convert("L" if image.mode == "L" else "RGB"))
    if image.mode != "CMYK":
        return pixels
    # As Pillow does, taking it for Adobe's, which is stored inverted.
    inks = Image.frombytes("CMYK", pixels.shape[1::-1], pixels.tobytes(), "raw", "CMYK;I")
    return np.array(inks.convert("RGB"))


def _upright(pixels: np.ndarray, image: Image.Image) -> np.ndarray:
    """`pixels` turned as EXIF requests; TIFFs were turned by Pillow."""
    try:
        orientation = image.getexif().get(Base.Orientation, 1)
    except Exception:  # noqa: BLE001  what Pillow raises on damaged tags is not documented
        return pixels
    if orientation not in range(2, 9):
        return pixels
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    down, right = (-1 if orientation in reversed_by else 1 for reversed_by in ((3, 4, 7, 8), (2, 3, 6, 7)))
    return np.ascontiguousarray(pixels[::down, ::right])


def _more_than_8_bits(image: Image.Image, reading: IntensityPolicy, transparent: int | None) -> np.ndarray:
    # Pillow gives some 16-bit images 32 bits, and 12-bit TIFFs 16.
    is_16_bit = image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))
    if reading.window == "stored" and not is_16_bit:
        raise ImageError(
            f"has {'floating-point' if image.mode == 'F' else 'whole'} pixels, signed or of 32 bits, whose range is "
            "not known; set `window` under `reading` in the card (`percentiles`, or `[centre, width]`), or save it as "
            "8 or 16 bits without sign"
        )
    full = 2 ** max(_tag(image, Base.BitsPerSample, (16,))) - 1
    values = np.asarray(image)
    if values.dtype == np.int32 and max(_tag(image, Base.SampleFormat, (1,))) == 1:
        values = values.view(np.uint32)
    if reading.window == "stored":
        pixels = ((values.astype(np.uint32) * 255 + full // 2) // full).astype(np.uint8)
    else:
        with np.errstate(all="ignore"):
            pixels = to_8_bits(values, chosen_bounds(values, reading))
    return pixels if transparent is None else np.where(values == transparent, np.uint8(0), pixels)


def _transparent_grey(image: Image.Image) -> int | None:
    """The grey level of a PNG or GIF that stands for transparent, in the numbers that Pillow makes of its pixels."""
    tiles = getattr(image, "tile", None)  # how it is stored, until its pixels are loaded
    level, stored_as = image.info.get("transparency"), str(tiles[0][3]) if tiles else ""
    if level is not None and stored_as == "RGB;16B":
        raise ImageError("has 16-bit colours of which one is transparent, which is not supported")
    if not isinstance(level, int) or image.mode not in ("1", "L", "I", "I;16"):
        return None
    return level * {"L;2": 85, "L;4": 17}.get(stored_as, 1)


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


def _refuse_misread_jpeg2000(image: ImageFile.ImageFile) -> None:
    stream, _ = describe_jpeg2000(_read(image, 0, _MOST_BYTES))
    if stream.signed or (stream.precision > 8 and stream.samples > 1):
        raise ImageError("has colours of more than 8 bits, or signed values, in JPEG 2000, which is not supported")


def _refuse_misread_tiff(image: TiffImageFile) -> None:
    """Refuses what Pillow reads otherwise than the header declares, and compressed pixels that it would fill up."""
    bits, kind = (max(_tag(image, number, (1,))) for number in (Base.BitsPerSample, Base.SampleFormat))
    compression, mode = image.info["compression"], image.mode
    starts = _tag(image, Base.StripOffsets) or _tag(image, Base.TileOffsets, ())
    sizes = _tag(image, Base.StripByteCounts) or _tag(image, Base.TileByteCounts, ())
    in_planes = _tag(image, Base.PlanarConfiguration) == 2 and _tag(image, Base.SamplesPerPixel, 1) > 1
    if compression == "raw":
        in_colour = mode in ("RGB", "RGBA", "CMYK") and 1 not in _tag(image, Base.ExtraSamples, ())
        # Pillow takes each letter of a mode for a plane of 8 bits, and YCbCr for one that is not subsampled.
        is_misread = in_planes and not (bits == 8 and in_colour)
        is_misread |= mode == "YCbCr" and sum(sizes) < 3 * image.width * image.height
    else:
        # libtiff gives wide values in the order of the machine, and Pillow swaps them.
        is_misread = mode in ("I", "F") and image.tag_v2.prefix == b"MM"
        is_misread |= in_planes and mode in ("LA", "La", "PA", "LAB")
        is_misread |= compression == "webp" or (compression == "jpeg" and bits != 8)
    if is_misread or (mode == "L" and kind != 1):
        raise _unsupported_tiff(image)
    tables = _tag(image, Base.JPEGTables, b"")[:-2]
    for start, size in zip(starts, sizes, strict=False):
        if compression == "jpeg":
            # At an eighth of the size, which is quick: for what it reports.
            part = tables + _read(image, start, size)[2 if tables else 0 :]
            decode_jpeg(part, "CMYK" if mode == "CMYK" and not in_planes else "L", 8)
        elif compression not in ("raw", "packbits"):
            _refuse_zeros_at_end(image, start, size, _FEWEST_ZEROS)


class _TiffHeader(TiffImageFile):
    """A TIFF whose tags are read, whatever its pixels are."""

    def _setup(self) -> None:
        self._mode, self._size = "L", (1, 1)


def _refuse_if_sound(path: Path) -> None:
    """Says what a file declares that Pillow does not read, so that it is not called damaged."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if head.startswith(b"MM\0+"):
        raise ImageError("is a BigTIFF in big-endian byte order, which is not supported; save it in little-endian")
    if head.startswith(b"\xff\xd8"):
        stream = describe_jpeg(head)
        if stream.precision > 8 or stream.kind == "jpeg-ls":
            kind = "JPEG-LS" if stream.kind == "jpeg-ls" else f"JPEG of {stream.precision} bits"
            raise ImageError(f"is a {kind}, which is not supported outside DICOM")
    try:
        image = _TiffHeader(path)
    except Exception:  # noqa: BLE001  it is another format, or damaged
        return
    with image:
        has_pixels = _tag(image, Base.ImageWidth, 0) > 0 and {Base.StripOffsets, Base.TileOffsets} & {*image.tag_v2}
        if has_pixels and max(_tag(image, Base.BitsPerSample, (1,))) in (*range(1, 33), 64, 128):
            raise _unsupported_tiff(image)


def _unsupported_tiff(image: TiffImageFile) -> ImageError:
    bits, kind = (max(_tag(image, number, (1,))) for number in (Base.BitsPerSample, Base.SampleFormat))
    kind = {1: "unsigned", 2: "signed", 3: "floating-point", 5: "complex", 6: "complex"}.get(kind, "undefined")
    colours, compression = (_tag(image, number, 0) for number in (Base.PhotometricInterpretation, Base.Compression))
    return ImageError(
        f"is a kind of TIFF that is not supported ({bits} bits, {kind}, photometric interpretation {colours}, "
        f"compression {compression}); save it as unsigned 8 or 16 bits, or floating-point 32 bits, sample by sample"
    )


def _tag(image: Image.Image, number: int, default: Any = None) -> Any:
    return image.tag_v2.get(number, default) if isinstance(image, TiffImageFile) else default


def _read(image: ImageFile.ImageFile, start: int, size: int) -> bytes:
    """At most `size` bytes, and at most as many as there are."""
    file = image.fp
    assert file is not None
    there = file.seek(0, os.SEEK_END)
    file.seek(start)
    return file.read(max(0, min(size, there - start)))


def _refuse_zeros_at_end(image: ImageFile.ImageFile, start: int, size: int, zeros: int) -> None:
    """Refuses compressed data that end in this many zeros, as an incomplete copy does: decoders make pixels of them."""
    if size > zeros and not any(_read(image, start + size - zeros, zeros)):
        raise ImageError("the file is cut off: its compressed pixels end in zeros")

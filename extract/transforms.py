"""The part of preprocessing that happens before the device: decoded pixels to uint8 of the network's size.

Resizing and cropping follow torchvision's `Resize` and `CenterCrop` on Pillow images, to the pixel; scaling to 0..1 and
normalising happen on the device (`Backbone.embed`), so that a quarter of the bytes travel.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from ..base import ImageError
from ..cache import TransformSpec

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def to_input(pixels: np.ndarray, spec: TransformSpec) -> np.ndarray:
    """Brings to the network's colours and size.

    For a network of three channels a grey image fills all three. For one of a single channel an RGB image becomes its
    luma by ITU-R 601, (299 R + 587 G + 114 B) / 1000, as Pillow's mode L; a grey picture that was stored as RGB thus
    gives what it gives when it is stored as grey.

    Args:
        pixels: uint8, (H, W) grey or (H, W, 3) RGB.
        spec: the transform.

    Returns:
        uint8 (C, height, width), C-contiguous and of its own memory, C being `spec.channels`.

    Raises:
        ImageError: its sides are so unequal that it would be huge before the crop.
    """
    image = Image.fromarray(pixels)
    if spec.colour == "grey":
        image = image.convert("L")
    array = np.asarray(_crop(_resize(image, spec), spec.size))
    channels = np.broadcast_to(array, (spec.channels, *array.shape)) if array.ndim == 2 else array.transpose(2, 0, 1)
    return np.array(channels, order="C")


def _resize(image: Image.Image, spec: TransformSpec) -> Image.Image:
    if isinstance(spec.resize_to, tuple):
        height, width = spec.resize_to
    elif image.width <= image.height:
        width, height = spec.resize_to, int(spec.resize_to * image.height / image.width)
    else:
        width, height = int(spec.resize_to * image.width / image.height), spec.resize_to
    if image.size == (width, height):
        return image
    _require_bounded(image, width, height)
    return image.resize((width, height), _FILTERS[spec.interpolation])


def _require_bounded(image: Image.Image, width: int, height: int) -> None:
    """Refuses what would be larger than any image that is read at all: a line of 1 x 20,000 becomes 224 x 4,480,000.

    Resizing only what the crop keeps (Pillow's `box`) would do, but rounds otherwise than torchvision in most images.
    """
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and width * height > limit:
        raise ImageError(
            f"its {image.height:,} x {image.width:,} pixels become {height:,} x {width:,} when the short side is that "
            f"of the network, more than the {limit:,} allowed; crop the image"
        )


def _crop(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    height, width = size
    top, left = _start(image.height, height), _start(image.width, width)
    if (top, left) == (0, 0) and image.size == (width, height):
        return image
    return image.crop((left, top, left + width, top + height))


def _start(side: int, wanted: int) -> int:
    """Where the crop begins along one side; below zero the rest is filled with black. Rounded as torchvision does."""
    return round((side - wanted) / 2) if side >= wanted else -((wanted - side) // 2)

"""A hash of what an image looks like: copies that were compressed again or resized differ from it in a few bits."""

from __future__ import annotations

import numpy as np
from PIL import Image

THUMBNAIL = 16
"""Pixels a side of the picture that confirms what two near hashes suggest."""
_SIDE, _KEPT = 32, 8
_STEPS = np.arange(_SIDE)
# Rows of the DCT-II without its scale, which a comparison with the median does not see.
_COSINES = np.cos(np.pi * np.arange(_KEPT)[:, None] * (2 * _STEPS[None] + 1) / (2 * _SIDE)).astype(np.float32)
_COSINES[0] /= np.sqrt(2)


def perceptual_hash(grey: Image.Image) -> tuple[int, np.ndarray]:
    """The DCT hash of an image (Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash Functions").

    The image is averaged to 32 x 32; of its cosine transform the 8 x 8 slowest waves are kept, and each becomes one
    bit: is it above their median? The mean brightness is not a frequency, so its bit is always 0.

    Args:
        grey: of mode `L`.

    Returns:
        The 64 bits as a whole number, and a thumbnail, uint8 (16, 16), averaged from the same 32 x 32.
    """
    small = np.asarray(grey.resize((_SIDE, _SIDE), Image.Resampling.BOX), np.float32)
    waves = (_COSINES @ small @ _COSINES.T).ravel()
    bits = waves > np.median(waves[1:])
    bits[0] = False
    step = _SIDE // THUMBNAIL
    thumbnail = small.reshape(THUMBNAIL, step, THUMBNAIL, step).mean(axis=(1, 3))
    return int.from_bytes(np.packbits(bits).tobytes(), "big"), np.rint(thumbnail).astype(np.uint8)

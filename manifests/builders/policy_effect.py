"""Whether an intensity policy has a say in the images of a manifest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ...base import ImageError
from ..manifest import Manifest
from ..readers import read_image
from ..readers.source import Source
from ..schema.intensity_policy import DEFAULT_READING, IntensityPolicy


def policy_matters(manifest: Manifest, reading: IntensityPolicy) -> bool:
    """Whether `reading` gives other pixels than the default one, as far as three images tell.

    The first, the middle and the last row are read both ways, which is quick and finds the common case: where all
    images are 8-bit ones of ordinary formats, no policy changes a pixel.

    Returns:
        False where every one that could be read came out the same; True else, also where none could be read.
    """
    sources, last = manifest.sources(), len(manifest) - 1
    tried = [_same(sources[row], reading) for row in sorted({0, last // 2, last}) if last >= 0]
    known = [same for same in tried if same is not None]
    return not known or not all(known)


def _same(source: Source, reading: IntensityPolicy) -> bool | None:
    """Whether one image has the same pixels by default; None where it cannot be read."""
    try:
        asked = read_image(replace(source, reading=reading))
    except ImageError:
        return None
    try:
        return np.array_equal(asked, read_image(replace(source, reading=DEFAULT_READING)))
    except ImageError:
        return False

"""Detects text in the pixels: small, sharp marks in a row, on an even background, near an edge of the image.

A method of our own, made for the names, dates and scales that scanners write into images; what it finds and misses
is measured in docs/checks.md (`burned-in-text`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

FEWEST = 4
"""Letters in a row; three marks of similar height occur in anatomy too."""
_LONGEST_SIDE = 1024
"""Larger images are averaged down first: letters that can be read on a screen survive it."""
_STROKE = 9
"""Size of the opening in pixels; what it removes is a thin stroke."""
_CONTRAST = 40
"""Minimum contrast of a stroke, in grey levels."""
_HEIGHTS = (5, 40)
"""Minimum and maximum height of a letter in pixels."""
_EVEN = 14
"""Maximum standard deviation, in grey levels, of the background around a letter."""
_EDGE = 1 / 3
"""Share of the image, from each edge, in which text is searched."""
_MOST_MARKS = 600
"""Images with more marks than this are texture, and are skipped."""


def letters_in_a_row(grey: Image.Image) -> int:
    """How many letters the longest suspected row of text in an `L` image has; 0 where there are fewer than `FEWEST`."""
    factor = -(-max(grey.size) // _LONGEST_SIDE)
    pixels = np.asarray(grey.reduce(factor) if factor > 1 else grey)
    # Bright text, then dark text.
    return max(_longest_row(pixels), _longest_row(255 - pixels))


def _longest_row(pixels: np.ndarray) -> int:
    strokes = _strokes(pixels)
    if not strokes.any():
        return 0
    boxes = _letter_boxes(strokes)
    rows = (_letters_on_even_ground(pixels, strokes, row) for row in _rows_of(boxes))
    return max((count for count in rows if count >= FEWEST), default=0)


def _strokes(pixels: np.ndarray) -> np.ndarray:
    """Where something thin stands out by more than half of what stands out most nearby: bool (H, W)."""
    opened = _over_windows(
        _over_windows(np.pad(pixels, _STROKE - 1, mode="edge"), _STROKE, np.minimum), _STROKE, np.maximum
    )
    height = pixels - opened
    if int(height.max()) <= _CONTRAST:
        return np.zeros(pixels.shape, bool)
    nearby = 15
    highest = _over_windows(np.pad(height, nearby // 2, mode="edge"), nearby, np.maximum)
    # Letters that blur into each other part at half height.
    return (height > _CONTRAST) & (height > highest // 2)


def _over_windows(pixels: np.ndarray, size: int, of_two: Callable[..., np.ndarray]) -> np.ndarray:
    """The extreme over every square window: each pass doubles the window, a few quick passes over bytes."""
    for _ in range(2):  # rows, then columns
        reach = 1
        while reach < size:
            step = min(reach, size - reach)
            pixels = of_two(pixels[step:], pixels[:-step])
            reach += step
        pixels = pixels.T
    return pixels


def _letter_boxes(strokes: np.ndarray) -> np.ndarray:
    """Marks of the size of letters near an edge, sorted from left to right: (M, 4) of top, bottom, left, right."""
    from scipy import ndimage

    marks = np.empty(strokes.shape, np.int32)
    ndimage.label(strokes, np.ones((3, 3), bool), output=marks)
    found = ndimage.find_objects(marks)
    boxes = np.array([(y.start, y.stop, x.start, x.stop) for y, x in found]).reshape(-1, 4)
    height, width = boxes[:, 1] - boxes[:, 0], boxes[:, 3] - boxes[:, 2]
    middles = boxes.reshape(-1, 2, 2).mean(axis=2) / strokes.shape
    at_an_edge = (np.abs(middles - 0.5) > 0.5 - _EDGE).any(axis=1)
    boxes = boxes[(height >= _HEIGHTS[0]) & (height <= _HEIGHTS[1]) & (width <= 1.6 * height) & at_an_edge]
    return boxes[np.argsort(boxes[:, 2], kind="stable")] if len(boxes) <= _MOST_MARKS else boxes[:0]


def _rows_of(boxes: np.ndarray) -> Iterator[np.ndarray]:
    """Rows of at least `FEWEST` adjacent boxes of similar height on one line: (L, 4) each."""
    if len(boxes) < FEWEST:
        return
    top, bottom, left, right = boxes.T
    height = bottom - top
    higher = np.maximum(height[:, None], height)
    leeway = np.maximum(1, 0.15 * higher)
    on_a_line = (np.abs(bottom[:, None] - bottom) <= leeway) | (np.abs(top[:, None] - top) <= leeway)
    similar = higher <= 1.6 * np.minimum(height[:, None], height)
    gap = left - right[:, None]
    adjacent = (gap >= -2) & (gap <= 1.1 * higher) & (left > left[:, None])
    one, other = np.nonzero(on_a_line & similar & adjacent)
    if len(one) < FEWEST - 1:
        return
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = coo_array((np.ones(len(one), np.int8), (one, other)), shape=(len(boxes), len(boxes)))
    _, row = connected_components(links, directed=False)
    for number in np.flatnonzero(np.bincount(row) >= FEWEST):
        chosen = row == number
        # A staircase of marks is not a line of text.
        if np.ptp(np.concatenate([top[chosen], bottom[chosen]])) <= 2 * np.median(height[chosen]):
            yield boxes[chosen]


def _letters_on_even_ground(pixels: np.ndarray, strokes: np.ndarray, row: np.ndarray) -> int:
    whole = np.array([row[:, 0].min(), row[:, 1].max(), row[:, 2].min(), row[:, 3].max()])
    if whole[3] - whole[2] >= 2 * (whole[1] - whole[0]) and _is_even_around(pixels, strokes, whole):
        return len(row)
    return sum(_is_even_around(pixels, strokes, box) for box in row)


def _is_even_around(pixels: np.ndarray, strokes: np.ndarray, box: np.ndarray) -> bool:
    """Whether the ground in and around a box is even; the blurred rim of the strokes is excluded."""
    from scipy.ndimage import binary_dilation

    top, bottom, left, right = (int(side) for side in box)
    window = np.s_[max(0, top - 2) : bottom + 2, max(0, left - 2) : right + 2]
    inked = np.asarray(binary_dilation(strokes[window], np.ones((3, 3), bool)), bool)
    ground = pixels[window][~inked]
    return len(ground) >= 4 and bool(ground.std() <= _EVEN)

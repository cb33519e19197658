"""Pairs that are near each other among very many: of pictures, in any orientation and cropped or not, and of vectors.

Pictures are compared by the slowest waves of their cosine transform, as perceptual hashes are (Zauner 2010,
"Implementation and Benchmarking of Perceptual Image Hash Functions"), but by their sizes instead of one bit each. A
mirrored picture has the same waves with other signs, a transposed one has them in other places, and the waves of a
window of a picture follow from the picture: no orientation or crop is ever drawn.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ...base import usable_cores
from ...base.progress import Bar

_WINDOWS = np.array(
    [(0, 1, 0, 1), (0.025, 0.975, 0.025, 0.975), (0.05, 0.95, 0.05, 0.95)]
    + [(top, top + 0.95, left, left + 0.95) for top in (0, 0.05) for left in (0, 0.05)],
    np.float32,
)
"""Top, bottom, left and right of what a crop may have left. What lies between them the linear model bridges."""
_WHOLE = _WINDOWS[:1]
_FOUND_BY = np.hypot(*np.mgrid[:10, :10]).astype(np.float32)
"""Weights of the waves by which pictures are found and aligned. They grow with the frequency, since slow waves are far
stronger than fast ones in any image; without the mean, which is brightness."""
_SUSPECTED = 8
"""Waves a side that are enough for a first look."""
_SUSPECT, _CLOSE = 0.68, 0.945
"""Cosines from which on a pair is aligned, and then compared: 99 % of the copies of docs/checks.md have more."""
_DIVERSE, _SPREAD = 100, 0.25
"""How many pictures, and how far from their mean, before the mean is trusted: all may be copies of one."""
_STEP, _FARTHEST, _ROUNDS = np.float32(0.01), np.float32(0.03), 3
"""Of Gauss and Newton's method: by how much an edge is moved to see what changes, how far it may go at once, and how
often."""
_LIMITS = np.array([(-0.02, 0.8, -0.02, 0.8), (0.2, 1.02, 0.2, 1.02)], np.float32)
"""Between which the edges may be."""
_TURNS = np.hypot(*np.mgrid[:32, :32]) * np.pi / 48
_FINE, _COARSE = (np.exp(-((_TURNS * pixels) ** 2) / 2) for pixels in (0.5, 2.0))
_DETAILS = (_FINE - 0.95 * _COARSE).astype(np.float32)
_DETAILS[0, 0] = 0
"""Weights of the waves by which aligned pictures are compared: those between two Gaussians, their widths in pixels of
a 48th of a side, and of coarser ones as much as tells smooth pictures apart."""
_ALIKE_BESIDES, _FEW = 0.8, 30
"""Correlation of the details of two images without what all images share, such as the round frame of fundus
photographs; and how many images there must be before that is trusted, since all may be copies of one."""
_QUERIES, _MEMBERS, _PAIRS = 128, 512, 4096
"""Pictures of a block of products, which stays in the processor's cache, and pairs aligned in one go."""
_VECTORS = 1024, 4096
"""Vectors of a block of products."""


class NearPictures(NamedTuple):
    """P pairs of pictures, the second of which shows a window of the first in some orientation."""

    pairs: np.ndarray
    """(P, 2) int64."""
    correlation: np.ndarray
    """(P,) float32: of their aligned details, which brightness and contrast do not change."""
    orientation: np.ndarray
    """(P,) int64: 4 if transposed, and after that 1 if mirrored left to right, and 2 if top to bottom."""
    window: np.ndarray
    """(P, 4) float32: its top, bottom, left and right, as shares of the first picture."""


def near_pictures(pictures: np.ndarray, part: np.ndarray, least: float, bar: Bar) -> Iterator[NearPictures]:
    """All pairs from different parts whose correlation is at least `least`.

    Pairs are suspected by features that no orientation changes: the sizes of their waves, of which each is paired with
    its transposed one and the larger comes first. One product compares the windows of each picture with every whole
    picture. Suspects are aligned by a linear model of how the waves change when an edge moves (tangent distance;
    Simard et al. 1993), the close ones by a few rounds of it, and then their details are compared.

    Takes pictures, uint8 (N, S, S), that are not flat, and parts, (N,) int64, best in order: blocks of one part are
    skipped. `bar` is advanced by pictures. Yields pairs in blocks; a pair may come several times, in either order.
    """
    from joblib import Parallel, delayed
    from threadpoolctl import threadpool_limits

    search = _Search(pictures, part, least)
    starts = range(0, len(pictures), _QUERIES)
    pool: Any = Parallel(usable_cores(), backend="threading", return_as="generator")
    with threadpool_limits(1):
        for start, found in zip(starts, pool(delayed(search.block)(start) for start in starts), strict=True):
            yield from found
            bar.advance(len(pictures[start : start + _QUERIES]))


class _Search:
    """What the comparisons of all blocks share."""

    def __init__(self, pictures: np.ndarray, part: np.ndarray, least: float) -> None:
        self.pictures, self.part, self.least = pictures, part, least
        blocks = np.array_split(pictures, max(1, len(pictures) // 1024))
        self.waves = np.concatenate([_unit(_waves(block, _WHOLE, _FOUND_BY)) for block in blocks])
        features = _features(self.waves)
        self.mean = features.sum(axis=0) / (len(features) + _DIVERSE)
        direction, length = self._centred(features)
        self.members = np.concatenate([direction, length], axis=1)
        details = sum(_unit(_waves(block, _WHOLE, _DETAILS)).sum(axis=0) for block in blocks)
        # What is shared in every orientation.
        details = details * _flips(len(_DETAILS)).mean(axis=0)
        self.shared = (details + details.T).ravel() / 2 / (len(pictures) + _FEW)

    def _centred(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Features minus their mean, of length 1 if they are far from it, and that length (N, 1)."""
        features = features - self.mean
        length = np.linalg.norm(features, axis=1, keepdims=True)
        scale = np.maximum(length, _SPREAD)
        return features / scale, length / scale

    def block(self, start: int) -> list[NearPictures]:
        """The pairs whose first picture is one of a block, from `start` on."""
        pixels = self.pictures[start : start + _QUERIES].astype(np.float32)
        close = []
        for number, window in enumerate(_WINDOWS):
            waves = _unit(_waves(pixels, window[None], _FOUND_BY))
            one, other = self._suspects(waves, start, whole=number == 0)
            for place in range(0, len(one), _PAIRS):
                here = slice(place, place + _PAIRS)
                orientation, cosine = self._aligned(pixels, window, waves, one[here], other[here])
                kept = np.flatnonzero(cosine >= _CLOSE)
                pairs = (one[here][kept], other[here][kept])
                close.append(np.stack([*pairs, orientation[kept], np.full(len(kept), number), -cosine[kept]], axis=1))
        names = pd.Index(["one", "other", "orientation", "number", "distance"])
        found = pd.DataFrame(np.concatenate(close) if close else np.empty((0, 5)), columns=names)
        # Of each pair, the window by which it is nearest.
        nearest = found.sort_values("distance", kind="stable").drop_duplicates(["one", "other"])
        nearest["one"] += start
        rows = nearest.to_numpy()[:, :4].astype(np.int64)
        return [self._compared(*rows[place : place + _PAIRS].T) for place in range(0, len(rows), _PAIRS)]

    def _suspects(self, waves: np.ndarray, start: int, *, whole: bool) -> tuple[np.ndarray, np.ndarray]:
        """Places in the block, and rows, of pairs whose features are near."""
        direction, length = self._centred(_features(waves))
        # Far from the mean, this is a cosine less one; near it all are suspects.
        queries = np.concatenate([direction, -length], axis=1)
        parts, found = self.part[start : start + len(queries)], [np.empty((2, 0), np.int64)]
        for begin in range(0, len(self.members), _MEMBERS):
            members = slice(begin, begin + _MEMBERS)
            if (parts == parts[0]).all() and (self.part[members] == parts[0]).all():
                continue
            nearness = queries @ self.members[members].T
            one, other = np.divmod(np.flatnonzero(nearness >= _SUSPECT - 1), nearness.shape[1])
            found.append(np.stack([one, other + begin]))
        one, other = np.concatenate(found, axis=1)
        apart = self.part[one + start] != self.part[other]
        # Two whole pictures are compared once.
        apart &= (one + start < other) if whole else True
        return one[apart], other[apart]

    def _aligned(
        self, pixels: np.ndarray, window: np.ndarray, waves: np.ndarray, one: np.ndarray, other: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The likeliest orientation of each pair (P,), and the cosine (P,) when edges may move a little."""
        theirs = self.waves[other]
        flips = _flips(len(_FOUND_BY)).reshape(4, -1).T
        turned = [(mine * theirs).reshape(len(one), -1) @ flips for mine in (waves[one], _transposed(waves[one]))]
        orientation = np.concatenate(turned, axis=1).argmax(axis=1)
        rows, place = np.unique(one, return_inverse=True)
        basis = np.linalg.qr(_tangents(pixels[rows], window[None]))[0]
        upright = _undone(theirs, orientation).reshape(len(one), 1, -1)
        return orientation, np.linalg.norm(upright @ basis[place], axis=2)[:, 0]

    def _compared(
        self, one: np.ndarray, other: np.ndarray, orientation: np.ndarray, number: np.ndarray
    ) -> NearPictures:
        """The pairs whose details have the least correlation, after their alignment."""
        pixels, window = self.pictures[one].astype(np.float32), _WINDOWS[number]
        target = _undone(self.waves[other], orientation).reshape(len(one), -1, 1)
        for _ in range(_ROUNDS):
            model = _tangents(pixels, window)
            transposed = model.transpose(0, 2, 1)
            normal = transposed @ model
            # A picture of stripes says nothing of two edges.
            normal += np.float32(1e-6) * np.trace(normal, axis1=1, axis2=2)[:, None, None] * np.eye(5, dtype=np.float32)
            solved = np.linalg.solve(normal, transposed @ target)[:, :, 0]
            moved = np.clip(solved[:, 1:] / np.maximum(solved[:, :1], 1e-9), -_FARTHEST, _FARTHEST)
            window = np.clip(window + moved, *_LIMITS)
        theirs = _unit(_undone(_waves(self.pictures[other], _WHOLE, _DETAILS), orientation))
        # With its square, an image may become what it is in another window or with another gamma.
        ours = np.stack([_waves(power, window, _DETAILS) for power in (pixels, pixels**2)], axis=3)
        basis = np.linalg.qr(ours.reshape(len(one), -1, 2))[0]
        theirs = theirs.reshape(len(one), -1)
        fitted = ((theirs[:, None] @ basis) @ basis.transpose(0, 2, 1))[:, 0]
        correlation = np.linalg.norm(fitted, axis=1)
        fitted /= np.maximum(correlation, 1e-9)[:, None]
        near = (correlation >= self.least) & (_cosine(theirs - self.shared, fitted - self.shared) >= _ALIKE_BESIDES)
        pairs = np.stack([one, other], axis=1)
        return NearPictures(pairs[near], correlation[near], orientation[near], window[near])


def _waves(pictures: np.ndarray, windows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The slowest waves of the DCT-II of a window of each picture: (P, S, S), (P or 1, 4) and (K, K) to (P, K, K)."""
    side, kept = pictures.shape[1], len(weights)
    rows, columns = (_cosines(windows[:, i], windows[:, i + 1], kept, side) for i in (0, 2))
    return rows @ pictures.astype(np.float32) @ columns.transpose(0, 2, 1) * weights


def _cosines(start: np.ndarray, end: np.ndarray, kept: int, side: int) -> np.ndarray:
    """From pixels to waves between two edges, each (P,), given as shares: (P, kept, side)."""
    edges = np.arange(side + 1, dtype=np.float32) / side
    low, high = np.maximum(edges[:-1], start[:, None]), np.minimum(edges[1:], end[:, None])
    length = (end - start)[:, None]
    phase = ((low + high) / 2 - start[:, None]) / length * np.float32(np.pi)
    share = np.clip(high - low, 0, None) / length
    return np.cos(np.arange(kept, dtype=np.float32)[:, None] * phase[:, None]) * share[:, None]


def _tangents(pictures: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """The waves of a window, and how they change as its top, bottom, left and right move: (P, K * K, 5)."""
    side, kept = pictures.shape[1], len(_FOUND_BY)
    rows, columns = (
        np.concatenate([_cosines(a + da, b + db, kept, side) for da, db in ((0, 0), (_STEP, 0), (0, _STEP))], axis=1)
        for a, b in (windows[:, :2].T, windows[:, 2:].T)
    )
    waves = (rows @ pictures @ columns.transpose(0, 2, 1)).reshape(len(pictures), 3, kept, 3, kept)
    still, *moved = (waves[:, i, :, j] * _FOUND_BY for i, j in ((0, 0), (1, 0), (2, 0), (0, 1), (0, 2)))
    changes = [(there - still) / _STEP for there in moved]
    return np.stack([still, *changes], axis=3).reshape(len(pictures), kept * kept, 5)


def _features(waves: np.ndarray) -> np.ndarray:
    """What no orientation changes, and what differs between two pictures by no more than they do: (P, K), length 1."""
    sizes = np.abs(waves[:, :_SUSPECTED, :_SUSPECTED])
    u, v = np.triu_indices(_SUSPECTED)
    larger, smaller = (choose(sizes, _transposed(sizes))[:, u, v] for choose in (np.maximum, np.minimum))
    features = np.concatenate([larger, smaller[:, u < v]], axis=1)
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-9)


def _undone(waves: np.ndarray, orientation: np.ndarray) -> np.ndarray:
    """The waves of pictures before they were brought into an orientation."""
    waves = waves * _flips(waves.shape[1])[orientation % 4]
    return np.where((orientation >= 4)[:, None, None], _transposed(waves), waves)


def _flips(kept: int) -> np.ndarray:
    """The signs that mirroring gives to waves: none, left to right, top to bottom, and both: (4, kept, kept)."""
    signs = [np.ones(kept, np.float32), np.where(np.arange(kept) % 2, -1, 1).astype(np.float32)]
    return np.stack([np.outer(rows, columns) for rows in signs for columns in signs])


def _transposed(waves: np.ndarray) -> np.ndarray:
    return waves.transpose(0, 2, 1)


def _cosine(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Of the rows (P, D) of two matrices: (P,)."""
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return (one * other).sum(axis=1) / np.maximum(lengths, 1e-9)


def _unit(waves: np.ndarray) -> np.ndarray:
    """Waves (P, K, K) of length 1."""
    return waves / np.maximum(np.linalg.norm(waves, axis=(1, 2), keepdims=True), 1e-9)


def near_vectors(
    vectors: np.ndarray, part: np.ndarray, least: float, bar: Bar
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All pairs from different parts whose cosine is at least `least`, by products of blocks.

    Takes vectors of length 1, float32 (N, D), and parts, (N,) int64; `bar` is advanced by the rows that have been
    compared with all later ones. Yields (P, 2) int64, the lower row first, and the cosines, (P,) float32.
    """
    for start in range(0, len(vectors), _VECTORS[0]):
        queries = vectors[start : start + _VECTORS[0]]
        for begin in range(start, len(vectors), _VECTORS[1]):
            cosines = queries @ vectors[begin : begin + _VECTORS[1]].T
            one, other = np.nonzero(cosines >= least)
            found = cosines[one, other]
            pairs = np.stack([one + start, other + begin], axis=1)
            apart = (pairs[:, 0] < pairs[:, 1]) & (part[pairs[:, 0]] != part[pairs[:, 1]])
            yield pairs[apart], found[apart]
        bar.advance(len(queries))

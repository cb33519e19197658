"""Pairs that are near each other among very many: of 64-bit hashes, and of vectors. Bounded memory, no index kept."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...base.progress import Bar

FARTHEST = 7
"""Bits in which two hashes may differ and are still found, every one of them."""
_BANDS, _BAND_BITS = 4, 16
_SET_BITS = np.array([number.bit_count() for number in range(2**16)], np.uint8)
_PAIRS = 2**20
"""Pairs looked at in one go."""
_QUERIES, _MEMBERS = 1024, 4096
"""Rows of a block of products."""


def near_hashes(hashes: np.ndarray, part: np.ndarray) -> Iterator[np.ndarray]:
    """All pairs from different parts whose hashes differ in at most `FARTHEST` bits.

    Multi-index hashing (Norouzi, Punjani and Fleet 2012, "Fast Search in Hamming Space with Multi-Index Hashing"): of
    four bands of 16 bits, two hashes with at most seven different bits have one that differs in at most one bit, so
    only hashes that agree in a band, or all but agree, are compared.

    Takes hashes, (N,) uint64, and parts, (N,) int64. Yields (P, 2) int64, the lower row first; a pair may come several
    times.
    """
    for band in range(_BANDS):
        keys = (hashes >> np.uint64(band * _BAND_BITS)).astype(np.uint16)
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        for flipped in (0, *(1 << bit for bit in range(_BAND_BITS))):
            wanted = keys ^ np.uint16(flipped)
            first, last = (np.searchsorted(ordered, wanted, side) for side in ("left", "right"))
            for one, places in _expanded(first, last):
                other = order[places]
                apart = (one < other) & (part[one] != part[other])
                pairs = np.stack([one[apart], other[apart]], axis=1)
                yield pairs[_bits(hashes[pairs[:, 0]] ^ hashes[pairs[:, 1]]) <= FARTHEST]


def _expanded(first: np.ndarray, last: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Each row with each place from its first to its last, about `_PAIRS` at a time."""
    counts = last - first
    ends = np.flatnonzero(np.diff(np.cumsum(counts) // _PAIRS)) + 1
    for rows in np.split(np.arange(len(counts)), ends):
        repeats = counts[rows]
        starts = np.repeat(first[rows] - np.cumsum(repeats) + repeats, repeats)
        yield np.repeat(rows, repeats), starts + np.arange(len(starts))


def _bits(numbers: np.ndarray) -> np.ndarray:
    """How many bits are set: contiguous (N,) uint64 to (N,) uint8."""
    words = numbers.view(np.uint16)
    return _SET_BITS[words[0::4]] + _SET_BITS[words[1::4]] + _SET_BITS[words[2::4]] + _SET_BITS[words[3::4]]


def near_vectors(
    vectors: np.ndarray, part: np.ndarray, least: float, bar: Bar
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All pairs from different parts whose cosine is at least `least`, by products of blocks.

    Takes vectors of length 1, float32 (N, D), and parts, (N,) int64; `bar` is advanced by the rows that have been
    compared with all later ones. Yields (P, 2) int64, the lower row first, and the cosines, (P,) float32.
    """
    for start in range(0, len(vectors), _QUERIES):
        queries = vectors[start : start + _QUERIES]
        for begin in range(start, len(vectors), _MEMBERS):
            cosines = queries @ vectors[begin : begin + _MEMBERS].T
            one, other = np.nonzero(cosines >= least)
            found = cosines[one, other]
            pairs = np.stack([one + start, other + begin], axis=1)
            apart = (pairs[:, 0] < pairs[:, 1]) & (part[pairs[:, 0]] != part[pairs[:, 1]])
            yield pairs[apart], found[apart]
        bar.advance(len(queries))

"""Nearly identical images in several parts of a split, by perceptual hashes and by embeddings."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...base import counted, progress
from ..image_stats.perceptual_hash import THUMBNAIL
from ..validation.diagnostics import MOST, Diagnostic, diagnostic
from .context import CheckContext
from .near_search import near_hashes, near_vectors

ALIKE = 0.98
"""Correlation of two thumbnails from which on they show one scan; measured on brain images (docs/checks.md)."""
NEAR = 0.95
"""Cosine of two embeddings, their mean taken away, from which on they are of one scan (docs/checks.md)."""
_FLAT = 4.0
"""Standard deviation, in grey levels, of a thumbnail that shows too little to be compared."""
_MOST_PAIRS = 100_000
"""A search ends with these; so many show that the split is meaningless."""


def near_duplicates(context: CheckContext) -> Iterator[Diagnostic]:
    """Copies that were compressed again, resized, or shown in another window, across splits or groups."""
    stats = context.stats
    spread = stats.thumbnail.reshape(len(stats), THUMBNAIL**2).std(axis=1)
    rows = np.flatnonzero(stats.readable & ~stats.constant & (spread >= _FLAT))
    found = _Pairs(context)
    for pairs in near_hashes(stats.hash[rows], context.part[rows]):
        found.add(rows[pairs], _likeness(stats.thumbnail, rows[pairs]), ALIKE)
        if found.full:
            break
    yield from found.diagnostics("near-duplicate", "correlation")


def near_embeddings(context: CheckContext) -> Iterator[Diagnostic]:
    """Images that a network sees as one, across splits or groups; by each of the embeddings on its own."""
    found = _Pairs(context)
    for name, matrix in context.embeddings.items():
        if found.full:
            break
        vectors, rows = _centred(matrix)
        with progress(f"Comparing {name}", len(rows), unit="images", enabled=context.show_progress) as bar:
            for pairs, cosines in near_vectors(vectors, context.person[rows], NEAR, bar):
                found.add(rows[pairs], cosines, NEAR, by=name)
                if found.full:
                    break
    yield from found.diagnostics("near-embedding", "cosine")


class _Pairs:
    """Pairs of different images that were found, with how near they are and by what."""

    def __init__(self, context: CheckContext) -> None:
        self.context = context
        self.nearness: dict[tuple[int, int], tuple[float, str, int]] = {}
        """By rows: how near they are, by what they are nearest, and by how many they were found."""

    @property
    def full(self) -> bool:
        return len(self.nearness) >= _MOST_PAIRS

    def add(self, pairs: np.ndarray, nearness: np.ndarray, least: float, by: str = "") -> None:
        digest = self.context.stats.digest
        # Identical pixels have their own codes.
        new = (nearness >= least) & (digest[pairs[:, 0]] != digest[pairs[:, 1]])
        for (one, other), value in zip(pairs[new].tolist(), nearness[new].tolist(), strict=True):
            nearest, by_nearest, times = self.nearness.get((one, other), (0.0, "", 0))
            if value > nearest:
                nearest, by_nearest = value, by
            self.nearness[one, other] = nearest, by_nearest, times + 1

    def diagnostics(self, code: str, measure: str) -> Iterator[Diagnostic]:
        """The nearest first; then how many more."""
        ranked = sorted(self.nearness.items(), key=lambda item: (-item[1][0], item[0]))
        for pair, (value, by, times) in ranked[:MOST]:
            rows = np.array(pair)[np.argsort(self.context.split_order[list(pair)], kind="stable")]
            named = self.context.named(rows, with_split=True, joint=" ~ ")
            others = f", and close by {counted(times - 1, 'other cache')}" if times > 1 else ""
            message = f"{named}: {measure} {value:.3f}{f' ({by}{others})' if by else ''}"
            yield diagnostic(code, message, self.context.ids, rows)
        rest = ranked[MOST:]
        if rest:
            samples = np.unique([pair for pair, _ in rest])
            most = " and the search was ended" if self.full else ""
            message = f"{counted(len(rest), 'other pair')} nearly as close{most}"
            yield diagnostic(code, message, self.context.ids, samples, things=len(rest))


def _likeness(thumbnails: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Correlation of the thumbnails of each pair, which brightness and contrast do not change: (P,) float32."""
    parts = np.array_split(pairs, max(1, len(pairs) // 10_000))
    return np.concatenate([_correlation(thumbnails[part[:, 0]], thumbnails[part[:, 1]]) for part in parts])


def _correlation(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    some, others = (pixels.reshape(len(pixels), THUMBNAIL**2).astype(np.float32) for pixels in (some, others))
    some, others = (pixels - pixels.mean(axis=1, keepdims=True) for pixels in (some, others))
    return (some * others).sum(axis=1) / np.sqrt((some**2).sum(axis=1) * (others**2).sum(axis=1))


def _centred(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vectors minus their mean, of length 1, float32 (M, D), and the rows (M,) they are of."""
    rows = np.flatnonzero(np.isfinite(matrix).all(axis=1))
    vectors = matrix[rows].astype(np.float32)
    vectors -= vectors.mean(axis=0) if len(rows) else 0
    lengths = np.linalg.norm(vectors, axis=1)
    rows, vectors, lengths = (kept[lengths > 0] for kept in (rows, vectors, lengths))
    vectors /= lengths[:, None]
    return vectors, rows

"""Nearly identical images in several parts of a split, by perceptual hashes and by embeddings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

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

_Pairs = tuple[np.ndarray, np.ndarray, str]
"""Rows of pairs (P, 2), how near they are (P,), and by which embedding."""


def near_duplicates(context: CheckContext) -> Iterator[Diagnostic]:
    """Copies that were compressed again, resized, or shown in another window, across splits or groups."""
    stats = context.stats
    spread = stats.thumbnail.reshape(len(stats), THUMBNAIL**2).std(axis=1)
    rows = np.flatnonzero(stats.readable & ~stats.constant & (spread >= _FLAT))
    near = (rows[pairs] for pairs in near_hashes(stats.hash[rows], context.part[rows]))
    found = ((pairs, _correlation(stats.thumbnail, pairs), "") for pairs in near)
    yield from _nearest_first(context, found, ALIKE, "near-duplicate", "correlation")


def near_embeddings(context: CheckContext) -> Iterator[Diagnostic]:
    """Images that a network sees as one, across splits or groups; by each of the embeddings on its own."""

    def found() -> Iterator[_Pairs]:
        for name, matrix in context.embeddings.items():
            vectors, rows = _centred(matrix)
            with progress(f"Comparing {name}", len(rows), unit="images", enabled=context.show_progress) as bar:
                for pairs, cosines in near_vectors(vectors, context.person[rows], NEAR, bar):
                    yield rows[pairs], cosines, name

    yield from _nearest_first(context, found(), NEAR, "near-embedding", "cosine")


def _nearest_first(
    context: CheckContext, found: Iterable[_Pairs], least: float, code: str, measure: str
) -> Iterator[Diagnostic]:
    """A diagnostic for each pair of different images that are at least so near; then how many more."""
    digest = context.stats.digest
    # By rows: how near they are, by what they are nearest, and by how many they were found.
    nearness: dict[tuple[int, int], tuple[float, str, int]] = {}
    for pairs, values, by in found:
        # Identical pixels have their own codes.
        new = (values >= least) & (digest[pairs[:, 0]] != digest[pairs[:, 1]])
        for (one, other), value in zip(pairs[new].tolist(), values[new].tolist(), strict=True):
            nearest, by_nearest, times = nearness.get((one, other), (0.0, "", 0))
            if value > nearest:
                nearest, by_nearest = value, by
            nearness[one, other] = nearest, by_nearest, times + 1
        if len(nearness) >= _MOST_PAIRS:
            break
    ranked = sorted(nearness.items(), key=lambda item: (-item[1][0], item[0]))
    for pair, (value, by, times) in ranked[:MOST]:
        rows = np.array(pair)[np.argsort(context.split_order[list(pair)], kind="stable")]
        others = f", and close by {counted(times - 1, 'other cache')}" if times > 1 else ""
        message = f"{context.named(rows, 'split', joint=' ~ ')}: {measure} {value:.3f}"
        yield diagnostic(code, f"{message} ({by}{others})" if by else message, context.ids, rows)
    rest = ranked[MOST:]
    if rest:
        samples = np.unique([pair for pair, _ in rest])
        most = " and the search was ended" if len(ranked) >= _MOST_PAIRS else ""
        message = f"{counted(len(rest), 'other pair')} nearly as close{most}"
        yield diagnostic(code, message, context.ids, samples, things=len(rest))


def _correlation(thumbnails: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Correlation of the thumbnails of each pair, which brightness and contrast do not change: (P,) float32."""
    parts = []
    for part in np.array_split(pairs, max(1, len(pairs) // 10_000)):  # bounds memory
        pixels = thumbnails[part].reshape(len(part), 2, THUMBNAIL**2).astype(np.float32)
        pixels -= pixels.mean(axis=2, keepdims=True)
        pixels /= np.linalg.norm(pixels, axis=2, keepdims=True)
        parts.append((pixels[:, 0] * pixels[:, 1]).sum(axis=1))
    return np.concatenate(parts)


def _centred(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vectors minus their mean, of length 1, float32 (M, D), and the rows (M,) they are of."""
    rows = np.flatnonzero(np.isfinite(matrix).all(axis=1))
    vectors = matrix[rows].astype(np.float32)
    vectors -= vectors.mean(axis=0) if len(rows) else 0
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    known = lengths[:, 0] > 0
    return vectors[known] / lengths[known], rows[known]

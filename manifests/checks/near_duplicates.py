"""Nearly identical images in several parts of a split, by perceptual hashes and by embeddings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from ...base import counted, progress
from ..image_stats.compute import ImageStats
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
MOST_PAIRS = 100_000
"""A search ends with these; so many show that the split is meaningless."""

_TYPES = {"row": np.int64, "other": np.int64, "nearness": np.float64, "by": object, "times": np.int64}
_Pairs = tuple[np.ndarray, np.ndarray, str]
"""Rows of pairs (P, 2), how near they are (P,), and by which embedding."""


def near_duplicates(context: CheckContext) -> Iterator[Diagnostic]:
    """Copies that were compressed again, resized, or shown in another window, across splits or groups."""
    found = near_pairs(context.part, stats=context.stats)
    yield from _diagnostics(context, found, "near-duplicate", "correlation")


def near_embeddings(context: CheckContext) -> Iterator[Diagnostic]:
    """Images that a network sees as one, across splits or groups; by each of the embeddings on its own."""
    found = near_pairs(context.person, embeddings=context.embeddings, show_progress=context.show_progress)
    # Identical pixels have their own codes.
    digest = context.stats.digest
    found = found[digest[found["row"]] != digest[found["other"]]]
    yield from _diagnostics(context, found, "near-embedding", "cosine")


def near_pairs(
    part: np.ndarray,
    *,
    stats: ImageStats | None = None,
    embeddings: Mapping[str, np.ndarray] | None = None,
    show_progress: bool = False,
) -> pd.DataFrame:
    """Pairs of images from different parts that show one scan though their pixels may differ.

    Args:
        part: (N,) int64 codes, such as those of groups or of a split; images of one part are not compared.
        stats: of the N images, to compare their pixels; identical ones are no pair. None compares embeddings alone.
        embeddings: by the name of what made them, (N, D), NaN throughout a row that has none. They do not tell
            identical images from similar ones.
        show_progress: show a bar while embeddings are compared.

    Returns:
        A row per pair, the nearest first: `row` and `other` are positions from 0, the lower first; `nearness` is the
        correlation of the pixels, or the cosine of the embeddings, in which they are nearest; `by` names that
        embedding, "" for pixels; `times` is by how many embeddings the pair was found.

    Examples:
        >>> from medprobe.manifests.checks.near_duplicates import near_pairs
        >>> vectors = np.array([[3.0, 1, 0], [3, 1, 0.01], [0, 5, 2]])
        >>> near_pairs(np.array([0, 1, 1]), embeddings={"net": vectors})[["row", "other"]].to_numpy()
        array([[0, 1]])
    """
    nearness: dict[tuple[int, int], tuple[float, str, int]] = {}
    for pairs, values, by in _found(part, stats, embeddings or {}, show_progress):
        for (one, other), value in zip(pairs.tolist(), values.tolist(), strict=True):
            nearest, by_nearest, times = nearness.get((one, other), (0.0, "", 0))
            if value > nearest:
                nearest, by_nearest = value, by
            nearness[one, other] = nearest, by_nearest, times + 1
        if len(nearness) >= MOST_PAIRS:
            break
    ranked = sorted(nearness.items(), key=lambda item: (-item[1][0], item[0]))
    columns = pd.Index(list(_TYPES))
    return pd.DataFrame([(*pair, *what) for pair, what in ranked], columns=columns).astype(_TYPES)


def _found(
    part: np.ndarray, stats: ImageStats | None, embeddings: Mapping[str, np.ndarray], show_progress: bool
) -> Iterator[_Pairs]:
    """Pairs that are near enough, as they are found; some come several times."""
    if stats is not None:
        spread = stats.thumbnail.reshape(len(stats), THUMBNAIL**2).std(axis=1)
        rows = np.flatnonzero(stats.readable & ~stats.constant & (spread >= _FLAT))
        for pairs in near_hashes(stats.hash[rows], part[rows]):
            values = _correlation(stats.thumbnail, rows[pairs])
            # Identical pixels have their own codes.
            near = (values >= ALIKE) & (stats.digest[rows[pairs[:, 0]]] != stats.digest[rows[pairs[:, 1]]])
            yield rows[pairs][near], values[near], ""
    for name, matrix in embeddings.items():
        vectors, rows = _centred(matrix)
        with progress(f"Comparing {name}", len(rows), unit="images", enabled=show_progress) as bar:
            for pairs, cosines in near_vectors(vectors, part[rows], NEAR, bar):
                yield rows[pairs], cosines, name


def _diagnostics(context: CheckContext, found: pd.DataFrame, code: str, measure: str) -> Iterator[Diagnostic]:
    """A diagnostic for each of the nearest pairs; then how many more."""
    for row, other, nearness, by, times in found.head(MOST).to_numpy().tolist():
        rows = np.array([row, other])[np.argsort(context.split_order[[row, other]], kind="stable")]
        others = f", and close by {counted(times - 1, 'other cache')}" if by and times > 1 else ""
        message = f"{context.named(rows, 'split', joint=' ~ ')}: {measure} {nearness:.3f}"
        yield diagnostic(code, f"{message} ({by}{others})" if by else message, context.ids, rows)
    rest = found[["row", "other"]].to_numpy()[MOST:]
    if len(rest):
        most = " and the search was ended" if len(found) >= MOST_PAIRS else ""
        message = f"{counted(len(rest), 'other pair')} nearly as close{most}"
        yield diagnostic(code, message, context.ids, np.unique(rest), things=len(rest))


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

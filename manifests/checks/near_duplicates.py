"""Copies in disguise and other nearly identical images in several parts of a split, by pixels and by embeddings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from ...base import counted, progress
from ..image_stats.compute import ImageStats
from ..validation.diagnostics import MOST_SETS, Diagnostic, diagnostic
from .context import CheckContext
from .near_search import NearPictures, near_pictures, near_vectors

ALIKE = 0.955
"""Correlation of the details of two images from which on they show one scan (docs/checks.md has what was measured)."""
NEAR = 0.95
"""Cosine of two embeddings, their mean taken away, from which on they are of one scan (docs/checks.md)."""
_FLAT = 4.0
"""Standard deviation, in grey levels, of a picture that shows too little to be compared."""
MOST_PAIRS = MOST_SETS
"""A search ends with these; so many show that the split is meaningless."""

_TYPES = {"row": np.int64, "other": np.int64, "nearness": np.float64, "by": object, "kind": object, "times": np.int64}
_ORIENTATIONS = (
    "",
    "mirrored",
    "mirrored top to bottom",
    "turned by 180 degrees",
    "turned by 90 degrees and mirrored",
    "turned by 90 degrees",
    "turned by 90 degrees",
    "turned by 90 degrees and mirrored",
)
"""As `NearPictures` numbers them. Which of two images is the copy is unknown, and so is the direction of a turn."""
_CROPPED = 0.98
"""Share of a side that is at most left of a cropped image."""


def near_images(context: CheckContext) -> Iterator[Diagnostic]:
    """Copies in disguise, across splits or groups; then what only embeddings take for one image."""
    seen = near_pairs(context.part, stats=context.stats, show_progress=context.show_progress)
    yield from _diagnostics(context, seen, "near-duplicate", "correlation")
    found = near_pairs(context.person, embeddings=context.embeddings, show_progress=context.show_progress)
    # Identical pixels have their own codes.
    digest, pairs = context.stats.digest, ["row", "other"]
    known = (digest[found["row"]] == digest[found["other"]]) | found.set_index(pairs).index.isin(
        seen.set_index(pairs).index
    )
    yield from _diagnostics(context, found[~known], "near-embedding", "cosine")


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
        show_progress: show a bar while images or embeddings are compared.

    Returns:
        A row per pair, the nearest first: `row` and `other` are positions from 0, the lower first; `nearness` is the
        correlation of their details once they are aligned, or the cosine of the embeddings in which they are nearest;
        `by` names that embedding, "" for pixels; `kind` says how the pixels were changed, where that is known, such as
        `mirrored, cropped`; `times` is by how many embeddings the pair was found. A search ends with about 100,000
        pairs.

    Examples:
        >>> from medprobe.manifests.checks.near_duplicates import near_pairs
        >>> vectors = np.array([[3.0, 1, 0], [3, 1, 0.01], [0, 5, 2]])
        >>> near_pairs(np.array([0, 1, 1]), embeddings={"net": vectors})[["row", "other"]].to_numpy()
        array([[0, 1]])
    """
    pairs, frames = ["row", "other"], [pd.DataFrame(columns=pd.Index(list(_TYPES)[:-1]))]
    for found in _found(part, stats, embeddings or {}, show_progress):
        frames.append(found)
        # A pair may come several times.
        if sum(map(len, frames)) >= MOST_PAIRS and len(pd.concat(frames).drop_duplicates(pairs)) >= MOST_PAIRS:
            break
    every = pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)
    every["times"] = every.groupby(pairs)["by"].transform("nunique")
    every = every.sort_values(["nearness", *pairs], ascending=[False, True, True], kind="stable")
    return every.drop_duplicates(pairs, ignore_index=True).astype(_TYPES)


def _found(
    part: np.ndarray, stats: ImageStats | None, embeddings: Mapping[str, np.ndarray], show_progress: bool
) -> Iterator[pd.DataFrame]:
    """Pairs that are near enough, as they are found, without `times`; a pair may come several times."""
    if stats is not None:
        # One by one, since all at once take nine times their memory.
        stored = stats.table["picture"]
        spread = np.fromiter((np.frombuffer(picture, np.uint8).std() for picture in stored), np.float64, len(stats))
        rows = np.flatnonzero(stats.readable & (spread >= _FLAT))
        rows = rows[np.argsort(part[rows], kind="stable")]
        with progress("Comparing images", len(rows), unit="images", enabled=show_progress) as bar:
            for found in near_pictures(stats.take(rows).picture, part[rows], ALIKE, bar):
                pairs = rows[found.pairs]
                # Identical pixels have their own codes.
                new = stats.digest[pairs[:, 0]] != stats.digest[pairs[:, 1]]
                yield _frame(pairs[new], found.correlation[new], "", _kinds(stats, pairs, found)[new])
    for name, matrix in embeddings.items():
        vectors, rows = _centred(matrix)
        with progress(f"Comparing {name}", len(rows), unit="images", enabled=show_progress) as bar:
            for pairs, cosines in near_vectors(vectors, part[rows], NEAR, bar):
                yield _frame(rows[pairs], cosines, name, "")


def _frame(pairs: np.ndarray, nearness: np.ndarray, by: str, kind: np.ndarray | str) -> pd.DataFrame:
    low, high = np.sort(pairs, axis=1).T
    return pd.DataFrame({"row": low, "other": high, "nearness": nearness.astype(np.float64), "by": by, "kind": kind})


def _kinds(stats: ImageStats, pairs: np.ndarray, found: NearPictures) -> np.ndarray:
    """How the second of each pair differs from the first, in words: (P,) object."""
    top, bottom, left, right = found.window.T
    cropped = np.minimum(bottom - top, right - left) < _CROPPED
    sizes = np.stack([stats.height[pairs], stats.width[pairs]], axis=2)
    sizes[found.orientation >= 4, 1] = sizes[found.orientation >= 4, 1, ::-1]
    resized = (sizes[:, 0] != sizes[:, 1]).any(axis=1) & ~cropped
    words = zip(
        np.array(_ORIENTATIONS)[found.orientation],
        np.where(cropped, "cropped", ""),
        np.where(resized, "resized", ""),
        strict=True,
    )
    return np.array([", ".join(filter(None, each)) for each in words], dtype=object)


def _diagnostics(context: CheckContext, found: pd.DataFrame, code: str, measure: str) -> Iterator[Diagnostic]:
    """A diagnostic for each of the pairs, the nearest first; then one for what is beyond `MOST_PAIRS`."""
    for row, other, nearness, by, kind, times in found.head(MOST_PAIRS - 1).to_numpy().tolist():
        rows = np.array([row, other])[np.argsort(context.split_order[[row, other]], kind="stable")]
        others = f", and close by {counted(times - 1, 'other cache')}" if times > 1 else ""
        how = f" ({by or kind}{others})" if by or kind else ""
        message = f"{context.named(rows, 'split', joint=' ~ ')}: {measure} {nearness:.3f}{how}"
        yield diagnostic(code, message, context.ids, rows)
    rest = found[["row", "other"]].to_numpy()[MOST_PAIRS - 1 :]
    if len(rest):
        message = f"{counted(len(rest), 'other pair')} nearly as close, and the search was ended"
        yield diagnostic(code, message, context.ids, np.unique(rest), things=len(rest))


def _centred(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vectors minus their mean, of length 1, float32 (M, D), and the rows (M,) they are of."""
    rows = np.flatnonzero(np.isfinite(matrix).all(axis=1))
    vectors = matrix[rows].astype(np.float32)
    vectors -= vectors.mean(axis=0) if len(rows) else 0
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    known = lengths[:, 0] > 0
    return vectors[known] / lengths[known], rows[known]

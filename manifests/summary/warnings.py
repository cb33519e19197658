"""What a reader should know of a manifest before relying on its numbers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...base import counted
from ..image_stats.table import ImageStats
from ..manifest import Manifest

_MOST_REASONS = 5
"""Reasons why images could not be read that are told one by one."""


def manifest_warnings(manifest: Manifest, survey: ImageStats | None = None) -> Iterator[str]:
    """Sentences about images that cannot be read and patients that are not named; they name no file and no id.

    Args:
        manifest: what they are about.
        survey: of its N images; None where nobody has looked at them.
    """
    unread = 0 if survey is None else len(survey) - int(survey.readable.sum())
    if survey is not None and unread:
        yield f"{counted(unread, 'image')} could not be read: {_why(survey)}."
    if not manifest.names_patients:
        yield "No column names patients, so several images of one patient may be on both sides of a split."


def _why(survey: ImageStats) -> str:
    reasons, counts = np.unique(survey.reason[~survey.readable].astype(str), return_counts=True)
    order = np.argsort(-counts, kind="stable")
    told = [f"{reasons[place]} ({counts[place]:,})" for place in order[:_MOST_REASONS]]
    return "; ".join([*told, *(["and others"] if len(order) > _MOST_REASONS else [])])

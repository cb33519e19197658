"""What a reader should know of a manifest before relying on its numbers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...base import counted
from ..image_stats.compute import ImageStats
from ..manifest import Manifest
from ..validation.diagnostics import Diagnostic, diagnostic

_MOST_REASONS = 5
"""Reasons why images could not be read that are listed."""


def manifest_warnings(manifest: Manifest, stats: ImageStats | None = None) -> Iterator[Diagnostic]:
    """Images that cannot be read (with `stats`), and patients that are not named; messages name no file and no id."""
    unread = np.flatnonzero(~stats.readable) if stats is not None else []
    if stats is not None and len(unread):
        reasons, counts = np.unique(stats.reason[unread].astype(str), return_counts=True)
        order = np.argsort(-counts, kind="stable")
        why = [f"{reasons[place]} ({counts[place]:,})" for place in order[:_MOST_REASONS]]
        why += ["and others"] if len(order) > _MOST_REASONS else []
        message = f"{counted(len(unread), 'image')} could not be read: {'; '.join(why)}"
        yield diagnostic("unreadable-image", message, rows=unread)
    if not manifest.names_patients:
        yield diagnostic(
            "no-patients", "no column names patients, so images of one patient may be in both train and test"
        )

"""What all checks read, computed once, and how they name rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd

from ...base import ManifestError, counted
from ..image_stats.compute import ImageStats
from ..image_stats.scan import manifest_image_stats
from ..manifest import Manifest
from ..schema.groups import codes_of
from ..schema.labels import label_codes
from ..schema.table_io import column_of, positions
from ..validation.diagnostics import Diagnostic
from ..validation.structure import SPLITS

Note = Literal["split", "label"] | None
_NAMED = 6
"""Images of one diagnostic that are named; the rest are counted."""


@dataclass(frozen=True, eq=False)
class CheckContext:
    """A manifest, the statistics of its images, and embeddings of them."""

    manifest: Manifest
    embeddings: Mapping[str, np.ndarray] = field(default_factory=dict)
    """By the name of what made them, (N, D), NaN where a sample has none."""
    show_progress: bool = True

    def __post_init__(self) -> None:
        for name, matrix in self.embeddings.items():
            if matrix.ndim != 2 or len(matrix) != len(self.manifest):
                raise ManifestError(
                    f"embeddings of {name}: have the shape {matrix.shape}; needed is one row for each of the "
                    f"manifest's {counted(len(self.manifest), 'sample')}."
                )

    @cached_property
    def ids(self) -> pd.Series:
        """The sample ids, blank where missing."""
        return column_of(self.manifest.table, "sample_id").fillna("")

    @cached_property
    def stats(self) -> ImageStats:
        """The statistics of each image."""
        return manifest_image_stats(self.manifest, show_progress=self.show_progress)

    @cached_property
    def labels(self) -> np.ndarray:
        """As `label_codes` has them."""
        return label_codes(self.manifest.table, self.manifest.card)

    @cached_property
    def split(self) -> pd.Series | None:
        """The split of each row, blank where missing; None where the manifest has no such column."""
        table = self.manifest.table
        return column_of(table, "split").fillna("") if "split" in table else None

    @cached_property
    def part(self) -> np.ndarray:
        """(N,) int64 codes of what an image must not be shared between: splits, else groups."""
        return codes_of(self.manifest.group_ids if self.split is None else self.split)[0]

    @cached_property
    def person(self) -> np.ndarray:
        """(N,) int64 codes of patients, where they are named; else as `part`."""
        return codes_of(self.manifest.group_ids)[0] if self.manifest.names_patients else self.part

    @cached_property
    def same_pixels(self) -> tuple[np.ndarray, np.ndarray, int]:
        """As the function has them, with the rows of train before those of val and of test."""
        rows, codes, count = same_pixels(self.stats)
        order = np.argsort(self.split_order[rows], kind="stable")
        return rows[order], codes[order], count

    @cached_property
    def split_order(self) -> np.ndarray:
        """As the function has it."""
        return split_order(self.manifest)

    def named(self, rows: np.ndarray, note: Note = None, *, joint: str = " = ") -> str:
        """The sample ids of `rows`, the first few of them, joined; in brackets their split or label."""
        card, notes = self.manifest.card, self.split if note == "split" else None
        if note == "label" and card.task != "multilabel":
            notes = column_of(self.manifest.table, card.label_column)
        names = [f"{self.ids.iloc[row]}{'' if notes is None else f' ({notes.iloc[row]})'}" for row in rows[:_NAMED]]
        return joint.join(names) + (f" and {len(rows) - _NAMED:,} more" if len(rows) > _NAMED else "")


def split_order(manifest: Manifest) -> np.ndarray:
    """(N,) int64: 0 for train, 1 for val, 2 for test, 3 for other words; 0 throughout without a split."""
    if "split" not in manifest.table:
        return np.zeros(len(manifest), np.int64)
    places = positions(column_of(manifest.table, "split"), SPLITS)
    return np.where(places < 0, len(SPLITS), places)


def same_pixels(stats: ImageStats) -> tuple[np.ndarray, np.ndarray, int]:
    """Rows of images that are not constant, the code of each one's content, and how many contents there are.

    Constant images are excluded: blank slices are the same in all volumes.
    """
    rows = np.flatnonzero(stats.readable & ~stats.constant)
    codes, digests = pd.factorize(stats.digest[rows])
    return rows, codes, len(digests)


Check = Callable[[CheckContext], Iterator[Diagnostic]]

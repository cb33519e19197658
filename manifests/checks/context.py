"""What all checks look at, made once for all of them, and how they name what they found."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from ...base import ManifestError, counted
from ..image_stats.compute import ImageStats
from ..image_stats.scan import manifest_image_stats
from ..manifest import Manifest
from ..schema.columns import column_of
from ..schema.grouping import codes_of
from ..schema.labels import label_codes
from ..validation.diagnostics import Diagnostic
from ..validation.structure import SPLITS

_NAMED = 6
"""Images of one finding that are named before the rest are counted."""


@dataclass(frozen=True, eq=False)
class CheckContext:
    """A manifest, its images as they were surveyed, and embeddings of them."""

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
    def survey(self) -> ImageStats:
        """What was seen of each image."""
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
        """(N,) int64 codes of patients, where they are named; else as `part`, as nothing tells who is alike."""
        return codes_of(self.manifest.group_ids)[0] if self.manifest.names_patients else self.part

    @cached_property
    def same_pixels(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows that show something, the code of each one's digest, and which digests several rows share.

        A constant image is no context of a shared patient: blank slices are alike in all volumes.
        """
        rows = np.flatnonzero(self.survey.readable & ~self.survey.constant)
        codes, digests = pd.factorize(self.survey.digest[rows])
        return rows, codes, np.bincount(codes, minlength=len(digests)) > 1

    def in_split_order(self, rows: np.ndarray) -> np.ndarray:
        """`rows` with those of train first, then val, then test."""
        if self.split is None:
            return rows
        order = {name: place for place, name in enumerate(SPLITS)}
        places = [order.get(name, len(order)) for name in self.split.iloc[rows]]
        return rows[np.argsort(places, kind="stable")]

    def named(self, rows: np.ndarray, *, with_split: bool = False, joint: str = " = ") -> str:
        """The sample ids of `rows`, the first few of them, joined."""
        split = self.split if with_split else None
        side = (lambda row: "") if split is None else (lambda row: f" ({split.iloc[row]})")
        more = f" and {len(rows) - _NAMED:,} more" if len(rows) > _NAMED else ""
        return joint.join(f"{self.ids.iloc[row]}{side(row)}" for row in rows[:_NAMED]) + more


Check = Callable[[CheckContext], Iterator[Diagnostic]]

"""What may be wrong with a manifest that is well formed: images, leaks between splits, classes too small.

A further check is one function here (or in a file beside) and one line in `CHECKS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from ..base import counted, one_of
from .finding import Finding, finding, rows_in_words
from .grouping import codes_of, disagreeing, first_rows, row_groups
from .labels import label_codes
from .manifest import Manifest
from .structure import MOST
from .survey import Survey, survey_images
from .tables import column_of, is_blank
from .units import torn_units

RARE = 10
"""A class with fewer units than this cannot be divided into train, val and test with something to measure in each."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the checks look at: a manifest and, decoded once for all of them, its images."""

    manifest: Manifest
    show_progress: bool = True

    @property
    def ids(self) -> pd.Series:
        """The sample ids, blank where missing."""
        return column_of(self.manifest.table, "sample_id").fillna("")

    @cached_property
    def survey(self) -> Survey:
        """Digests and reasons, one per row."""
        return survey_images(self.manifest.sources(), show_progress=self.show_progress)

    @cached_property
    def split(self) -> pd.Series | None:
        """The split of each row, blank where missing; None where the manifest has no such column."""
        table = self.manifest.table
        return column_of(table, "split").fillna("") if "split" in table else None

    @cached_property
    def same_pixels(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows that were read, the code of each one's digest, and which digests several rows share."""
        rows = np.flatnonzero(self.survey.digest != "")
        codes, digests = pd.factorize(self.survey.digest[rows])
        return rows, codes, np.bincount(codes, minlength=len(digests)) > 1


Check = Callable[[Evidence], Iterator[Finding]]


def check_manifest(manifest: Manifest, *, progress: bool = True) -> list[Finding]:
    """Looks for everything that is known to go wrong, decoding each image once.

    Args:
        manifest: may have been loaded with `strict=False`, so that structural faults are reported with the rest.
        progress: show a bar while images are read.

    Returns:
        All findings: structural faults first, then in the order of `CHECKS`. docs/checks.md explains the codes.
    """
    evidence = Evidence(manifest, progress)
    return [*manifest.faults, *(found for check in CHECKS for found in check(evidence))]


def groups_across_splits(evidence: Evidence) -> Iterator[Finding]:
    """A group, that is a patient, on both sides of a split."""
    if evidence.split is None:
        return
    codes, groups = codes_of(evidence.manifest.group_ids)
    torn = disagreeing(codes, len(groups), codes_of(evidence.split)[0])
    # A row without a group is reported as such.
    torn &= groups != ""
    for group, rows in row_groups(codes, torn, most=MOST):
        sides = one_of(sorted(evidence.split.iloc[rows].unique()))
        message = f'group "{groups[group]}" is on several sides of the split ({sides}): {rows_in_words(rows)}'
        yield finding("group-across-splits", message, evidence.ids.iloc[rows])
    yield from _uncounted("group-across-splits", torn, "groups are on several sides of the split")


def paths_outside_root(evidence: Evidence) -> Iterator[Finding]:
    """An absolute path, or one that climbs out of the card's root."""
    paths = column_of(evidence.manifest.table, "path").fillna("").str.replace("\\", "/")
    absolute = paths.str.match(r"^(?:/|[A-Za-z]:/|~)").to_numpy(bool)
    # Only the few paths with ".." in them are walked one by one.
    dotted = np.flatnonzero(paths.str.contains("..", regex=False).to_numpy(bool))
    rows = np.union1d(np.flatnonzero(absolute), [row for row in dotted if _climbs(paths.iloc[row])]).astype(int)
    if len(rows):
        where = rows_in_words(rows, evidence.ids)
        message = f'{where}: column "path" leads outside the card\'s root; set `root` higher and write paths from there'
        yield finding("path-outside-root", message, evidence.ids.iloc[rows])


def missing_files(evidence: Evidence) -> Iterator[Finding]:
    """An image that is not where the manifest says."""
    rows = np.flatnonzero(evidence.survey.missing)
    paths = evidence.manifest.table["path"]
    for row in rows[:MOST]:
        yield finding("missing-file", f"row {row + 1:,}: no file {paths.iloc[row]}", [evidence.ids.iloc[row]])
    if len(rows) > MOST:
        yield finding("missing-file", f"{len(rows) - MOST:,} other files are missing", evidence.ids.iloc[rows[MOST:]])


def unreadable_images(evidence: Evidence) -> Iterator[Finding]:
    """A file that is there but is no image that can be read."""
    blank = is_blank(column_of(evidence.manifest.table, "path"))
    rows = np.flatnonzero((evidence.survey.reason != "") & ~evidence.survey.missing & ~blank)
    paths = evidence.manifest.table["path"]
    for row in rows[:MOST]:
        message = f"row {row + 1:,}: {paths.iloc[row]}: {evidence.survey.reason[row]}"
        yield finding("unreadable-image", message, [evidence.ids.iloc[row]])
    if len(rows) > MOST:
        message = f"{len(rows) - MOST:,} other images cannot be read"
        yield finding("unreadable-image", message, evidence.ids.iloc[rows[MOST:]])


def pixels_across_splits(evidence: Evidence) -> Iterator[Finding]:
    """Identical images on both sides of a split."""
    if evidence.split is None:
        return
    rows, codes, _ = evidence.same_pixels
    torn = disagreeing(codes, _count(codes), codes_of(evidence.split.iloc[rows])[0])
    for _, part in row_groups(codes, torn, most=MOST):
        same = _in_split_order(rows[part], evidence.split)
        named = " = ".join(f"{evidence.ids.iloc[row]} ({evidence.split.iloc[row]})" for row in same[:6])
        more = f" and {len(same) - 6:,} more" if len(same) > 6 else ""
        yield finding("pixels-across-splits", named + more, evidence.ids.iloc[same])
    yield from _uncounted("pixels-across-splits", torn, "sets of identical images are on several sides of the split")


def pixels_with_two_labels(evidence: Evidence) -> Iterator[Finding]:
    """Identical images that are labelled differently."""
    rows, codes, _ = evidence.same_pixels
    card = evidence.manifest.card
    labels = label_codes(evidence.manifest.table, card)[rows]
    torn = disagreeing(codes, _count(codes), labels)
    for _, part in row_groups(codes, torn, most=MOST):
        named = " = ".join(f"{evidence.ids.iloc[row]}{_label_of(evidence, row)}" for row in rows[part][:6])
        more = f" and {len(part) - 6:,} more" if len(part) > 6 else ""
        yield finding("pixels-two-labels", named + more, evidence.ids.iloc[rows[part]])
    yield from _uncounted("pixels-two-labels", torn, "sets of identical images have different labels")


def pixels_repeated(evidence: Evidence) -> Iterator[Finding]:
    """Identical images under different ids, within one split (or where there is none) and in different units."""
    rows, codes, shared = evidence.same_pixels
    count = _count(codes)
    units = codes_of(evidence.manifest.unit_ids.iloc[rows])[0]
    # Samples of one unit are fused: blank slices of one volume are no repetition.
    repeated = shared & disagreeing(codes, count, units)
    if evidence.split is not None:
        repeated &= ~disagreeing(codes, count, codes_of(evidence.split.iloc[rows])[0])
    for _, part in row_groups(codes, repeated, most=MOST):
        named = " = ".join(evidence.ids.iloc[rows[part][:6]])
        more = f" and {len(part) - 6:,} more" if len(part) > 6 else ""
        yield finding("pixels-repeated", named + more, evidence.ids.iloc[rows[part]])
    yield from _uncounted("pixels-repeated", repeated, "sets of identical images stand under different ids")


def units_with_two_attributes(evidence: Evidence) -> Iterator[Finding]:
    """A unit whose samples disagree in an attribute, so that it belongs to no subgroup."""
    manifest = evidence.manifest
    if "unit_id" not in manifest.table:
        return
    codes, units = codes_of(manifest.unit_ids)
    for name in manifest.card.attributes:
        torn = torn_units(column_of(manifest.table, name), codes, len(units))
        if torn.any():
            message = (
                f'samples differ in "{name}" in {counted(int(torn.sum()), "unit")} ({one_of(units[torn], most=3)}), '
                "whose value counts as unknown"
            )
            yield finding("unit-two-attributes", message, evidence.ids[torn[codes]])


def rare_classes(evidence: Evidence) -> Iterator[Finding]:
    """A class with too few units to divide."""
    card = evidence.manifest.card
    codes, units = codes_of(evidence.manifest.unit_ids)
    labels = label_codes(evidence.manifest.table, card)[first_rows(codes, len(units))]
    for number, name in enumerate(card.classes):
        count = int((labels[:, number] == 1).sum() if labels.ndim == 2 else (labels == number).sum())
        if count < RARE:
            message = (
                f'class "{name}" has {counted(count, "unit")}; under {RARE} there is little to train on or to measure'
            )
            yield finding("rare-class", message)


CHECKS: tuple[Check, ...] = (
    missing_files,
    unreadable_images,
    paths_outside_root,
    groups_across_splits,
    pixels_across_splits,
    pixels_with_two_labels,
    pixels_repeated,
    units_with_two_attributes,
    rare_classes,
)
"""In the order in which their findings are told."""


def _count(codes: np.ndarray) -> int:
    return int(codes.max()) + 1 if len(codes) else 0


def _climbs(path: str) -> bool:
    """Whether a path, read from left to right, ever stands above where it began."""
    depth = 0
    for part in path.split("/"):
        depth += {"..": -1, ".": 0, "": 0}.get(part, 1)
        if depth < 0:
            return True
    return False


def _in_split_order(rows: np.ndarray, split: pd.Series) -> np.ndarray:
    order = {"train": 0, "val": 1, "test": 2}
    return np.array(sorted(rows, key=lambda row: (order.get(split.iloc[row], 3), row)))


def _label_of(evidence: Evidence, row: int) -> str:
    card = evidence.manifest.card
    return "" if card.task == "multilabel" else f" ({evidence.manifest.table[card.label_column].iloc[row]})"


def _uncounted(code: str, chosen: np.ndarray, what: str) -> Iterator[Finding]:
    rest = int(chosen.sum()) - MOST
    if rest > 0:
        yield finding(code, f"{rest:,} other {what}")

"""Splits of studies that belong to one data set and cannot be drawn for others."""

from __future__ import annotations

import numpy as np

from ...base import ManifestError
from ..manifest import Manifest
from ..schema.table_io import TEXT, as_words, column_of
from ..splits import SplitPreset


def _cut_by_path(manifest: Manifest) -> np.ndarray:
    """The split of Palés Huix et al. 2024, which slices by label as pandas does.

    The study sorts train.csv by path, then cuts where the row that had a certain number *before* sorting is now,
    and keeps that row in both parts; this twice. Here such a row is in test if it is there too, so that the test set is
    the study's own and nothing is trained on what is tested.
    """
    _require_all_rows(manifest)
    paths = as_words(column_of(manifest.table, "sample_id"))
    order = np.array(sorted(range(len(paths)), key=paths.__getitem__))
    # A fifth, and fifteen more that bring the cut to the end of a patient in the published file.
    last = _place_of(int(len(order) * 0.2) + 15, order)
    middle = _place_of((last + 1) // 2, order[: last + 1])
    words = np.full(len(order), "train", object)
    words[order[:middle]] = "val"
    words[order[middle : last + 1]] = "test"
    return words


def _require_all_rows(manifest: Manifest) -> None:
    wanted = {
        "published_row": "counts every row of train.csv; build without --frontal-only and --uncertain ignore",
        "split": "divides train.csv alone; build with --valid none",
        "unit_id": "is by image and divides studies; build with --unit image",
    }
    faults = [remedy for column, remedy in wanted.items() if column in manifest.table]
    if faults:
        raise ManifestError("--split huix2024: " + ", and it ".join(["the split " + faults[0], *faults[1:]]) + ".")


def _place_of(row: int, order: np.ndarray) -> int:
    """Where row number `row` of the published file is in `order`."""
    places = np.flatnonzero(order == row)
    if len(places) == 0:
        raise ManifestError("--split huix2024: train.csv has too few rows, or in another order, for this split.")
    return int(places[0])


def _as_listed(manifest: Manifest) -> np.ndarray:
    """The split that the lists of DDSM gave."""
    if manifest.card.classes != ["normal", "abnormal"]:
        raise ManifestError(
            "--split huix2024: is the split of ddsm_raw_image_lists/; the tables of CBIS-DDSM do not have those images."
        )
    return as_words(column_of(manifest.table, "split").astype(TEXT))


CHEXPERT_SPLITS = {"huix2024": SplitPreset("train.csv cut by path, as Palés Huix et al. 2024 did", _cut_by_path)}
CBIS_DDSM_SPLITS = {"huix2024": SplitPreset("as the lists of Palés Huix et al. 2024 give it", _as_listed)}

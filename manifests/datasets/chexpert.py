"""CheXpert: chest radiographs with fourteen labels read from reports."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pandas as pd

from ...base import ManifestError, counted
from ..builders.common import Notice, assemble, choose_labels, choose_word, silent
from ..builders.images import locate_images
from ..builders.label_tables import PublishedTable, find_tables, open_tables, refuse_faults
from ..manifest import Manifest
from ..schema.columns import as_words, column_of
from ..splits import SplitPreset

Uncertain = Literal["zeros", "ones", "ignore"]
"""What becomes of labels that a report left open; the words are those of Irvin et al. 2019 (arXiv 1901.07031)."""


CHEXPERT_LABELS = (
    "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema", "Consolidation",
    "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture", "Support Devices",
)  # fmt: skip
"""What the CheXpert and NegBio labellers look for, in the order of CheXpert's train.csv."""

Valid = Literal["val", "test", "none"]
Unit = Literal["study", "image"]

_COLUMNS = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA")
_PATH = r"(?P<image>(?:[^/\\]+[/\\])?(?P<patient>patient\d+)[/\\](?P<study>study\d+)[/\\][^/\\]+)$"
"""The folders before the image's are the release, `CheXpert-v1.0-small`: `src`, which may have another name here."""


def build_chexpert(
    src: Path | str,
    *,
    labels: Sequence[str] = (),
    uncertain: Uncertain = "zeros",
    frontal_only: bool = False,
    valid: Valid = "val",
    unit: Unit = "study",
    name: str | None = None,
    notice: Notice = silent,
) -> Manifest:
    """A manifest of CheXpert: 224,316 radiographs of 65,240 patients, fourteen labels each, grouped by patient.

    Reads `train.csv` and `valid.csv` (`Path`, `Sex`, `Age`, `Frontal/Lateral`, `AP/PA`, fourteen columns of 1, 0, -1
    or nothing) and the images that `Path` names from the folder above, `CheXpert-v1.0-small/train/patient00001/...`,
    whatever the name of SRC is. A blank label is 0; where none is 1, "No Finding" is. Patient and study are read
    from the path. If rows are skipped, the column `published_row` has the published row number. Described in
    Irvin et al. 2019 (arXiv 1901.07031) and at https://stanfordmlgroup.github.io/competitions/chexpert.

    Args:
        src: folder that holds train.csv; paths in the manifest start from it.
        labels: one of the fourteen labels. By default all of them.
        uncertain: value of uncertain labels (-1): zeros (0), ones (1), or ignore (skip rows where a chosen label is
            uncertain).
        frontal_only: use frontal views only.
        valid: split of the rows of valid.csv; none drops these rows and the split.
        unit: what gets one prediction: a study (labels are per study) or each image.
        name: name of the data set; by default chexpert.
        notice: called with messages: how many rows were skipped, which images are missing.

    Raises:
        ManifestError: a file or a column is not there, rows are wrong (all are listed), or there are no images.
    """
    src = Path(src)
    choose_word("valid", valid, get_args(Valid))
    choose_word("unit", unit, get_args(Unit))
    chosen = choose_labels(labels, CHEXPERT_LABELS)
    files = find_tables(src, "train.csv", *(() if valid == "none" else ("valid.csv",)))
    tables = open_tables(*((file, [*_COLUMNS, *CHEXPERT_LABELS], []) for file in files))
    read = [_rows(table, chosen, uncertain) for table in tables]
    refuse_faults(*tables)
    parts = _kept(read, frontal_only=frontal_only, notice=notice)
    if valid != "none":
        parts = [part.assign(split=split) for part, split in zip(parts, ("train", valid), strict=True)]
    made = pd.concat(parts, ignore_index=True)
    first = next((f'row {row:,}, column "Path"' for row in made["published_row"]), "row 1")
    if len(made) == sum(map(len, tables)):
        made = made.drop(columns="published_row")
    if unit == "image":
        made = made.drop(columns="unit_id")
    made["path"] = locate_images(made["sample_id"], src, where=str(files[0]), first=first, notice=notice)
    return assemble(
        made,
        str(files[0]),
        src,
        name=name or "chexpert",
        task="multilabel",
        classes=chosen,
        # The views of one study differ, so a view is not an attribute of a study.
        attributes=["sex", "age", *(("view", "projection") if unit == "image" else ())],
        license="Stanford University Dataset Research Use Agreement",
        citation="Irvin, Rajpurkar et al. 2019. CheXpert. AAAI, arXiv 1901.07031.",
    )


def _rows(table: PublishedTable, chosen: list[str], uncertain: Uncertain) -> tuple[pd.DataFrame, np.ndarray]:
    """The rows of one table, and which are sure of every chosen label, (N,) bool; errors are added to it."""
    table.need_filled("Path", "Frontal/Lateral")
    table.need_distinct("Path")
    table.need_known("Frontal/Lateral", ("Frontal", "Lateral"))
    place = table.need_pattern("Path", _PATH, "it must end in patient00001/study1/view1_frontal.jpg or the like")
    found, sure = read_uncertain(table, chosen, uncertain)
    made = pd.DataFrame(
        {
            "sample_id": column_of(place, "image").str.replace("\\", "/"),
            **{label: found[label] for label in chosen},
            "unit_id": column_of(place, "patient") + "/" + column_of(place, "study"),
            "group_id": place["patient"],
            "sex": table["Sex"].replace("", pd.NA),
            "age": pd.to_numeric(table["Age"], errors="coerce"),
            "view": table["Frontal/Lateral"],
            "projection": table["AP/PA"].replace("", pd.NA),
            "published_row": np.arange(1, len(table) + 1),
        }
    )
    return made, sure


def _kept(read: list[tuple[pd.DataFrame, np.ndarray]], *, frontal_only: bool, notice: Notice) -> list[pd.DataFrame]:
    """The rows of each table that are kept; the others are counted in messages."""
    frontal = [(made["view"] == "Frontal").to_numpy(bool) | (not frontal_only) for made, _ in read]
    unsure = sum(int((~sure).sum()) for _, sure in read)
    lateral = sum(int((sure & ~seen).sum()) for (_, sure), seen in zip(read, frontal, strict=True))
    for left_out, why in ((unsure, "a chosen label is uncertain"), (lateral, "the view is lateral")):
        if left_out:
            notice(f"Skipped {counted(left_out, 'row')}: {why}.")
    return [made[sure & seen] for (made, sure), seen in zip(read, frontal, strict=True)]


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


CHEXPERT_SPLITS = {"huix2024": SplitPreset("train.csv cut by path, as Palés Huix et al. 2024 did", _cut_by_path)}


def read_uncertain(
    table: PublishedTable, labels: Sequence[str], uncertain: Uncertain
) -> tuple[pd.DataFrame, np.ndarray]:
    """The labels that an automatic labeller read in reports, as 0 and 1.

    Blank (not mentioned) is 0. Uncertain (-1) is 0 under `zeros` and 1 under `ones`. Under `ignore` a row is skipped
    if one of the chosen labels is uncertain: a multilabel set has a 0 or a 1 for every label of every row, so a single
    label cannot be skipped. Where then none of the fourteen is 1, "No Finding" is, as in Palés Huix et al. 2024;
    under `ignore` only if none was uncertain, and a row where that is unknown is skipped too.

    Args:
        table: has the fourteen columns of `CHEXPERT_LABELS`.
        labels: the chosen ones.
        uncertain: the policy.

    Returns:
        A column of int8 a chosen label, and which rows stay, (N,) bool.

    Raises:
        ManifestError: there is no such policy.
    """
    choose_word("uncertain", uncertain, get_args(Uncertain))
    stored = np.stack([table.numbers(name, (0, 1, -1), blank=True) for name in CHEXPERT_LABELS], axis=1)
    unsure = stored == -1
    ones = (stored == 1) | (unsure if uncertain == "ones" else False)
    nothing = ~ones.any(axis=1)
    kept = np.ones(len(table), bool)
    if uncertain == "ignore":
        chosen = [CHEXPERT_LABELS.index(name) for name in labels]
        unsure[:, 0] |= nothing & unsure.any(axis=1)
        kept = ~unsure[:, chosen].any(axis=1)
    ones[:, 0] |= nothing
    return pd.DataFrame({name: ones[:, CHEXPERT_LABELS.index(name)].astype(np.int8) for name in labels}), kept

"""NIH ChestX-ray14: frontal chest radiographs with up to fourteen findings each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ...base import counted, no_such
from ..builders.common import Notice, assemble, choose_labels, silent
from ..builders.images import find_folders, locate_images
from ..builders.label_tables import PublishedTable, find_tables, read_lists, refuse_faults
from ..manifest import Manifest
from ..schema.columns import TEXT, as_words

_LABELS = (
    "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax",
    "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia",
)  # fmt: skip
"""In the order of Wang et al. 2017."""
_SEX = ("Patient Gender", "Patient Sex")
"""Renamed between the releases of 2017 and 2020."""
_OLDEST = 120
"""In years; the published table has ages above 400, which are slips."""


def build_nih_cxr14(
    src: Path | str, *, labels: Sequence[str] = (), name: str | None = None, notice: Notice = silent
) -> Manifest:
    """A manifest of NIH ChestX-ray14: 112,120 radiographs of 30,805 patients, any number of fourteen findings each.

    Reads `Data_Entry_2017.csv` or `Data_Entry_2017_v2020.csv` (`Image Index`, `Finding Labels` with bars between,
    `Patient ID`, `Patient Age`, `Patient Gender` or `Patient Sex`, `View Position`), `train_val_list.txt`,
    `test_list.txt` and `images_001/images/*.png` to `images_012/` (or all in `images/`). "No Finding" is 0 in every
    column. The published split has train and test alone; the group is the patient. Described in Wang et al. 2017
    (arXiv 1705.02315) and at https://nihcc.app.box.com/v/ChestXray-NIHCC.

    Args:
        src: folder that holds the table and both lists; paths in the manifest start from it.
        labels: one of the fourteen findings. By default all of them.
        name: name of the data set; by default nih-cxr14.
        notice: called with messages, such as which images are missing.

    Raises:
        ManifestError: a file or a column is not there, rows are wrong (all are listed; an image in neither list or
            in both is such a row), or there are no images.
    """
    src = Path(src)
    chosen = choose_labels(labels, _LABELS)
    file, train_file, test_file = find_tables(
        src, ("Data_Entry_2017.csv", "Data_Entry_2017_v2020.csv"), "train_val_list.txt", "test_list.txt"
    )
    table = PublishedTable(
        file, ["Image Index", "Finding Labels", "Patient ID", "Patient Age", "View Position"], optional=_SEX
    )
    table.need_filled("Image Index", "Finding Labels", "Patient ID")
    table.need_distinct("Image Index")
    found = load_report_data(table, "Finding Labels", _LABELS, "No Finding")
    split = _published_split(table, train_file, test_file)
    refuse_faults(table)
    folders = find_folders(src, "images_001/images", "images_*/images", "images_*", "images", "images/*")
    sex = next((table[column] for column in _SEX if column in table.rows), table.get("Patient Sex"))
    made = pd.DataFrame(
        {
            "sample_id": table["Image Index"],
            "path": locate_images(
                table["Image Index"], src, folders, where=str(file), first='row 1, column "Image Index"', notice=notice
            ),
            **{label: found[label] for label in chosen},
            "group_id": table["Patient ID"],
            "split": split,
            "sex": sex.replace("", pd.NA),
            "age": _plausible(_years(table["Patient Age"]), notice),
            "view": table["View Position"].replace("", pd.NA),
        }
    )
    return assemble(
        made,
        str(file),
        src,
        name=name or "nih-cxr14",
        task="multilabel",
        classes=chosen,
        attributes=["sex", "age", "view"],
        license="free use with acknowledgement of the NIH Clinical Center",
        citation="Wang, Peng, Lu, Lu, Bagheri, Summers 2017. ChestX-ray8. CVPR, arXiv 1705.02315.",
    )


def _published_split(table: PublishedTable, train_file: Path, test_file: Path) -> pd.Series:
    """Train or test for each image; in neither list or in both is an error."""
    train, test = (table["Image Index"].isin(names).to_numpy(bool) for names in read_lists(train_file, test_file))
    table.blame(train & test, f"the image is in both {train_file.name} and {test_file.name}")
    outside = ~train & ~test & (table["Image Index"] != "").to_numpy(bool)
    table.blame(outside, f"the image is in neither {train_file.name} nor {test_file.name}")
    return pd.Series(np.where(test, "test", "train"), dtype=TEXT)


def _years(ages: pd.Series) -> pd.Series:
    """Ages in years: `58`, or `058Y`, `013M` and `002D` as the first release had them; missing where unreadable."""
    parts = ages.str.extract(r"^(\d+)([YMD]?)$")
    per_year = parts[1].map({"": 1.0, "Y": 1.0, "M": 12.0, "D": 365.25}).astype("float64")
    return pd.to_numeric(parts[0], errors="coerce").astype("float64") // per_year


def _plausible(years: pd.Series, notice: Notice) -> pd.Series:
    """`years` without impossible ages, which are counted in a message."""
    slips = years > _OLDEST
    if slips.any():
        count = int(slips.sum())
        notice(f"{counted(count, 'age')} above {_OLDEST} years {'was' if count == 1 else 'were'} removed.")
    return years.mask(slips)


def load_report_data(table: PublishedTable, column: str, labels: Sequence[str], none: str) -> pd.DataFrame:
    """A column of findings separated by bars, as a column of int8 a label.

    Args:
        table: unknown findings, and `none` together with others, are errors.
        column: such as `Effusion|Mass`.
        labels: all that are known.
        none: the word for no finding, which is 0 in every column.
    """
    codes, texts = pd.factorize(as_words(table[column]))
    parts = [[part.strip() for part in text.split("|")] for text in texts]
    known = {*labels, none}
    for distinct in sorted({part for found in parts for part in found if part not in known and part}):
        has = np.array([distinct in found for found in parts])[codes]
        table.blame(has, f'column "{column}" holds {no_such("finding", distinct, (*labels, none))}')
    table.blame(
        np.array([none in found and len(found) > 1 for found in parts])[codes], f'"{none}" together with a finding'
    )
    return pd.DataFrame({name: np.array([name in found for found in parts], np.int8)[codes] for name in labels})

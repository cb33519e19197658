"""DDSM as lists of whole mammograms, labelled by their file names: the layout of Palés Huix et al. 2024."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ...base import ManifestError
from ..builders.common import Notice, assemble
from ..builders.images import find_folders, locate_images
from ..builders.label_tables import find_tables, read_lists
from ..manifest import Manifest
from ..schema.columns import TEXT, column_of
from ..validation.diagnostics import refusal
from ..validation.structure import SPLITS

LISTS = "ddsm_raw_image_lists"
"""The folder of `train.txt`, `val.txt` and `test.txt`."""
CLASSES = ("normal", "abnormal")
_PREFIXES = {"normal": "normal", "benign": "abnormal", "cancer": "abnormal"}
_CASE = r"([A-D]_\d{4})_\d"
"""DDSM's case, a letter for where it was made and a number: `cancer_05-C_0128_1.LEFT_CC.LJPEG.1.jpg` is C_0128."""


def build_from_lists(src: Path, name: str, notice: Notice) -> Manifest:
    """A manifest of the images that three lists name.

    Raises:
        ManifestError: a list is not there, lines are wrong (all are listed), or there are no images.
    """
    files = find_tables(src / LISTS, *(f"{split}.txt" for split in SPLITS))
    lists = zip(files, SPLITS, read_lists(*files), strict=True)
    lines = [(file, split, line) for file, split, names in lists for line in names]
    made = pd.DataFrame(lines, columns=["file", "split", "sample_id"])
    made["sample_id"] = column_of(made, "sample_id").astype(TEXT).str.replace("\\", "/")
    prefix = column_of(made, "sample_id").str.extract(r"([^/_]*)_?[^/]*$")[0].str.lower()
    made["label"] = prefix.map(_PREFIXES)
    _refuse_faults(made, src)
    case = column_of(made, "sample_id").str.extract(_CASE)[0]
    if case.notna().all():
        made["group_id"] = case
    else:
        notice(
            f"{int(case.isna().sum()):,} file names hold no case such as C_0128_1, so no patients are kept together."
        )
    where = str(src / LISTS)
    folders = find_folders(src, "ddsm_raw")
    made["path"] = locate_images(
        column_of(made, "sample_id"), src, folders, where=where, first=f"{files[0].name}, name 1", notice=notice
    )
    return assemble(
        made.drop(columns="file"),
        where,
        src,
        name=name,
        task="binary",
        classes=list(CLASSES),
        license="DDSM: free for research, with citation",
        citation="Heath, Bowyer, Kopans, Moore, Kegelmeyer 2001. The Digital Database for Screening Mammography. IWDM.",
    )


def _refuse_faults(made: pd.DataFrame, src: Path) -> None:
    """Tells lines without a class and images that are listed twice, by list and line.

    Raises:
        ManifestError: there are such.
    """
    if made.empty:
        raise ManifestError(f"{src / LISTS}: the lists are empty.")
    place = [f"{file.name}, name {number + 1:,}" for file, number in zip(made["file"], _within(made), strict=True)]
    faults = [
        f"{place[row]}: does not begin with normal, benign or cancer"
        for row in (made["label"].isna()).to_numpy(bool).nonzero()[0]
    ]
    faults += [
        f"one image is listed {len(rows):,} times: {'; '.join(place[row] for row in rows[:3])}"
        for rows in made.groupby("sample_id", sort=False).indices.values()
        if len(rows) > 1
    ]
    if faults:
        raise ManifestError(refusal(str(src / LISTS), faults))


def _within(made: pd.DataFrame) -> pd.Series:
    return made.groupby("split").cumcount()

"""HAM10000: dermoscopic images of seven kinds of skin lesion, also the training set of ISIC 2018, task 3."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ..builders.common import Notice, assemble, silent
from ..builders.images import find_folders, locate_images
from ..builders.label_tables import PublishedTable, find_file, find_tables, open_tables, read_one_hot, refuse_faults
from ..manifest import Manifest

_CLASSES = ("mel", "nv", "bcc", "akiec", "bkl", "df", "vasc")
"""Melanoma, naevus, basal cell carcinoma, actinic keratosis and Bowen's disease, benign keratosis, dermatofibroma,
vascular lesion; in the order of ISIC 2018."""
_METADATA = "HAM10000_metadata.csv"
_TRUTH = "ISIC2018_Task3_Training_GroundTruth"
_LESIONS = "ISIC2018_Task3_Training_LesionGroupings.csv"


def build_ham10000(src: Path | str, *, name: str | None = None, notice: Notice = silent) -> Manifest:
    """A manifest of HAM10000: 10,015 dermoscopic images in seven classes, grouped by lesion.

    Reads `HAM10000_metadata.csv` (`lesion_id`, `image_id`, `dx`, `dx_type`, `age`, `sex`, `localization`) and
    `HAM10000_images_part_1/{image_id}.jpg`, `..._part_2/` (or `HAM10000_images/`, `images/`); where that table is not
    there, the same images as ISIC 2018 published them: `ISIC2018_Task3_Training_GroundTruth.csv` (one-hot),
    `ISIC2018_Task3_Training_LesionGroupings.csv` and `ISIC2018_Task3_Training_Input/`, which have neither sex nor age.
    The group is the lesion. Described in Tschandl et al. 2018 (doi 10.1038/sdata.2018.161) and at
    https://doi.org/10.7910/DVN/DBW86T; the layout of 2018 at https://challenge.isic-archive.com/data/#2018.

    Args:
        src: folder that holds the tables; paths in the manifest start from it.
        name: name of the data set; by default ham10000.
        notice: called with messages, such as which images are missing.

    Raises:
        ManifestError: a file or a column is not there, rows are wrong (all are listed), or there are no images.
    """
    src = Path(src)
    if src.is_dir() and not find_file(src, _METADATA) and _challenge_truth(src):
        made, file, first = _from_challenge(src), _TRUTH + ".csv", 'row 1, column "image"'
        folders = find_folders(src, "ISIC2018_Task3_Training_Input", "ISIC2018_Task3_Training_Input/*")
    else:
        made, file, first = _from_metadata(src), _METADATA, 'row 1, column "image_id"'
        folders = find_folders(
            src,
            "HAM10000_images_part_1",
            "HAM10000_images_part_*",
            "HAM10000_images_part_*/*",
            "HAM10000_images",
            "images",
        )
    where = str(src / file)
    made["path"] = locate_images(
        made["sample_id"], src, folders, where=where, first=first, notice=notice, suffix=".jpg"
    )
    return assemble(
        made,
        where,
        src,
        name=name or "ham10000",
        task="multiclass",
        classes=list(_CLASSES),
        attributes=[column for column in ("sex", "age", "anatomical_site") if column in made],
        license="CC BY-NC 4.0",
        citation="Tschandl, Rosendahl, Kittler 2018. The HAM10000 dataset. Scientific Data 5, 180161.",
    )


def _from_metadata(src: Path) -> pd.DataFrame:
    (file,) = find_tables(src, (_METADATA, f"{_TRUTH}.csv"))
    table = PublishedTable(file, ["lesion_id", "image_id", "dx", "age", "sex", "localization"], optional=["dx_type"])
    table.need_filled("lesion_id", "image_id", "dx")
    table.need_distinct("image_id")
    table.need_known("dx", _CLASSES)
    refuse_faults(table)
    return pd.DataFrame(
        {
            "sample_id": table["image_id"],
            "label": table["dx"],
            "group_id": table["lesion_id"],
            "sex": table["sex"].replace("", pd.NA),
            "age": pd.to_numeric(table["age"], errors="coerce"),
            "anatomical_site": table["localization"].replace("", pd.NA),
            "confirmed_by": table.get("dx_type").replace("", pd.NA),
        }
    )


def _challenge_truth(src: Path) -> Path | None:
    """The ground truth of ISIC 2018, which is packed in a folder of its own name."""
    folders = [folder for folder in (src, src / _TRUTH) if folder.is_dir()]
    return next(filter(None, (find_file(folder, f"{_TRUTH}.csv") for folder in folders)), None)


def _from_challenge(src: Path) -> pd.DataFrame:
    truth_file = _challenge_truth(src)
    assert truth_file is not None
    (lesion_file,) = find_tables(src, _LESIONS)
    columns = [name.upper() for name in _CLASSES]
    truth, lesions = open_tables(
        (truth_file, ["image", *columns], []), (lesion_file, ["image", "lesion_id"], ["diagnosis_confirm_type"])
    )
    for table in (truth, lesions):
        table.need_filled("image")
        table.need_distinct("image")
    lesions.need_filled("lesion_id")
    label = read_one_hot(truth, columns)
    rows = lesions.row_of("image", truth["image"])
    truth.blame((rows < 0) & (truth["image"] != ""), f"no row of {lesion_file.name} names the image's lesion")
    refuse_faults(truth, lesions)
    return pd.DataFrame(
        {"sample_id": truth["image"], "label": label.str.lower(), "group_id": lesions.matched("lesion_id", rows)}
    )

"""CBIS-DDSM: mammograms with masses and calcifications, benign or malignant; and DDSM as lists of images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pandas as pd

from ...base import ManifestError, counted
from ..builders.common import Notice, assemble, choose_word, silent
from ..builders.files import walk
from ..builders.images import find_folders, locate_images, only_file_below
from ..builders.label_tables import PublishedTable, find_file, find_tables, open_tables, refuse_faults
from ..manifest import Manifest
from ..schema.columns import TEXT, as_words, column_of
from ..splits import SplitPreset
from . import ddsm_lists

Unit = Literal["image", "breast"]

_KINDS = ("mass", "calc")
_PARTS = ("train", "test")
_MALIGNANT = {"BENIGN": 0, "BENIGN_WITHOUT_CALLBACK": 0, "MALIGNANT": 1}
_CLASSES = ("benign", "malignant")
_SIDE, _VIEW, _IMAGE = "left or right breast", "image view", "image file path"
_DENSITY = ("breast_density", "breast density")
"""Spelt one way in the tables of masses, another in those of calcifications."""


def build_cbis_ddsm(
    src: Path | str,
    *,
    kinds: Sequence[str] = (),
    unit: Unit = "image",
    name: str | None = None,
    notice: Notice = silent,
) -> Manifest:
    """A manifest of CBIS-DDSM: a row for each whole mammogram, benign or malignant, grouped by patient.

    Reads `mass_case_description_train_set.csv`, `..._test_set.csv`, `calc_case_description_...` (`patient_id`,
    `left or right breast`, `image view`, `pathology`, `image file path`). A mammogram with several abnormalities, in
    one table or in both, is one row, malignant if any of them is; BENIGN_WITHOUT_CALLBACK is benign. The image is the
    file that the table names, or the only one in the first folder of its path, since downloads rename the
    folders below. The tables of masses and of calcifications were split separately: a mammogram that is in
    train of one and test of the other goes to test, and its patient is in both. Described in Lee et al. 2017
    (doi 10.1038/sdata.2017.177) and at https://www.cancerimagingarchive.net/collection/cbis-ddsm.

    A folder with `ddsm_raw_image_lists/train.txt`, `val.txt` and `test.txt` gives DDSM as Palés Huix et al. 2024 used
    it: images in `ddsm_raw/`, normal or abnormal by the first word of the file name (normal, benign, cancer), the
    group by the case in it.

    Args:
        src: folder that holds the tables or the folder of lists; paths in the manifest start from it.
        kinds: mass or calc, for mammograms with this kind of abnormality only. By default both.
        unit: what gets one prediction and one label: a mammogram (image), or a breast with both views.
        name: name of the data set; by default cbis-ddsm, or "ddsm" for lists.
        notice: called with messages: missing images, patients in both train and test.

    Raises:
        ManifestError: a file or a column is not there, rows are wrong (all are listed), or there are no images.
    """
    src = Path(src)
    choose_word("unit", unit, get_args(Unit))
    for kind in kinds:
        choose_word("kind", kind, _KINDS)
    if (src / ddsm_lists.LISTS).is_dir() and not find_file(src, "mass_case_description_train_set.csv"):
        return ddsm_lists.build_from_lists(src, name or "ddsm", notice)
    rows = _abnormalities(src, [kind for kind in _KINDS if kind in kinds or not kinds])
    made = _mammograms(rows, unit, notice)
    where = str(src)
    walk(src, linked=1)
    folders = list(dict.fromkeys([*find_folders(src, "CBIS-DDSM"), "."]))

    def only_image(path: str) -> str | None:
        exam = path.split("/")[0]
        return next(filter(None, (only_file_below(src, f"{folder}/{exam}") for folder in folders)), None)

    paths = column_of(made, "path")
    made["path"] = locate_images(
        paths, src, folders, where=where, first=f'row 1, column "{_IMAGE}"', notice=notice, elsewhere=only_image
    )
    return assemble(
        made,
        where,
        src,
        name=name or "cbis-ddsm",
        task="binary",
        classes=list(_CLASSES),
        attributes=["density", "abnormality", *(("view",) if unit == "image" else ())],
        license="CC BY 3.0",
        citation="Lee, Gimenez, Hoogi, Miyake, Gorovoy, Rubin 2017. Scientific Data 4, 170177; TCIA, "
        "doi 10.7937/K9/TCIA.2016.7O02S9CY.",
    )


def _abnormalities(src: Path, kinds: Sequence[str]) -> pd.DataFrame:
    """The rows of all tables, one an abnormality, in the order of the files."""
    parts = [(kind, part) for kind in kinds for part in _PARTS]
    files = find_tables(src, *(f"{kind}_case_description_{part}_set.csv" for kind, part in parts))
    columns = ["patient_id", _SIDE, _VIEW, "pathology", _IMAGE]
    tables = open_tables(*((file, columns, _DENSITY) for file in files))
    for table in tables:
        table.need_filled(*columns)
        table.need_known(_SIDE, ("LEFT", "RIGHT"))
        table.need_known(_VIEW, ("CC", "MLO"))
        table.need_known("pathology", _MALIGNANT)
    refuse_faults(*tables)
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "patient": table["patient_id"],
                    "side": table[_SIDE],
                    "view": table[_VIEW],
                    "malignant": table["pathology"].map(_MALIGNANT).astype(int),
                    "path": table[_IMAGE],
                    "density": _density(table),
                    "kind": kind,
                    "test": part == "test",
                }
            )
            for table, (kind, part) in zip(tables, parts, strict=True)
        ],
        ignore_index=True,
    )


def _density(table: PublishedTable) -> pd.Series:
    column = next((name for name in _DENSITY if name in table.rows), _DENSITY[0])
    return table.get(column).replace("", pd.NA)


def _mammograms(rows: pd.DataFrame, unit: Unit, notice: Notice) -> pd.DataFrame:
    """One row a mammogram, at the place of its first abnormality; the worst of each mammogram or breast."""
    breast = column_of(rows, "patient") + "_" + column_of(rows, "side")
    image = breast + "_" + column_of(rows, "view")
    judged = image if unit == "image" else breast
    worst = rows.groupby(judged, sort=False)["malignant"].transform("max")
    tested = rows.groupby(judged, sort=False)["test"].transform("any")
    both = rows.groupby("patient")["test"].nunique() > 1
    if both.any():
        patients = counted(int(both.sum()), "patient is", "patients are")
        notice(
            f"{patients} in train of one table and in test of another; give --kind mass or --kind calc, or "
            "--split grouped:80/20, to have each in one part only."
        )
    made = pd.DataFrame(
        {
            "sample_id": image,
            "path": rows["path"],
            "label": np.array(_CLASSES, object)[worst],
            "group_id": rows["patient"],
            "split": np.where(tested, "test", "train"),
            "density": rows["density"],
            "abnormality": rows.groupby(image)["kind"].transform(lambda kinds: "+".join(dict.fromkeys(kinds))),
            "view": rows["view"],
        }
    )
    if unit == "breast":
        made["unit_id"], made["modality"] = breast, rows["view"]
    return made[~image.duplicated()].reset_index(drop=True)


def _as_listed(manifest: Manifest) -> np.ndarray:
    """The split that the lists gave."""
    if manifest.card.classes != list(ddsm_lists.CLASSES):
        raise ManifestError(
            f"--split huix2024: is the split of {ddsm_lists.LISTS}/; the tables of CBIS-DDSM do not have those images."
        )
    return as_words(column_of(manifest.table, "split").astype(TEXT))


CBIS_DDSM_SPLITS = {"huix2024": SplitPreset("as the lists of Palés Huix et al. 2024 give it", _as_listed)}

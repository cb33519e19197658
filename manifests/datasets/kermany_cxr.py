"""Kermany's chest radiographs of children: `chest_xray/{train,val,test}/{NORMAL,PNEUMONIA}/*.jpeg`.

Layout as described at https://data.mendeley.com/datasets/rscbjbr9sj and, under the names that most copies have, at
https://www.kaggle.com/datasets/paultimothymooney/chest-xray-pneumonia.

Patients: files are numbered in four series, each from 1: `person1_bacteria_1`, `person1_virus_6`, `IM-0001-0001` and
`NORMAL2-IM-0007-0001`. Listings of the published folders show each series cut into runs for train, val and test: of
`person*_bacteria`, 78 to 175 are test; of `person*_virus`, about 1 to 77 and 1609 to 1685; of `IM`, those below 0115;
of `NORMAL2-IM`, those below 0382. So no number *of one series* is in train and in test, but the bare number is:
`person1` is bacterial in train (images 1 and 2) and viral in test (images 6 to 13), `IM-0129` is in train and
`NORMAL2-IM-0129` in test. Series were numbered independently: the images of `person1008`,
bacteria 2939 and virus 1691, both in train, are as distant as any two. A patient here is therefore a number within
its series, `person1_bacteria` another child than `person1_virus`. By number alone, unrelated children would be one and
be in both train and test. Whether a child was counted in two series, is unknown.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pandas as pd

from ...base import ManifestError, counted
from ..builders.common import Notice, assemble, silent
from ..builders.folder import class_folder_table, unpacked
from ..manifest import Manifest
from ..schema.columns import TEXT, as_words, column_of
from ..validation.diagnostics import refusal

_FOLDERS = ["NORMAL", "PNEUMONIA"]
_LAYOUT = "chest_xray/train/NORMAL/*.jpeg and chest_xray/train/PNEUMONIA/*.jpeg, also val/ and test/"
_SUBTYPES = ["NORMAL", "BACTERIA", "VIRUS"]
_NUMBERED = re.compile(r"(?P<patient>person\d+_(?P<cause>bacteria|virus))_\d+", re.IGNORECASE)
_NORMAL = re.compile(r"(?P<patient>(?:NORMAL\d*-)?IM-\d+)-\d+(?:-\d+)*", re.IGNORECASE)
_MENDELEY = re.compile(r"(?P<cause>NORMAL|BACTERIA|VIRUS)-(?P<patient>\d+)-\d+", re.IGNORECASE)
"""`BACTERIA-1008087-0001`, as later versions at Mendeley have it: one number for one child, whatever the cause."""


class _Name(NamedTuple):
    """What a file's name says."""

    patient: str
    cause: str


def build_kermany_cxr(
    src: Path | str, *, subtype: bool = False, name: str | None = None, notice: Notice = silent
) -> Manifest:
    """A manifest of Kermany's chest radiographs: `chest_xray/train/NORMAL/*.jpeg`, `chest_xray/test/PNEUMONIA/*.jpeg`.

    Binary, PNEUMONIA against NORMAL; the splits are the folders train, val and test. Patients come from the file
    names, a number within its series: person1_bacteria_1.jpeg is of person1_bacteria; person1_virus is another
    child. The second chest_xray and the `__MACOSX` in the published archive are skipped.

    Args:
        src: the folder chest_xray, or the folder that contains it.
        subtype: use the classes NORMAL, BACTERIA and VIRUS, from the file names.
        name: name of the data set; by default kermany-cxr.
        notice: called with messages about what was skipped or looks odd.

    Raises:
        ManifestError: no such folder, a class has no folder, or a file name is not of the set or means the other
            class; all such files are listed.
    """
    src = unpacked(Path(src), "chest_xray", _FOLDERS)
    table = class_folder_table(src, notice, classes=_FOLDERS, layout=_LAYOUT)
    names = _read_names(table, src)
    table["group_id"] = pd.Series([one.patient for one in names], dtype=TEXT)
    if subtype:
        table["label"] = [one.cause for one in names]
    _report_small_val(table, notice)
    return assemble(
        table,
        str(src),
        src,
        name=name or "kermany-cxr",
        task="multiclass" if subtype else "binary",
        classes=_SUBTYPES if subtype else _FOLDERS,
        license="CC BY 4.0",
        citation=(
            "Kermany DS, Goldbaum M, Cai W, et al. Identifying medical diagnoses and treatable diseases by image-based "
            "deep learning. Cell 172(5):1122-1131, 2018. doi:10.1016/j.cell.2018.02.010; data: doi:10.17632/rscbjbr9sj"
        ),
    )


def _read_names(table: pd.DataFrame, src: Path) -> list[_Name]:
    """Patient and cause of each row.

    Raises:
        ManifestError: file names without patient, or of another class than their folder; all are listed.
    """
    faults, names = [], []
    for path, folder in zip(as_words(column_of(table, "path")), as_words(column_of(table, "label")), strict=True):
        name = _read_name(PurePosixPath(path).stem)
        if name is None:
            faults.append(
                f"{path} names no patient; names are like person1_bacteria_1.jpeg, IM-0115-0001.jpeg or "
                "VIRUS-1008087-0001.jpeg. Rename it or move it away, or use `medprobe manifest build folder`"
            )
        elif (name.cause == "NORMAL") != (folder == "NORMAL"):
            faults.append(f"{path} is in {folder}, but its name means {name.cause}; move it to the right folder")
        else:
            names.append(name)
    if faults:
        raise ManifestError(refusal(str(src), faults))
    return names


def _read_name(stem: str) -> _Name | None:
    if match := _NUMBERED.fullmatch(stem) or _MENDELEY.fullmatch(stem):
        return _Name(match["patient"], match["cause"].upper())
    if match := _NORMAL.fullmatch(stem):
        return _Name(match["patient"], "NORMAL")
    return None


def _report_small_val(table: pd.DataFrame, notice: Notice) -> None:
    rows = int((table["split"] == "val").sum()) if "split" in table else 0
    if 0 < rows < 100:
        notice(
            f"The published val has only {counted(rows, 'image')}, too few for model selection; a new split, such "
            "as --split grouped:80/10/10, has more, and keeps patients together."
        )

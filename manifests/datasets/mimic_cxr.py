"""MIMIC-CXR-JPG: chest radiographs with fourteen labels read from reports."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pandas as pd

from ...base import counted
from ..builders.common import Notice, assemble, choose_labels, choose_word, silent
from ..builders.images import locate_images
from ..builders.label_tables import PublishedTable, find_tables, open_tables, read_split_words, refuse_faults
from ..manifest import Manifest
from ..schema.columns import TEXT, as_words
from .chexpert import CHEXPERT_LABELS, Uncertain, read_uncertain

Labeller = Literal["chexpert", "negbio"]
Unit = Literal["study", "image"]

_FRONTAL = ("AP", "PA")


def build_mimic_cxr(
    src: Path | str,
    *,
    labels: Sequence[str] = (),
    labeller: Labeller = "chexpert",
    uncertain: Uncertain = "zeros",
    frontal_only: bool = False,
    unit: Unit = "study",
    root: Path | None = None,
    name: str | None = None,
    notice: Notice = silent,
) -> Manifest:
    """A manifest of MIMIC-CXR-JPG: 377,110 radiographs, fourteen labels each, grouped by patient.

    Reads `mimic-cxr-2.0.0-metadata.csv` (`dicom_id`, `subject_id`, `study_id`, `ViewPosition`), `...-split.csv`
    (`dicom_id`, `split`: train, validate, test) and `...-chexpert.csv` or `...-negbio.csv` (`study_id`, fourteen
    columns of 1, 0, -1 or nothing), packed as .csv.gz or not; images are
    `files/p10/p10000032/s50414267/{dicom_id}.jpg`. A blank label is 0; where none is 1, "No Finding" is. Images of
    studies without labels are skipped. Described in Johnson et al. 2019 (arXiv 1901.07042) and at
    https://physionet.org/content/mimic-cxr-jpg.

    Args:
        src: folder that holds the tables.
        labels: one of the fourteen labels. By default all of them.
        labeller: the program whose labels are used.
        uncertain: value of uncertain labels (-1): zeros (0), ones (1), or ignore (skip rows where a chosen label is
            uncertain).
        frontal_only: use AP and PA views only.
        unit: what gets one prediction: a study (labels are per study) or each image.
        root: folder that holds files/; by default the folder of the tables.
        name: name of the data set; by default mimic-cxr.
        notice: called with messages: how many rows were skipped, which images are missing.

    Raises:
        ManifestError: a file or a column is not there, rows are wrong (all are listed), or there are no images.
    """
    src = Path(src)
    choose_word("labeller", labeller, get_args(Labeller))
    choose_word("unit", unit, get_args(Unit))
    chosen = choose_labels(labels, CHEXPERT_LABELS)
    images, studies, splits = _open(src, labeller)
    found, sure = read_uncertain(studies, chosen, uncertain)
    of_study = studies.row_of("study_id", images["study_id"])
    of_split = splits.row_of("dicom_id", images["dicom_id"])
    images.blame((of_split < 0) & (images["dicom_id"] != ""), f"no row of {splits.file.name} has the image's split")
    owner = studies.matched("subject_id", of_study).fillna(images["subject_id"])
    other = (owner != images["subject_id"]) & (images["subject_id"] != "")
    images.blame(other, f"{studies.file.name} has the study under another subject_id")
    words = read_split_words(splits["split"], "split", splits.faults, "fetch the table again")
    refuse_faults(images, studies, splits)
    assert words is not None
    made = pd.DataFrame(
        {
            "sample_id": images["dicom_id"],
            "path": _paths(images),
            "unit_id": images["study_id"],
            "group_id": images["subject_id"],
            "split": as_words(words)[of_split],
            "view": images["ViewPosition"].replace("", pd.NA),
        }
    )
    made[chosen] = found.to_numpy()[of_study]
    kept = _kept(images, of_study, sure, frontal_only=frontal_only, notice=notice)
    made = made[kept].reset_index(drop=True)
    if unit == "image":
        made = made.drop(columns="unit_id")
    root = src if root is None else Path(root)
    remedy = "Unpack the images there, or name the folder that holds files/ with --root."
    first = f'row {int(kept.argmax()) + 1:,}, columns "subject_id", "study_id" and "dicom_id"'
    where = str(images.file)
    made["path"] = locate_images(made["path"], root, where=where, first=first, notice=notice, remedy=remedy)
    return assemble(
        made,
        where,
        root,
        name=name or "mimic-cxr",
        task="multilabel",
        classes=chosen,
        attributes=["view"] if unit == "image" else [],
        license="PhysioNet Credentialed Health Data License 1.5.0",
        citation="Johnson et al. 2019. MIMIC-CXR-JPG. arXiv 1901.07042; PhysioNet, doi 10.13026/8360-t248.",
    )


def _open(src: Path, labeller: Labeller) -> list[PublishedTable]:
    """Images, studies and splits, looked through for what needs no other table."""
    kinds = ("metadata", labeller, "split")
    names = [[f"mimic-cxr-2.0.0-{kind}.csv{packed}" for packed in ("", ".gz")] for kind in kinds]
    others = [f"mimic-cxr-2.0.0-{other}.csv{packed}" for other in get_args(Labeller) for packed in ("", ".gz")]
    files = find_tables(src, *names, others=others)
    images, studies, splits = open_tables(
        (files[0], ["dicom_id", "subject_id", "study_id", "ViewPosition"], []),
        (files[1], ["subject_id", "study_id", *CHEXPERT_LABELS], []),
        (files[2], ["dicom_id", "split"], []),
    )
    images.need_filled("dicom_id", "subject_id", "study_id")
    studies.need_filled("subject_id", "study_id")
    splits.need_filled("dicom_id")
    for table, key in ((images, "dicom_id"), (studies, "study_id"), (splits, "dicom_id")):
        table.need_distinct(key)
    return [images, studies, splits]


def _paths(images: PublishedTable) -> pd.Series:
    patient = "p" + images["subject_id"]
    folder = "files/" + patient.str.slice(0, 3) + "/" + patient + "/s" + images["study_id"]
    return (folder + "/" + images["dicom_id"] + ".jpg").astype(TEXT)


def _kept(
    images: PublishedTable, of_study: np.ndarray, sure: np.ndarray, *, frontal_only: bool, notice: Notice
) -> np.ndarray:
    """Which images stay, (N,) bool."""
    labelled = of_study >= 0
    certain = ~labelled | sure[of_study]
    seen = images["ViewPosition"].isin(_FRONTAL).to_numpy(bool) | (not frontal_only)
    for left_out, why in (
        (~labelled, "their study has no labels"),
        (labelled & ~certain, "a chosen label is uncertain"),
        (labelled & certain & ~seen, "the view is not AP or PA"),
    ):
        if left_out.any():
            notice(f"Skipped {counted(int(left_out.sum()), 'image')}: {why}.")
    return labelled & certain & seen

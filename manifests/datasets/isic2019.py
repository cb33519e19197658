"""ISIC 2019: dermoscopic images of eight kinds of skin lesion."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ..builders.common import Notice, assemble, silent
from ..builders.images import find_folders, locate_images
from ..builders.label_tables import find_tables, open_tables, read_one_hot, refuse_faults
from ..manifest import Manifest

_CLASSES = ("MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC")
"""Melanoma, naevus, basal cell carcinoma, actinic keratosis, benign keratosis, dermatofibroma, vascular lesion,
squamous cell carcinoma."""


def build_isic2019(src: Path | str, *, name: str | None = None, notice: Notice = silent) -> Manifest:
    """A manifest of ISIC 2019: 25,331 dermoscopic images in eight classes, grouped by lesion.

    Reads `ISIC_2019_Training_GroundTruth.csv` (`image`, a column of 0 and 1 for each class),
    `ISIC_2019_Training_Metadata.csv` (`image`, `age_approx`, `anatom_site_general`, `lesion_id`, `sex`) and
    `ISIC_2019_Training_Input/{image}.jpg` (or `train/`). The group is the lesion; an image without a lesion_id is a
    group of its own. Rows are in the order of the ground truth. Described at
    https://challenge.isic-archive.com/data/#2019.

    Args:
        src: folder that holds both tables; paths in the manifest start from it.
        name: name of the data set; by default isic2019.
        notice: called with messages: missing images, images without a lesion_id.

    Raises:
        ManifestError: a file or a column is not there, rows are wrong (all are listed; also rows without a
            class, or of class UNK), or there are no images.
    """
    src = Path(src)
    truth_file, metadata_file = find_tables(
        src, "ISIC_2019_Training_GroundTruth.csv", "ISIC_2019_Training_Metadata.csv"
    )
    truth, metadata = open_tables(
        (truth_file, ["image", *_CLASSES], ["UNK"]),
        (metadata_file, ["image", "age_approx", "anatom_site_general", "lesion_id", "sex"], []),
    )
    for table in (truth, metadata):
        table.need_filled("image")
        table.need_distinct("image")
    label = read_one_hot(truth, _CLASSES, refused=["UNK"])
    rows = metadata.row_of("image", truth["image"])
    truth.blame((rows < 0) & (truth["image"] != ""), f"no row of {metadata_file.name} describes the image")
    refuse_faults(truth, metadata)
    lesion = metadata.matched("lesion_id", rows)
    if alone := int(lesion.isna().sum()):
        notice(f"{alone:,} of {len(truth):,} images have no lesion_id; each is its own group.")
    folders = find_folders(
        src, "ISIC_2019_Training_Input", "ISIC_2019_Training_Input*", "ISIC_2019_Training_Input/*", "train"
    )
    made = pd.DataFrame(
        {
            "sample_id": truth["image"],
            "path": locate_images(
                truth["image"],
                src,
                folders,
                where=str(truth_file),
                first='row 1, column "image"',
                notice=notice,
                suffix=".jpg",
            ),
            "label": label,
            "group_id": lesion.fillna(truth["image"]),
            "sex": metadata.matched("sex", rows),
            "age": pd.to_numeric(metadata.matched("age_approx", rows), errors="coerce"),
            "anatomical_site": metadata.matched("anatom_site_general", rows),
        }
    )
    return assemble(
        made,
        str(truth_file),
        src,
        name=name or "isic2019",
        task="multiclass",
        classes=list(_CLASSES),
        attributes=["sex", "age", "anatomical_site"],
        license="CC BY-NC 4.0",
        citation="Tschandl et al. 2018, doi 10.1038/sdata.2018.161; Codella et al. 2018, arXiv 1710.05006; "
        "Combalia et al. 2019, arXiv 1908.02288.",
    )

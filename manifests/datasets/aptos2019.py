"""APTOS 2019 Blindness Detection: fundus photographs graded for diabetic retinopathy."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ..builders.common import Notice, assemble, silent
from ..builders.images import find_folders, locate_images
from ..builders.label_tables import PublishedTable, find_tables, refuse_faults
from ..manifest import Manifest

_GRADES = ("No DR", "Mild", "Moderate", "Severe", "Proliferative DR")
"""Of diagnosis 0 to 4."""


def build_aptos2019(src: Path | str, *, name: str | None = None, notice: Notice = silent) -> Manifest:
    """A manifest of APTOS 2019: 3,662 fundus photographs in five ordered grades of diabetic retinopathy.

    Reads `train.csv` (`id_code`, `diagnosis` 0 to 4) and `train_images/{id_code}.png`. The labels of the test images
    were never published. The set names no patients, and contains some photographs twice. Described at
    https://www.kaggle.com/competitions/aptos2019-blindness-detection/data.

    Args:
        src: folder that holds train.csv; paths in the manifest start from it.
        name: name of the data set; by default aptos2019.
        notice: called with messages, such as which images are missing.

    Raises:
        ManifestError: a file or a column is not there, rows are wrong (all are listed), or there are no images.
    """
    src = Path(src)
    (file,) = find_tables(src, "train.csv")
    table = PublishedTable(file, ["id_code", "diagnosis"])
    table.need_filled("id_code", "diagnosis")
    table.need_distinct("id_code")
    table.need_known("diagnosis", [str(grade) for grade in range(len(_GRADES))])
    refuse_faults(table)
    folders = find_folders(src, "train_images")
    made = pd.DataFrame(
        {
            "sample_id": table["id_code"],
            "path": locate_images(
                table["id_code"],
                src,
                folders,
                where=str(file),
                first='row 1, column "id_code"',
                notice=notice,
                suffix=".png",
            ),
            "label": table["diagnosis"].map({str(grade): word for grade, word in enumerate(_GRADES)}),
        }
    )
    return assemble(
        made,
        str(file),
        src,
        name=name or "aptos2019",
        task="ordinal",
        classes=list(_GRADES),
        license="rules of the Kaggle competition aptos2019-blindness-detection",
        citation="Asia Pacific Tele-Ophthalmology Society. APTOS 2019 Blindness Detection. Kaggle, 2019.",
    )

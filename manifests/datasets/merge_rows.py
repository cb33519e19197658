"""Makes one row of the several that an image has in a table: of its findings, or of its readers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ...base import ManifestError, counted
from ..builders.common import Notice
from ..schema.table_io import column_of
from .set_format import TableSet

AGREEMENTS = ("majority", "any", "all")
"""How many readers of an image must see a finding."""


def one_row_per_image(
    spec: TableSet, made: pd.DataFrame, classes: Sequence[str], agreement: str, where: str, notice: Notice
) -> pd.DataFrame:
    """One row for each image, at the place of its first, with the worst of its labels or votes as `agreement` says.

    `made` is the manifest's table with all rows, `classes` the classes, or the chosen labels of `multilabel`. `notice`
    is called with groups that are in several parts of the published split.

    Raises:
        ManifestError: rows of an image name several patients or units.
    """
    image = column_of(made, "sample_id")
    for name in made.columns.intersection(["group_id", "unit_id"]):
        several = made.groupby(image)[name].nunique() > 1
        if several.any():
            raise ManifestError(
                f"{where}: {counted(int(several.sum()), 'image has', 'images have')} rows that differ in "
                f"{' and '.join(spec.columns[name].sources)}, but an image has one; correct the table."
            )
    merged = _votes(spec, made, classes, agreement) if spec.labels.merge == "votes" else _worst(spec, made, notice)
    for name, column in spec.columns.items():
        if column.type == "all":
            merged[name] = merged.groupby(image)[name].transform(lambda values: "+".join(dict.fromkeys(values)))
    return merged[~image.duplicated()].reset_index(drop=True)


def _votes(spec: TableSet, made: pd.DataFrame, classes: Sequence[str], agreement: str) -> pd.DataFrame:
    """A label is 1 where enough rows of the image have it; the one that means "none of the others" is the opposite."""
    names = list(classes)
    share = made.groupby(column_of(made, "sample_id"))[names].transform("mean")
    enough = {"majority": share > 0.5, "any": share > 0, "all": share == 1}
    opposite = {"majority": "majority", "any": "all", "all": "any"}
    decided = enough[agreement].astype(np.int8)
    if spec.labels.nothing in names:
        decided[spec.labels.nothing] = enough[opposite[agreement]][spec.labels.nothing].astype(np.int8)
    return made.assign(**{name: decided[name] for name in names})


def _worst(spec: TableSet, made: pd.DataFrame, notice: Notice) -> pd.DataFrame:
    """Label and split are the worst of the image or its unit: the last class, and test before val and train."""
    unit = column_of(made, "unit_id" if "unit_id" in made else "sample_id")
    number = {name: number for number, name in enumerate(spec.classes)}
    worst = column_of(made, "label").map(number).groupby(unit).transform("max")
    merged = made.assign(label=np.array(spec.classes, object)[worst])
    if "split" not in made:
        return merged
    if "group_id" in made and (both := made.groupby("group_id")["split"].nunique() > 1).any():
        notice(
            f"{counted(int(both.sum()), 'group is', 'groups are')} in train of one table and in test of another; read "
            "fewer tables, or draw a new split such as --split grouped:80/20, to have each in one part only."
        )
    order = ["train", "val", "test"]
    last = column_of(made, "split").map(order.index).groupby(unit).transform("max")
    return merged.assign(split=np.array(order, object)[last])

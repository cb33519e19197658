"""The units of one or two manifests with the files that they are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from ..manifests import Manifest, Units


def files_of_units(manifests: Sequence[Manifest]) -> pd.DataFrame:
    """One row per unit, those of the second manifest after those of the first.

    Returns:
        `unit_id`; `images`, how many; `path`, of its files, as the manifests have them, each once, joined by `; `;
        `frame`, as in `12` or `3 to 40`, where a manifest has frames; `part` and `row`, the manifest and the row of
        the image in the middle.
    """
    return pd.concat([_of_one(place, manifest) for place, manifest in enumerate(manifests)], ignore_index=True)


def _of_one(place: int, manifest: Manifest) -> pd.DataFrame:
    units, table = manifest.units(), manifest.table
    order = np.argsort(units.sample_unit, kind="stable")
    images = np.bincount(units.sample_unit, minlength=len(units))
    middle = order[np.cumsum(images) - images + images // 2]
    columns = {"unit_id": units.unit_id, "images": images, "path": _per_unit(table["path"], units, middle, _joined)}
    if "frame" in table:
        columns["frame"] = _per_unit(table["frame"], units, middle, _range)
    return pd.DataFrame({**columns, "part": place, "row": middle})


def _per_unit(column: pd.Series, units: Units, middle: np.ndarray, summed_up: Callable[[pd.Series], str]) -> np.ndarray:
    """(U,) a text for the images of each unit; of a unit with one image, at row `middle`, without the grouping."""
    if len(units) == len(column):
        return np.array(["" if pd.isna(value) else str(value) for value in column.iloc[middle]], dtype=object)
    return column.groupby(units.sample_unit).agg(summed_up).to_numpy(object)


def _joined(paths: pd.Series) -> str:
    return "; ".join(dict.fromkeys(map(str, paths)))


def _range(frames: pd.Series) -> str:
    known = frames.dropna()
    if known.empty:
        return ""
    low, high = int(known.min()), int(known.max())
    return f"{low}" if low == high else f"{low} to {high}"

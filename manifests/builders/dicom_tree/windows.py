"""One intensity window for all slices of a series, where files have none of their own."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ....base import ImageError, counted
from ...readers.dicom import series_window
from ...schema.intensity_policy import IntensityPolicy
from ...schema.table_io import TEXT
from ..common import Notice
from ..files import read_all


def series_windows(images: pd.DataFrame, src: Path, reading: IntensityPolicy, notice: Notice) -> pd.Series:
    """The column `window` of a manifest, (N,) text: `CENTRE,WIDTH` of each slice, missing where none is needed.

    A reader sees one file at a time, so that slices would be rescaled one by one. Slices get the range between the
    percentiles of their series: those without a window in the file, with `window: percentiles` all.

    Args:
        images: from `sort_series`; each series has a file for each slice.
        src: the folder that paths start from.
        reading: of the manifest. With a window of its own, or with `scope: slice`, no series needs one.
        notice: called with how many series got a window, and how many cannot be read.
    """
    windows = pd.Series(pd.NA, images.index, TEXT)
    if isinstance(reading.window, tuple) or reading.scope == "slice":
        return windows
    needs = images["bare"] if reading.window == "stored" else images["series_row"] >= 0
    slices = images[needs.astype(bool) & (images["series"] != "")]
    by_series = slices.groupby(["study", "series"], sort=False).indices.values()
    groups = [slices.index[rows].tolist() for rows in by_series if len(rows) > 1]

    def window_of(rows: list[int]) -> str | None:
        try:
            centre, width = series_window([src / path for path in images["path"].loc[rows]], reading)
        except ImageError:
            return None
        return f"{centre:.7g},{width:.7g}"

    found = read_all(window_of, groups, "Reading series")
    for rows, window in zip(groups, found, strict=True):
        windows.loc[rows] = window or pd.NA
    without = found.count(None)
    if given := len(found) - without:
        notice(
            f"{counted(given, 'series', 'series')} {'has' if given == 1 else 'have'} a file for each slice and no "
            "window in the files: all slices of a series got the range between its percentiles (column window)."
        )
    if without:
        notice(
            f"{counted(without, 'series', 'series')} got no common window, since slices cannot be read or all "
            "values are the same; each slice is rescaled by its own percentiles."
        )
    return windows

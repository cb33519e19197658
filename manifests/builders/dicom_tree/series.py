"""Series of DICOM files with a slice each: in the order of their positions in the patient, and some of their slices."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ....base import counted
from ..common import Notice
from ..slices import SliceChoice
from .headers import VOLUMES
from .positions import along_normal


def sort_series(images: pd.DataFrame, notice: Notice) -> pd.DataFrame:
    """The rows with slices in order, and with the columns `series_row` and `place`.

    A series of slices has several files of one frame. Slices are sorted by where ImagePositionPatient is along the
    normal of ImageOrientationPatient, as GDCM sorts them, and those at one position (echoes, time
    points) by InstanceNumber. Where slices of CT, MR or PET lack a position or are not parallel, InstanceNumber alone
    counts; where it is missing or repeated, the path does too. A series is where its first file was.

    Args:
        images: from `read_header`, in the order of paths.
        notice: called with how many series cannot be sorted by position.

    Returns:
        `images` in order; `series_row` is the row of the first file of a series of slices, and `place` the number of
        the slice's position in it, from 0. Both are -1 for other images.
    """
    images = images.assign(series_row=-1, place=-1).reset_index(drop=True)
    first = np.arange(len(images))
    instance = images["instance"].astype(float).fillna(np.inf).to_numpy()
    unplaced = 0
    slices = images[(images["frames"] == 1) & (images["series"] != "")]
    for rows in slices.groupby(["study", "series"], sort=False).indices.values():
        one = slices.index[rows].to_numpy()
        series = images.iloc[one]
        positions = along_normal(series["orientation"].tolist(), series["position"].tolist()) if len(one) > 1 else None
        if len(one) == 1 or (positions is None and not series["modality"].isin(VOLUMES).all()):
            continue
        unplaced += positions is None
        first[one] = one[0]
        if positions is None:
            positions = np.argsort(np.argsort(instance[one], kind="stable"))
        places = np.unique(positions, return_inverse=True)[1]
        images.loc[one, ["series_row", "place"]] = np.column_stack([np.full(len(one), one[0]), places])
    if unplaced:
        notice(
            f"{counted(unplaced, 'series', 'series')} of slices cannot be sorted by position, since slices have no "
            "ImagePositionPatient and ImageOrientationPatient or are not parallel (scouts); sorted by InstanceNumber."
        )
    order = np.lexsort([np.arange(len(images)), instance, images["place"], first])
    return images.iloc[order].reset_index(drop=True)


def chosen_frames(images: pd.DataFrame, choice: SliceChoice, name: str) -> pd.DataFrame:
    """A row for each chosen frame and each chosen slice of a series; slices at one position are taken together.

    `frame` is None where a file has one, and `sample_id` is the column `name`, followed by the frame.
    """
    kept = np.ones(len(images), bool)
    if choice.kind != "all":
        for first, rows in images.groupby("series_row").indices.items():
            if first != -1:
                places = images["place"].to_numpy()[rows]
                kept[rows] = np.isin(places, choice.frames(int(places.max()) + 1))
    images = images[kept].reset_index(drop=True)
    files = zip(images["frames"], images["places"], strict=True)
    frames = [_frames_of(choice, count, places) if count > 1 else [None] for count, places in files]
    rows = images.assign(frame=pd.Series(frames, images.index, object)).explode("frame", ignore_index=True)
    ids = zip(rows[name], rows["frame"], strict=True)
    return rows.assign(sample_id=[start if frame is None else f"{start}/{frame:04d}" for start, frame in ids])


def _frames_of(choice: SliceChoice, count: int, places: list[int] | None) -> list[int]:
    """The chosen frames of a file of several, in the order of their positions where `places` says them."""
    of_frame = np.arange(count) if places is None else np.array(places)
    order = np.argsort(of_frame, kind="stable")
    return order[np.isin(of_frame[order], choice.frames(int(of_frame.max()) + 1))].tolist()

"""DICOM files that nothing but a folder tells apart: an image is a unit, and so are a series of slices and a film."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from ...schema.intensity_policy import IntensityPolicy
from ..common import Notice
from ..files import read_all
from ..slices import SliceChoice
from .headers import Skipped, read_header, require_pydicom
from .series import chosen_frames, sort_series
from .skipped import kinds_in_words
from .windows import series_windows


def dicom_units(
    src: Path, files: Sequence[str], choice: SliceChoice, reading: IntensityPolicy, notice: Notice
) -> pd.DataFrame:
    """Rows of DICOM `files` below `src`; slices of a series are in order and have a window as `build_dicom` gives them.

    Returns:
        `sample_id`, `path`, `unit_id` (the file, of a series its first), `frame` and `window`, both missing where there
        is none. A file that cannot be used has a row too, so that whoever reads it reports why.
    """
    require_pydicom()
    headers = read_all(partial(read_header, needed=()), [src / file for file in files], "Reading headers")
    found = dict(zip(files, headers, strict=True))
    if kinds := [header for header in headers if isinstance(header, Skipped)]:
        notice(f"Skipped {kinds_in_words(kinds)}.")
    faulty = [file for file, header in found.items() if isinstance(header, str)]
    parts = [pd.DataFrame({"sample_id": faulty, "path": faulty, "unit_id": faulty})]
    if usable := [{"path": file, **header} for file, header in found.items() if isinstance(header, dict)]:
        images = sort_series(pd.DataFrame(usable), notice)
        first = images["path"].where(images["series_row"] < 0, [usable[row]["path"] for row in images["series_row"]])
        images = images.assign(unit_id=first, window=series_windows(images, src, reading, notice))
        parts.append(chosen_frames(images, choice, "path")[["sample_id", "path", "unit_id", "frame", "window"]])
    return pd.concat(parts, ignore_index=True)

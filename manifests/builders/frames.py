"""Frames, arrays and axes that a table names, compared with what its files hold, without decoding them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from ...base import ImageError, counted
from ..readers import frame_count
from ..readers.nifti import AXES
from ..readers.read_errors import SelectionError
from ..readers.source import Source
from ..schema.table_io import as_codes, as_numbers, is_blank
from ..validation.diagnostics import outside_root
from ..validation.faults import Faults
from .files import read_all

_ONE_IMAGE = (".jpg", ".jpeg", ".png", ".bmp", ".jp2", ".pgm", ".ppm", ".pnm")
"""Files of these suffixes are not opened where no frame is named."""


def check_frames(
    paths: pd.Series,
    frames: pd.Series | None,
    root: Path,
    columns: tuple[str, str],
    faults: Faults,
    *,
    rows: np.ndarray | None = None,
) -> None:
    """Notes the rows that name no frame of a file with several, or a frame, an array or an axis that is not there.

    Files that are missing or damaged are left for the checks to report.

    Args:
        paths: as in a manifest, (N,); blank ones are another question.
        frames: the column of frames, (N,), if there is one; what is no whole number is another question.
        root: the folder that paths start from.
        columns: what the user calls the columns of paths and frames; without one of frames, what would name it.
        faults: of the table; receives the errors.
        rows: (N,) which row of the table each is of, from 0; by default they are its rows.
    """
    blank = np.ones(len(paths), bool) if frames is None else is_blank(frames)
    numbers = np.full(len(paths), np.nan) if frames is None else as_numbers(frames)
    usable = ~outside_root(paths) & (blank | ((numbers >= 0) & (numbers % 1 == 0)))
    codes, texts = as_codes(paths)
    has_frame = np.zeros(len(texts), bool)
    has_frame[codes[usable & ~blank]] = True
    may_differ = has_frame | np.array([not text.lower().endswith(_ONE_IMAGE) for text in texts], bool)
    named = [int(code) for code in np.unique(codes[usable & ~is_blank(paths)]) if may_differ[code]]
    sources = [Source.parse(root, texts[code], 0 if has_frame[code] else None) for code in named]
    found = dict(zip(named, read_all(_count, sources, "Counting frames"), strict=True))
    wrong: dict[str, list[int]] = {}
    for row in np.flatnonzero(usable & np.isin(codes, named)):
        number = None if blank[row] else int(numbers[row])
        if message := _fault(found[codes[row]], number, str(texts[codes[row]]), columns):
            wrong.setdefault(message, []).append(int(row if rows is None else rows[row]))
    for message, those in wrong.items():
        faults.blame(np.isin(np.arange(those[-1] + 1), those), message)


def _count(source: Source) -> int | str | None:
    """The number of frames, or what is wrong with the path; None where the file cannot be read."""
    try:
        return frame_count(source)
    except SelectionError as error:
        return str(error)
    except ImageError:
        return None


def _fault(found: int | str | None, frame: int | None, path: str, columns: tuple[str, str]) -> str | None:
    if not isinstance(found, int):
        return found and f"{columns[0]}: {found}"
    axis = path.rpartition("#")[2].partition("@")[0]
    held = counted(found, f"{axis} slice" if axis in AXES else "image")
    if frame is None and found > 1:
        return f"the file holds {held}; say which in {columns[1]}, from 0"
    if frame is not None and frame >= found:
        return f"{columns[1]}: there is no frame {frame:,}; the file holds {held}, counted from 0"
    return None

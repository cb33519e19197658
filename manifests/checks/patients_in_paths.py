"""Patients in file names, where the manifest names no groups."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pandas as pd

from ...base import counted
from ..schema.groups import codes_of, disagreeing
from ..schema.table_io import as_words, column_of
from ..validation.diagnostics import Diagnostic, diagnostic
from .context import CheckContext

_FEWEST_SHARED = 5
"""Minimum number of names that several images share; fewer are chance."""
_SHARE = 0.1
"""Minimum share of images whose name is shared."""
_NAMES_PER_CLASS = 3
"""With at most this many names per class, a name is probably that of a folder or batch, not of a patient."""
# What is left of a name without its last field must still hold a number: `P001_1`, `person1_bacteria_2`, `10_left`
# and `007b` name someone; `0001`, `Tr-gl_0001` and `scan (12)` do not.
_LAST_FIELD = re.compile(r"^(?P<name>.*\d.*?)(?:[\s_.\-(]+[A-Za-z0-9]+\)?|(?<=\d)[A-Za-z])$")


def groups_in_names(context: CheckContext) -> Iterator[Diagnostic]:
    """No group column, though file names (or the folders around them) look like several images per patient."""
    table = context.manifest.table
    if context.manifest.names_patients:
        return
    paths = [path.partition("#")[0].replace("\\", "/") for path in as_words(column_of(table, "path"))]
    if len(set(paths)) < len(paths):  # frames of one file share its name
        return
    # Without suffix and last field, "" where that does not name anyone; and folders whose name holds a number.
    matches = (_LAST_FIELD.match(path.rpartition("/")[2].rpartition(".")[0]) for path in paths)
    folders = (path.rpartition("/")[0] for path in paths)
    by_file = [match["name"] if match else "" for match in matches]
    by_folder = [folder if re.search(r"\d", folder.rpartition("/")[2]) else "" for folder in folders]
    for names, whose in ((np.array(by_file, object), "names"), (np.array(by_folder, object), "folders")):
        shared = _shared_names(names, context)
        if shared is not None:
            rows = np.flatnonzero(names == names[shared[0]])
            message = (
                f"no column names patients, but {counted(len(shared), 'image')} of {len(names):,} look by their "
                f"{whose} as if a patient had several, such as rows {rows[0] + 1:,} and {rows[1] + 1:,}; scores will "
                "be too good if they do"
            )
            files = [paths[row] for row in rows[:2]]
            yield diagnostic("no-groups", message, context.ids, shared, files=files)
            return


def _shared_names(names: np.ndarray, context: CheckContext) -> np.ndarray | None:
    """The rows whose name another unit has too, if that looks like patients."""
    codes, distinct = codes_of(pd.Series(names))
    shared = disagreeing(codes, len(distinct), codes_of(context.manifest.unit_ids)[0]) & (distinct != "")
    rows = np.flatnonzero(shared[codes])
    named = int((distinct != "").sum())
    batches = _NAMES_PER_CLASS * max(len(context.manifest.card.classes), 1)
    like_patients = shared.sum() >= _FEWEST_SHARED and named > batches and len(rows) >= _SHARE * len(names)
    return rows if like_patients else None

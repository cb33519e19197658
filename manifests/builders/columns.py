"""Wanted columns of a table of somebody else's, and what to say where they are not there."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

import pandas as pd

from ...base import ManifestError, counted, did_you_mean, one_of
from ..schema.columns import TEXT, other_separator, read_table
from ..validation.faults import Faults
from .common import SPLIT_WORDS


def read_columns(
    table: Path, wanted: Iterable[str], *, text: Collection[str], named_by: Mapping[str, str] = MappingProxyType({})
) -> pd.DataFrame:
    """Reads a table that has the `wanted` columns, and perhaps others.

    Args:
        table: a CSV or Parquet file.
        wanted: names of columns.
        named_by: the option that names a column, such as `--label-column`. A column that is not here is looked for
            under the name that it is published by.
        text: columns that are text whatever they look like.

    Raises:
        ManifestError: it cannot be read, wanted columns are not there (all are named, each with the near ones), or
            there are no rows.
    """
    given = read_table(table, text=text)
    missing = [column for column in dict.fromkeys(wanted) if column not in given.columns]
    if missing:
        found = [str(column) for column in given.columns]
        hint = _separator_hint(found)
        near = "".join(
            f'\n  {_asker(name, named_by)}no column "{name}".{"" if hint else did_you_mean(name, found)}'
            for name in missing
        )
        published = "" if set(missing) <= set(named_by) else " Columns are looked for by their published names."
        lacks = counted(len(missing), "column")
        raise ManifestError(f"{table}: lacks {lacks}:{near}\nIt has {one_of(found)}.{hint or published}")
    if len(given) == 0:
        raise ManifestError(f"{table}: has a header but no rows.")
    return given


def read_split_words(words: pd.Series, column: str, faults: Faults, remedy: str) -> pd.Series | None:
    """A column of words as train, val and test, in whichever spelling of `SPLIT_WORDS`.

    Args:
        words: (N,) text.
        column: what the table calls them.
        faults: words that name no split, and rows that have none, are noted here with their rows.
        remedy: what to do about them.

    Returns:
        (N,) text; None where something was noted.
    """
    known = words.str.lower().map(SPLIT_WORDS).astype(TEXT)
    wrong = known.isna().to_numpy(bool)
    if wrong.all():
        # What such a column holds may be a patient's, and is not repeated.
        faults.note(f'column "{column}" says train, val or test in no row; is it the column of the split? Or {remedy}')
    else:
        faults.blame_values(wrong, words.fillna(""), column, SPLIT_WORDS, f"write train, val or test, or {remedy}")
    return None if wrong.any() else known


def _asker(column: str, named_by: Mapping[str, str]) -> str:
    return f"{named_by[column]}: " if column in named_by else ""


def _separator_hint(found: list[str]) -> str:
    other = other_separator(found)
    return f" Its fields seem to be separated by {other}; save it with commas." if other else ""

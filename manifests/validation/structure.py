"""What a table must be to be a manifest at all: checks that need no image.

Loading refuses a manifest that fails one of them, and so does building one, when ids may still be those of patients:
messages name rows and columns, never an id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from ...base import ManifestError, did_you_mean, one_of
from ..schema.card import DatasetCard
from ..schema.columns import as_numbers, as_words, column_of, is_blank
from ..schema.labels import label_codes
from ..schema.row_keys import codes_of, disagreeing
from .diagnostics import Diagnostic, diagnostic, one_by_one, rows_in_words

SPLITS = ("train", "val", "test")

Check = Callable[[pd.DataFrame, DatasetCard], Iterator[Diagnostic]]


def require_columns(table: pd.DataFrame, card: DatasetCard, where: str) -> None:
    """Makes sure that every column is there that a manifest under `card` has.

    Raises:
        ManifestError: names all missing columns, each with the near ones that are there.
    """
    needed = ["sample_id", "path", *card.label_columns, *card.attributes]
    missing = [column for column in needed if column not in table.columns]
    if not missing:
        return
    found = [str(column) for column in table.columns]
    near = "".join(f'\n  "{column}" is missing.{did_you_mean(column, found)}' for column in missing)
    raise ManifestError(
        f"{where}: lacks {len(missing)} of the columns a manifest needs:{near}\nIt has {one_of(found)}."
    )


def no_rows(table: pd.DataFrame, card: DatasetCard) -> Iterator[Diagnostic]:
    """A table without rows."""
    if len(table) == 0:
        yield diagnostic("empty-manifest", "the table has no rows")


def blank_ids(table: pd.DataFrame, card: DatasetCard) -> Iterator[Diagnostic]:
    """A sample, unit or group without a name."""
    for column in ("sample_id", "unit_id", "group_id"):
        yield from _blanks("blank-id", column, table)


def blank_paths(table: pd.DataFrame, card: DatasetCard) -> Iterator[Diagnostic]:
    """A sample without an image."""
    yield from _blanks("blank-path", "path", table)


def blank_labels(table: pd.DataFrame, card: DatasetCard) -> Iterator[Diagnostic]:
    """A sample without a label."""
    for column in card.label_columns:
        yield from _blanks("blank-label", column, table)


def duplicate_ids(table: pd.DataFrame, card: DatasetCard) -> Iterator[Diagnostic]:
    """Two rows under one sample id."""
    ids = column_of(table, "sample_id")
    rows = np.flatnonzero(ids.duplicated(keep=False).to_numpy(bool) & ~is_blank(ids))
    if len(rows) == 0:
        return
    codes, names = codes_of(ids.iloc[rows])
    others = ("other sample_id in several rows", "other sample_ids in several rows")
    yield from one_by_one(
        "duplicate-id",
        np.ones(len(names), bool),
        codes,
        ids,
        lambda _, rows: f'{rows_in_words(rows)}: the same value in column "sample_id"',
        others,
        rows=rows,
    )


def unknown_labels(table: pd.DataFrame, card: DatasetCard) -> Iterator[Diagnostic]:
    """A label that the card does not list; in a multilabel column, anything but 0 and 1."""
    for column in card.label_columns:
        labels = column_of(table, column)
        others = (f'other unknown label in column "{column}"', f'other unknown labels in column "{column}"')
        rows = np.flatnonzero(_unknown(labels, card))
        yield from _by_value(
            "unknown-label",
            labels,
            rows,
            table,
            lambda value, column=column: f'column "{column}" holds "{value}", {_remedy(value, card)}',
            others,
        )


def unknown_splits(table: pd.DataFrame, card: DatasetCard) -> Iterator[Diagnostic]:
    """A word in the split column other than train, val and test, or a blank one."""
    if "split" not in table:
        return

    def words(value: str) -> str:
        shown = f'"{value}"' if value.strip() else "nothing"
        return f'column "split" holds {shown}; write train, val or test.{did_you_mean(value.strip(), SPLITS)}'

    splits = column_of(table, "split").fillna("")
    others = ('other word in column "split"', 'other words in column "split"')
    yield from _by_value("unknown-split", splits, np.flatnonzero(~splits.isin(SPLITS)), table, words, others)


def bad_frames(table: pd.DataFrame, card: DatasetCard) -> Iterator[Diagnostic]:
    """A frame that is not a whole number from 0 up."""
    if "frame" not in table:
        return
    frames = column_of(table, "frame")
    numbers = as_numbers(frames)
    rows = np.flatnonzero(~is_blank(frames) & ~((numbers >= 0) & (numbers % 1 == 0)))
    if len(rows):
        message = f'{rows_in_words(rows)}: column "frame" must hold a whole number from 0 up, or nothing'
        yield diagnostic("bad-frame", message, _ids(table), rows)


def inconsistent_samples(table: pd.DataFrame, card: DatasetCard) -> Iterator[Diagnostic]:
    """A unit whose samples disagree in label, group or split."""
    if "unit_id" not in table:
        return
    codes, units = codes_of(column_of(table, "unit_id"))
    columns = {
        "unit-two-labels": ("labels", label_codes(table, card), card.label_column),
        "unit-two-groups": ("groups", _column_codes(table, "group_id"), "group_id"),
        "unit-two-splits": ("splits", _column_codes(table, "split"), "split"),
    }
    for code, (what, values, column) in columns.items():
        if values is None:
            continue
        # Groups are patients, so their ids are not shown.
        shown = column_of(table, column) if code != "unit-two-groups" and column in table else None

        def message(_: int, rows: np.ndarray, what: str = what, shown: pd.Series | None = shown) -> str:
            found = "" if shown is None else f" ({one_of(sorted(set(as_words(shown.iloc[rows]))))})"
            return f'{rows_in_words(rows)}: one unit in column "unit_id", different {what}{found}'

        others = (f"other unit with different {what}", f"other units with different {what}")
        differ = disagreeing(codes, len(units), values)
        yield from one_by_one(code, differ, codes, _ids(table), message, others)


STRUCTURE: tuple[Check, ...] = (
    no_rows,
    blank_ids,
    duplicate_ids,
    blank_paths,
    blank_labels,
    unknown_labels,
    unknown_splits,
    bad_frames,
    inconsistent_samples,
)
"""In the order in which to fix them."""


def _blanks(code: str, column: str, table: pd.DataFrame) -> Iterator[Diagnostic]:
    if column not in table:
        return
    rows = np.flatnonzero(is_blank(column_of(table, column)))
    if len(rows):
        where = rows_in_words(rows)
        message = f'{where}: column "{column}" is blank; fill it or remove the row'
        yield diagnostic(code, message, _ids(table), rows)


def _by_value(
    code: str,
    column: pd.Series,
    rows: np.ndarray,
    table: pd.DataFrame,
    words: Callable[[str], str],
    others: tuple[str, str],
) -> Iterator[Diagnostic]:
    """A diagnostic for each distinct value of `column` in `rows`."""
    codes, values = codes_of(column.iloc[rows])
    yield from one_by_one(
        code,
        np.ones(len(values), bool),
        codes,
        _ids(table),
        lambda value, at: f"{rows_in_words(at)}: {words(values[value])}",
        others,
        rows=rows,
    )


def _unknown(labels: pd.Series, card: DatasetCard) -> np.ndarray:
    """Which labels are neither blank nor known: (N,) bool."""
    if card.task != "multilabel":
        return ~labels.isin(card.classes).to_numpy(bool) & ~is_blank(labels)
    numbers = as_numbers(labels)
    return ~((numbers == 0) | (numbers == 1)) & ~is_blank(labels)


def _ids(table: pd.DataFrame) -> pd.Series:
    return column_of(table, "sample_id")


def _remedy(label: str, card: DatasetCard) -> str:
    if card.task == "multilabel":
        return "but a multilabel column holds 0 or 1; decide what the value means and write that"
    known = f"which is not one of the card's classes ({one_of(card.classes)})."
    whole = label.removesuffix(".0")
    if whole != label and whole in card.classes:
        return f'{known} It is written as a decimal number; write "{whole}"'
    advice = " Classes are case-sensitive; edit the table or the card" if label.casefold() in _folded(card) else ""
    return f"{known}{did_you_mean(label, card.classes)}{advice}"


def _folded(card: DatasetCard) -> set[str]:
    return {name.casefold() for name in card.classes}


def _column_codes(table: pd.DataFrame, column: str) -> np.ndarray | None:
    return codes_of(column_of(table, column))[0] if column in table else None

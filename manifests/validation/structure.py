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
from ..schema.groups import codes_of, disagreeing
from ..schema.intensity_policy import parse_window
from ..schema.labels import label_codes
from ..schema.table_io import as_codes, as_numbers, as_words, column_of, is_blank
from .diagnostics import Diagnostic, all_at_once, by_value, diagnostic, one_by_one, outside_root, rows_in_words

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


def blank_fields(table: pd.DataFrame, card: DatasetCard) -> Iterator[Diagnostic]:
    """A sample, unit or group without an id, a sample without an image or a label."""
    ids = dict.fromkeys(("sample_id", "unit_id", "group_id"), "blank-id")
    columns = {**ids, "path": "blank-path", **dict.fromkeys(card.label_columns, "blank-label")}
    for column, code in columns.items():
        if column in table:
            what = f'column "{column}" is blank; fill it or remove the row'
            yield from _about(table, code, is_blank(column_of(table, column)), what)


def duplicate_ids(table: pd.DataFrame, card: DatasetCard) -> Iterator[Diagnostic]:
    """Two rows under one sample id."""
    ids = column_of(table, "sample_id")
    repeated = ids.duplicated(keep=False).to_numpy(bool) & ~is_blank(ids)
    yield from by_value("duplicate-id", repeated, ids, ids, lambda _: 'the same value in column "sample_id"')


def unknown_labels(table: pd.DataFrame, card: DatasetCard) -> Iterator[Diagnostic]:
    """A label that the card does not list; in a multilabel column, anything but 0 and 1."""
    for column in card.label_columns:
        labels = column_of(table, column)
        if card.task == "multilabel":
            known = np.isin(as_numbers(labels), (0, 1))
        else:
            known = labels.isin(card.classes).to_numpy(bool)

        def words(value: str, column: str = column) -> str:
            return f'column "{column}" holds "{value}", {_remedy(value, card)}'

        yield from by_value("unknown-label", ~known & ~is_blank(labels), labels, column_of(table, "sample_id"), words)


def unknown_splits(table: pd.DataFrame, card: DatasetCard) -> Iterator[Diagnostic]:
    """A word in the split column other than train, val and test, or a blank one."""

    def words(value: str) -> str:
        shown = f'"{value}"' if value.strip() else "nothing"
        return f'column "split" holds {shown}; write train, val or test.{did_you_mean(value.strip(), SPLITS)}'

    if "split" in table:
        splits = column_of(table, "split")
        yield from by_value("unknown-split", ~splits.isin(SPLITS), splits, column_of(table, "sample_id"), words)


def paths_outside_root(table: pd.DataFrame, card: DatasetCard) -> Iterator[Diagnostic]:
    """An absolute path, or one that climbs out of the card's root."""
    what = 'column "path" leaves the card\'s root; set `root` to a folder above all images and write paths from there'
    yield from _about(table, "path-outside-root", outside_root(column_of(table, "path")), what)


def bad_frames(table: pd.DataFrame, card: DatasetCard) -> Iterator[Diagnostic]:
    """A frame that is not a whole number from 0 up."""
    if "frame" in table:
        frames = column_of(table, "frame")
        numbers = as_numbers(frames)
        wrong = ~is_blank(frames) & ~((numbers >= 0) & (numbers % 1 == 0))
        yield from _about(table, "bad-frame", wrong, 'column "frame" must hold a whole number from 0 up, or nothing')


def bad_windows(table: pd.DataFrame, card: DatasetCard) -> Iterator[Diagnostic]:
    """A window that is not `CENTRE,WIDTH`."""
    if "window" in table:
        codes, texts = as_codes(column_of(table, "window"))
        wrong = np.array([text != "" and parse_window(text) is None for text in texts], bool)
        what = 'column "window" must hold CENTRE,WIDTH with a width above 0, such as 40,400, or nothing'
        yield from _about(table, "bad-window", wrong[codes], what)


def inconsistent_samples(table: pd.DataFrame, card: DatasetCard) -> Iterator[Diagnostic]:
    """A unit whose samples disagree in label, group or split."""
    if "unit_id" not in table:
        return
    codes, units = codes_of(column_of(table, "unit_id"))
    for what, column in {"labels": card.label_column, "groups": "group_id", "splits": "split"}.items():
        if what == "labels":
            values = label_codes(table, card)
        elif column in table:
            values = codes_of(column_of(table, column))[0]
        else:
            continue
        # Groups are patients, so their ids are not shown.
        shown = column_of(table, column) if what != "groups" and column in table else None

        def message(rows: np.ndarray, what: str = what, shown: pd.Series | None = shown) -> str:
            found = "" if shown is None else f" ({one_of(sorted(set(as_words(shown.iloc[rows]))))})"
            return f'{rows_in_words(rows)}: one unit in column "unit_id", different {what}{found}'

        rows = np.flatnonzero(disagreeing(codes, len(units), values)[codes])
        yield from one_by_one(f"unit-two-{what}", rows, codes[rows], column_of(table, "sample_id"), message)


STRUCTURE: tuple[Check, ...] = (
    no_rows,
    blank_fields,
    duplicate_ids,
    unknown_labels,
    unknown_splits,
    paths_outside_root,
    bad_frames,
    bad_windows,
    inconsistent_samples,
)
"""In the order in which to fix them."""


def _about(table: pd.DataFrame, code: str, wrong: np.ndarray, what: str) -> Iterator[Diagnostic]:
    """A diagnostic about all rows that are `wrong`, (N,) bool."""
    yield from all_at_once(code, np.flatnonzero(wrong), column_of(table, "sample_id"), what, show_ids=False)


def _remedy(label: str, card: DatasetCard) -> str:
    if card.task == "multilabel":
        return "but a multilabel column holds 0 or 1; decide what the value means and write that"
    known = f"which is not one of the card's classes ({one_of(card.classes)})."
    whole = label.removesuffix(".0")
    if whole != label and whole in card.classes:
        return f'{known} It is written as a decimal number; write "{whole}"'
    is_case = label.casefold() in {name.casefold() for name in card.classes}
    advice = " Classes are case-sensitive; edit the table or the card" if is_case else ""
    return f"{known}{did_you_mean(label, card.classes)}{advice}"

"""Everything that can be wrong with a manifest, a build or a run: one type, one table of codes, one wording."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from ...base import counted
from ..schema.groups import codes_of, row_groups
from ..schema.table_io import as_words

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
IMAGES = ("image", "images")
MOST = 200
"""Diagnostics of one code that are listed one by one; the rest are counted."""
MOST_SETS = 100_000
"""Likewise of pairs and sets of images, whose rows alone do not say which belong together."""
_ABSOLUTE = r"/|[A-Za-z]:[/\\]|~"


class Code(NamedTuple):
    """One kind of problem."""

    severity: Severity
    """An error makes results wrong or the work impossible; a warning may be intended; a note is to be known."""
    meaning: str
    """In a few words."""
    remedy: str
    """What to do about it, in a sentence or two."""
    thing: tuple[str, str] = IMAGES
    """What a diagnostic counts, singular and plural; an image is a row of the manifest."""


_CLASSES, _COPIES = ("class", "classes"), ("set of identical images", "sets of identical images")
_GROUPS, _PAIRS, _UNITS = ("group", "groups"), ("pair", "pairs"), ("unit", "units")
_FEATURES, _NOTES = ("feature", "features"), ("note", "notes")

CODES: dict[str, Code] = {
    "empty-manifest": Code("error", "there are no rows", "Build the manifest again.", ("table", "tables")),
    "blank-id": Code("error", "a sample, unit or group has no id", "Fill the field, or remove the row."),
    "duplicate-id": Code(
        "error", "several rows have one sample_id", "Give each row its own id, or remove repeated rows.", ("id", "ids")
    ),
    "blank-path": Code("error", "a row names no image", "Fill the field, or remove the row."),
    "blank-label": Code("error", "a row has no label", "Fill the field, or remove the row."),
    "unknown-label": Code("error", "a label is not in the card", "Fix the label, or add the class to the card."),
    "unknown-split": Code("error", "not train, val or test", "Write train, val or test."),
    "bad-frame": Code("error", "a frame is not a whole number", "Write a number from 0 up, or nothing for one image."),
    "bad-window": Code(
        "error", "a window is not CENTRE,WIDTH", "Write two numbers such as 40,400, or nothing for the card's reading."
    ),
    "unit-two-labels": Code(
        "error", "a unit's samples differ in label", "Fix the label, or name smaller units in unit_id.", _UNITS
    ),
    "unit-two-groups": Code(
        "error", "a unit's samples differ in group", "Fix unit_id or group_id: a unit belongs to one patient.", _UNITS
    ),
    "unit-two-splits": Code(
        "error", "a unit's samples differ in split", "Put the whole unit in one part of the split.", _UNITS
    ),
    "missing-file": Code(
        "error", "the file does not exist",
        "Fetch the file, or fix the path; if all are missing, the card's root is wrong.",
    ),
    "unreadable-image": Code(
        "error", "the file cannot be read as an image", "Fetch the file again, convert it, or remove the row."
    ),
    "path-outside-root": Code(
        "error", "a path leaves the card's root", "Set the card's root to a folder above all images."
    ),
    "constant-image": Code("warning", "all pixels are the same", "Remove them: nothing can be learned from them."),
    "extreme-aspect": Code(
        "warning", "an image far from square",
        "Look at them; most networks squash or crop an image to a square. Crop, split or remove them.",
    ),
    "burned-in-text": Code(
        "warning", "what looks like text in pixels",
        "Look at the images, the most certain first; if it is text, mask it in all classes in the same way: it may "
        "reveal the hospital, the diagnosis or the patient.",
    ),
    "group-across-splits": Code(
        "error", "a group is in several parts of the split",
        "Put the whole group in one part, or drop the column split: networks recognise patients, so test scores are "
        "too high.", _GROUPS,
    ),
    "pixels-across-splits": Code(
        "error", "one image is in both train and test",
        "Test scores are too high. `manifest check --fix` writes a manifest without such sets: drop-duplicates keeps "
        "one of each, group-duplicates puts each in one part of the split.", _COPIES,
    ),
    "pixels-two-labels": Code(
        "warning", "one image, different labels",
        "One of the labels is wrong, or the image shows both; ask the annotators, or remove it from test.", _COPIES,
    ),
    "pixels-repeated": Code(
        "warning", "one image under several ids",
        "They count several times; `--fix drop-duplicates` keeps one of each set. If they are in different groups, a "
        "new split may put them in both train and test; `--fix group-duplicates` keeps each set together.", _COPIES,
    ),
    "near-duplicate": Code(
        "warning", "nearly one image in two splits or groups",
        "Look at a few, the nearest first: where they show one scan, test scores are too high, and `manifest check "
        "--fix group-duplicates` writes a manifest in which all versions of a scan are one group.", _PAIRS,
    ),
    "near-embedding": Code(
        "warning", "similar embeddings in two splits or groups",
        "Look at a few, the nearest first; if they show one scan or one patient, give the pair one group_id and draw "
        "a new split.", _PAIRS,
    ),
    "no-groups": Code(
        "warning", "file names suggest several images per patient",
        "Name the patient of each image in a column group_id, for instance with `build csv --group-column`.",
    ),
    "unit-two-attributes": Code(
        "warning", "a unit's samples differ in attribute",
        "Fix the attribute; until then it is missing for the unit in subgroup scores.", _UNITS,
    ),
    "rare-class": Code(
        "warning", "a class has under 10 units", "Collect more, merge classes, or remove it and say so.", _CLASSES
    ),
    "absent-class": Code(
        "warning", "a class is absent from a split",
        "Draw another split (`build --split grouped:80/20`), collect more, or remove the class and say so: a class "
        "without train units cannot be learned, one without test units cannot be scored.", _CLASSES,
    ),
    "alike-names": Code(
        "warning", "classes or groups that differ only in spelling",
        "If they are the same, spell them the same in the table and build again: else a class is split in two, or a "
        "patient may be in both train and test.", ("set of names", "sets of names"),
    ),
    "label-like-id": Code(
        "warning", "labels look like ids", "Make sure that the card's label_column is the right one.",
        ("column", "columns"),
    ),
    "format-tells-class": Code(
        "warning", "size or format alone predicts a class",
        "A network may learn how files were stored instead of the disease. Convert all images to one size, mode and "
        "format; if only the file size differs, also test on another source. AUC 0.5 is chance, 1 is certain.",
        _CLASSES,
    ),
    "source-error": Code(
        "error", "a folder or table to build from is wrong", "Fix the folder or table, and build again."
    ),
    "fine-tuned-on-test": Code(
        "warning", "a network was fine-tuned on units that are tested",
        "Compare it under the protocol and the seeds that it was trained under, under a fixed test, or on other data.",
        _UNITS,
    ),
    "no-patients": Code(
        "warning", "no column names patients",
        "Name the patient of each image in a column group_id: else images of one patient may be in both train and "
        "test, and intervals are too narrow.", ("manifest", "manifests"),
    ),
    "group-in-both-manifests": Code(
        "warning", "train and external manifest share group ids",
        "If they are the same patients, remove them from one manifest; if only the numbers agree, ignore it.", _GROUPS,
    ),
    "leaks-left-out": Code(
        "warning", "training units that are in the test too were left out",
        "No action is needed: the scores are without them. To remove the leak from the data, take the copies out of "
        "train (`manifest check --fix drop-duplicates`), or give the patient one part of the split.", _UNITS,
    ),
    "copies-tied": Code(
        "note", "groups that share images were drawn as one",
        "No action is needed: no copy of a training image is tested. `manifest check --fix` writes a manifest without "
        "such copies.",
        _GROUPS,
    ),
    "queries-left-out": Code(
        "warning", "queries without a relevant unit were left out",
        "Scores are means over the other queries. Move units of these classes into train, or name the class rare and "
        "take it out of the card and the table.", ("query", "queries"),
    ),
    "samples-skipped": Code(
        "warning", "samples without an embedding were skipped",
        "Fix the images that `medprobe cache show` lists and run `medprobe extract` again, or import them.",
    ),
    "attribute-skipped": Code(
        "warning", "an attribute gives no subgroups", "Use an attribute with fewer distinct values.",
        ("attribute", "attributes"),
    ),
    "constant-features": Code(
        "note", "features with one value for all training units",
        "Usually harmless; if there are many, check weights and preprocessing of the backbone.", _FEATURES,
    ),
    "equal-vectors": Code(
        "warning", "different images have one vector",
        "Look at the images: copies that were stored in different ways leak (`--drop-near` treats them as copies); for "
        "different ones check weights, precision and preprocessing of the backbone.", ("vector", "vectors"),
    ),
    "far-features": Code(
        "warning", "features far beyond what a standardised probe learnt from",
        "They hardly vary in train, and one of them can decide a prediction. Compare with a probe that does not "
        "standardise (knn, `scale=false`), train on more units, extract in fp32, or leave them out.", _FEATURES,
    ),
    "not-converged": Code(
        "warning", "fits did not converge", "Narrow the grid of C, or scale the features.", ("fit", "fits")
    ),
    "failed-training": Code(
        "warning", "a training came to no good epoch; the shares of the classes in train are predicted",
        "Such a score is not the network's. Notes of its fits say why: with too little memory train fewer blocks, or "
        "take smaller images; where outputs or losses are not finite take a lower learning rate.", ("fit", "fits"),
    ),
    "diverged-training": Code(
        "warning", "a training ended at NaN; its best epoch before that is scored",
        "Take a lower learning rate, or a longer warm-up.", ("fit", "fits"),
    ),
    "warm-up-only": Code(
        "warning", "a training ended before its warm-up did",
        "Train for more epochs (--epochs), or shorten the warm-up (--set warmup_epochs=0.5).", ("fit", "fits"),
    ),
    "best-epoch-last": Code(
        "warning", "the best epoch of most trainings was the last", "Train for more epochs (--epochs).",
        ("fit", "fits"),
    ),
    "fit-note": Code(
        "note", "a remark of a probe on its fits",
        "Where a value is at its grid's edge, try a wider grid; other notes need no action.", ("fit", "fits"),
    ),
    "undefined-score": Code(
        "warning", "a score is not defined", "Use larger test sets, or another metric.", ("score", "scores")
    ),
    "summary-note": Code("warning", "a limit of an interval or mean", "Use more units, groups or seeds.", _NOTES),
    "run-warning": Code(
        "warning", "a warning of a run of a newer version", "Update medprobe, or run the probe again.", _NOTES
    ),
}  # fmt: skip
"""Every code, stable, so that scripts may rely on it; docs/checks.md has a section on each."""


@dataclass(frozen=True, eq=False)
class Diagnostic:
    """One problem of a manifest, a build or a run.

    Examples:
        >>> from medprobe.manifests import check_manifest
        >>> found = check_manifest(manifest, progress=False)[0]
        >>> found.severity, found.code, found.count
        ('warning', 'pixels-repeated', 1)
    """

    code: str
    """A key of `CODES`."""
    message: str
    """What is wrong, where (row, sample, column), and what to do if that is not obvious."""
    rows: np.ndarray
    """(K,) int64: rows of all images concerned, counted from 1 without the header; empty for the table as a whole."""
    ids: pd.Series
    """The sample ids of the whole table: a problem of ten million rows must not hold a text for each."""
    count: int
    """How many things (`Code.thing`) it is about."""
    files: tuple[str, ...] = ()
    """Paths below the card's root that a user must open. They may contain patient names, so they are shown in the
    terminal and written to no file."""

    @property
    def severity(self) -> Severity:
        """`error` or `warning`."""
        return CODES[self.code].severity

    @property
    def samples(self) -> tuple[str, ...]:
        """The sample ids of `rows`, blank where missing."""
        return tuple("" if pd.isna(one) else one for one in self.ids.array.take(self.rows - 1))

    def __str__(self) -> str:
        return f"{self.message} [{self.code}]"


def diagnostic(
    code: str,
    message: str,
    ids: pd.Series | None = None,
    rows: np.ndarray | Sequence[int] = (),
    *,
    things: int = 1,
    files: Sequence[str] = (),
) -> Diagnostic:
    """One problem.

    Args:
        code: a key of `CODES`.
        message: what is wrong, where, and what to do if that is not obvious.
        ids: the sample ids of the whole table.
        rows: positions in the table of the images concerned, from 0.
        things: how many things it is about; where a thing is an image, there are as many as rows.
        files: values of the column `path` to open; of one that leaves the root only the last part is kept.
    """
    ids = pd.Series(dtype=object) if ids is None else ids
    at = np.asarray(rows, np.int64) + 1
    count = len(at) if CODES[code].thing == IMAGES and len(at) else things
    return Diagnostic(code, message, at, ids, count, tuple(map(_below_root, files)))


def one_by_one(
    code: str,
    rows: np.ndarray,
    codes: np.ndarray,
    ids: pd.Series,
    message: Callable[[np.ndarray], str],
    *,
    files: pd.Series | None = None,
    most: int | None = None,
) -> Iterator[Diagnostic]:
    """A diagnostic for each of the first things, and one that counts the rest.

    Args:
        code: a key of `CODES`.
        rows: (K,) int64: positions in the table of the images concerned.
        codes: (K,) int64: the thing that each of them belongs to.
        ids: the sample ids of the whole table.
        message: the message about a thing, from the rows of its images.
        files: the column `path`, if the first file of each thing must be opened.
        most: how many of them; `MOST` by default.
    """
    most = most or MOST
    groups = [rows[part] for part in row_groups(codes, most=most)]
    for at in groups[:most]:
        yield diagnostic(code, message(at), ids, at, files=[] if files is None else [str(files.iloc[at[0]])])
    for rest in groups[most:]:
        kind, things = CODES[code], len(np.unique(codes)) - most
        count = counted(len(rest) if kind.thing == IMAGES else things, *(f"other {word}" for word in kind.thing))
        yield diagnostic(code, f"{count}: {kind.meaning}", ids, rest, things=things)


def by_value(
    code: str, wrong: np.ndarray | pd.Series, values: pd.Series, ids: pd.Series, what: Callable[[str], str]
) -> Iterator[Diagnostic]:
    """A diagnostic for each distinct one of `values` (N,) in the rows that are `wrong`, (N,) bool; `what` is wrong."""
    rows = np.flatnonzero(wrong)
    yield from one_by_one(
        code,
        rows,
        codes_of(values.iloc[rows])[0],
        ids,
        lambda at: f"{rows_in_words(at)}: {what(as_words(values.iloc[at[:1]])[0])}",
    )


def all_at_once(
    code: str, rows: np.ndarray, ids: pd.Series, what: str, *, show_ids: bool = True
) -> Iterator[Diagnostic]:
    """One diagnostic about all rows, if there are any; arguments as those of `one_by_one`."""
    if len(rows):
        yield diagnostic(code, f"{rows_in_words(rows, ids if show_ids else None)}: {what}", ids, rows)


def by_severity(diagnostics: Iterable[Diagnostic]) -> list[Diagnostic]:
    """Errors first, then warnings, then notes; otherwise in the given order."""
    return sorted(diagnostics, key=lambda one: SEVERITIES.index(one.severity))


def refusal(where: str, messages: Sequence[str], counts: Sequence[int] = (), *, most: int = 10) -> str:
    """One text for all that is wrong with a file or folder; after `most` messages, the rest are counted.

    `counts` are how many problems each message is about, by default one.
    """
    if len(messages) == 1:
        between = ": " if messages[0].startswith(("has ", "holds ")) else ", "
        return f"{where}{between}{messages[0]}{'' if messages[0].endswith(('.', '?')) else '.'}"
    counts = counts or [1] * len(messages)
    listed = "".join(f"\n  {message}" for message in messages[:most])
    rest = f"\n  and {sum(counts[most:]):,} more" if len(messages) > most else ""
    return f"{where}: {sum(counts):,} errors:{listed}{rest}"


def rows_in_words(rows: np.ndarray | Sequence[int], ids: pd.Series | None = None, *, most: int = 3) -> str:
    """Names rows: `row 7 (sample_id "a")`, or `12 rows (7, 9, 30, ...)`; counted from 1 without the header.

    Args:
        rows: positions in the table, from 0.
        ids: the table's sample ids, to name rows by as well: `12 rows (7, 9, 30, ...: a, b, c, ...)`.
        most: how many rows are named.
    """
    rows = np.asarray(rows)
    named = [] if ids is None else ids.iloc[rows[:most]].dropna().tolist()
    if len(rows) == 1:
        return f"row {rows[0] + 1:,}" + "".join(f' (sample_id "{name}")' for name in named)
    more = ", ..." if len(rows) > most else ""
    numbers = ", ".join(f"{row + 1:,}" for row in rows[:most]) + more
    names = f": {', '.join(named)}{more}" if named else ""
    return f"{len(rows):,} rows ({numbers}{names})"


def leaves_root(path: str) -> bool:
    """Whether a path of a manifest is absolute, or climbs above its start at any point."""
    path = path.replace("\\", "/")
    return bool(re.match(_ABSOLUTE, path)) or f"{posixpath.normpath(path)}/".startswith("../")


def outside_root(paths: pd.Series) -> np.ndarray:
    """For which paths `leaves_root` is true: (N,) bool."""
    paths = paths.fillna("")
    # Only the few that may leave it are looked at one by one.
    suspects = np.flatnonzero(paths.str.contains(rf"^(?:{_ABSOLUTE}|\\)|\.\.", regex=True).to_numpy(bool))
    outside = np.zeros(len(paths), bool)
    outside[suspects] = [leaves_root(path) for path in paths.iloc[suspects]]
    return outside


def _below_root(path: str) -> str:
    # Folders above the root reveal how a disk is organised, and often its owner.
    name = path.replace("\\", "/").rpartition("/")[2]
    return f".../{name}" if leaves_root(path) else path

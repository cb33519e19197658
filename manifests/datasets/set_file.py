"""Reads the TOML file of a data set; what is wrong with it is named by key, each with the nearest known one."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path

from pydantic import ValidationError

from ...base import ManifestError, did_you_mean, no_such
from ...base.files import read_text
from ...base.pydantic_messages import faults_in_words
from ..schema.card import DatasetCard
from .set_format import FolderSet, TableSet, fields_of

_FOLDER = Path(__file__).parent
_TAKEN = {
    "agreement", "key", "keep_ids", "kinds", "labels", "name", "notice", "out", "overwrite", "per_slice", "root",
    "split", "src", "uncertain", "window",
}  # fmt: skip
"""Options that the command may have anyway."""
_NOT_COLUMNS = ("path", "label", "split")
"""Columns of a manifest that other sections make."""
_OWN_COLUMNS = ("sample_id", "group_id", "unit_id", "modality", "frame")
"""Columns of [columns] that mean something; under another name patients would be lost without a word."""
_NEAR = 0.75
"""How alike a name is a misspelling of one of them (`group`, `grup_id`), and not a name of its own (`patient_id`)."""


def read_set(name: str) -> TableSet | FolderSet:
    """The published data set that `NAME.toml` in this folder describes."""
    table = tomllib.loads((_FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
    return (TableSet if "rows" in table else FolderSet).model_validate(table)


def read_set_file(path: Path) -> TableSet:
    """The data set that a user's file describes.

    Raises:
        ManifestError: it cannot be read, is not TOML, or keys are unknown, missing or wrong; all are named.
    """
    text = read_text(path, ManifestError, "`medprobe manifest build table --template` prints one to start from.")
    try:
        spec = TableSet.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ManifestError(f"{path}: not valid TOML: {error}. Texts and names with blanks are in quotes.") from error
    except ValidationError as error:
        raise _refused(path, [sentence for _, sentence in faults_in_words(error, TableSet)]) from error
    if faults := list(_contradictions(spec)):
        raise _refused(path, faults)
    DatasetCard.of(str(path), name=spec.name, task=spec.task, classes=spec.classes, attributes=spec.attributes)
    return spec


def _refused(path: Path, faults: list[str]) -> ManifestError:
    one_line = f" {faults[0]}" if len(faults) == 1 else "".join(f"\n  {one}" for one in faults)
    return ManifestError(f"{path}:{one_line}")


def _contradictions(spec: TableSet) -> Iterator[str]:
    """What each key by itself does not show."""
    if not spec.rows.key and "sample_id" not in spec.columns:
        yield 'rows.key: is missing; name the column that is different for each image, or give [columns] a "sample_id".'
    for key, names in (("attributes", spec.attributes), ("image_attributes", spec.image_attributes)):
        for name in names:
            if name not in spec.columns:
                yield f'{key}: [columns] has no "{name}".{did_you_mean(name, spec.columns)}'
    for name in spec.columns.keys() - {*_OWN_COLUMNS, *spec.attributes, *spec.image_attributes}:
        if near := get_close_matches(name, _OWN_COLUMNS, cutoff=_NEAR):
            yield f'columns.{name}: did you mean "{near[0]}"? Or name it in attributes too, if it is one.'
    for name in spec.columns.keys() & _NOT_COLUMNS:
        yield f"columns.{name}: is made from [images], [labels] or the split of [rows]; omit it."
    if spec.alternatives:
        yield "alternatives: is for published sets; build the other layout from a file of its own."
    yield from _about_labels(spec)
    yield from _about_joins(spec)
    yield from _about_options(spec)


def _about_labels(spec: TableSet) -> Iterator[str]:
    labels, multilabel = spec.labels, spec.task == "multilabel"
    if labels.table and labels.table not in spec.joins:
        yield f"labels.table: there is no [joins.{labels.table}].{did_you_mean(labels.table, spec.joins)}"
    if not multilabel and not (labels.column or labels.one_hot):
        yield "labels.column: is missing; name the column of classes, or the columns of 0 and 1 with one_hot."
    if labels.one_hot and len(labels.one_hot) != len(spec.classes):
        yield f"labels.one_hot: names {len(labels.one_hot)} columns, but there are {len(spec.classes)} classes."
    if bool(multilabel and labels.column) != bool(labels.separator) or (multilabel and labels.one_hot):
        yield (
            "labels: a multilabel set has a column of 0 and 1 named as each class, or `column` and a `separator` "
            "of the labels in it; other sets have `column` or `one_hot`, without separator."
        )
    for name in labels.values.values():
        if name not in spec.classes:
            yield f"labels.values: {no_such('class', name, spec.classes)}"
    if labels.merge and (labels.merge == "votes") != multilabel:
        yield 'labels.merge: is "votes" for a multilabel set and "worst" for all others.'


def _about_joins(spec: TableSet) -> Iterator[str]:
    for name, join in spec.joins.items():
        if not join.key:
            yield f"joins.{name}.key: is missing; it is the column that both tables have."
        if len(join.files) > 1:
            yield f"joins.{name}.files: names {len(join.files)} files; give each a section of its own."


def _about_options(spec: TableSet) -> Iterator[str]:
    parts = [spec.rows, *spec.joins.values()]
    files = [file for part in parts for file in part.files]
    used = {name for file in files for text in file.names if "{" in text for name in fields_of(text)}
    used |= {file.split_option for file in files if file.split_option}
    for name in sorted(used - spec.options.keys()):
        yield f"rows.files: there is no [options.{name}].{did_you_mean(name, spec.options)}"
    for section, names in (("options", spec.options), ("filters", spec.filters)):
        for name in names:
            if not name.isidentifier() or name in _TAKEN:
                yield f"{section}.{name}: cannot be the name of an option; use another, of letters, digits and _."

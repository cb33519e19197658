"""Reads the TOML file of a data set; what is wrong with it is named by key, each with the nearest known one."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from ...base import ManifestError, did_you_mean, no_such
from ...base.pydantic_messages import fault_in_words
from ...base.text import first_line
from ..schema.card import TASKS, DatasetCard
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
    table = _parsed(path)
    try:
        spec = TableSet.model_validate(table)
    except ValidationError as error:
        raise _refused(path, (_in_words(dict(fault)) for fault in error.errors())) from error
    if faults := list(_contradictions(spec)):
        raise _refused(path, faults)
    DatasetCard.of(str(path), name=spec.name, task=spec.task, classes=spec.classes, attributes=spec.attributes)
    return spec


def _parsed(path: Path) -> dict[str, Any]:
    if path.is_dir():
        raise ManifestError(f"{path}: is a folder; name the TOML file first, then the folder of the data.")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        near = did_you_mean(path.name, (file.name for file in path.parent.glob("*.toml")))
        raise ManifestError(
            f"{path}: there is no such file.{near} `medprobe manifest build table --template` prints one to start from."
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise ManifestError(f"{path}: not valid TOML: {error}. Texts and names with blanks are in quotes.") from error
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path}: is not UTF-8 text; save it as UTF-8.") from error
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror or first_line(error)}.") from error


def _refused(path: Path, faults: Iterable[str]) -> ManifestError:
    found = list(faults)
    return ManifestError(
        f"{path}: {found[0]}" if len(found) == 1 else f"{path}:" + "".join(f"\n  {one}" for one in found)
    )


def _in_words(fault: Mapping[str, Any]) -> str:
    """One of pydantic's errors, after the key that it is about."""
    place, last = fault["loc"], str(fault["loc"][-1])
    key = "".join(f"[{part + 1}]" if isinstance(part, int) else f".{part}" for part in place).removeprefix(".")
    if fault["type"] == "missing":
        return f'the key "{key}" is missing.'
    if fault["type"] == "extra_forbidden":
        section, known = ".".join(map(str, place[:-1])), _section_at(place[:-1]).model_fields
        above = last in TableSet.model_fields and section and not did_you_mean(last, known)
        if above:
            return (
                f'[{section}] has no key "{last}"; write it above the first section, which is the line with brackets.'
            )
        return f"{f'[{section}]: ' if section else ''}{no_such('key', last, known)}"
    near = did_you_mean(str(fault["input"]), TASKS) if key == "task" else ""
    return f"{key}: {fault_in_words(fault)}.{near}"


def _section_at(place: Iterable[int | str]) -> type[BaseModel]:
    """The section of the format at `place`; names of columns and numbers of entries lead to what holds them."""
    section: type[BaseModel] = TableSet
    for part in place:
        field = section.model_fields.get(str(part))
        inner = (kind for kind in get_args(field.annotation) if isinstance(kind, type)) if field else ()
        own = field.annotation if field and isinstance(field.annotation, type) else None
        found = next((kind for kind in (own, *inner) if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
        section = found or section
    return section


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
    if (frame := spec.columns.get("frame")) and frame.type != "number":
        yield 'columns.frame: is a number from 0: { sources = ["COLUMN"], type = "number" }.'
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
    if multilabel and labels.column and not labels.separator:
        yield 'labels.separator: is missing; it is what separates the labels of one image, such as "|" or ",".'
    for name in labels.values.values():
        if name not in spec.classes:
            yield f"labels.values: {no_such('class', name, spec.classes)}"
    belongs = {
        "one_hot": (not multilabel and not labels.column, "a set of one class per image, without column"),
        "separator": (multilabel and labels.column, "the column of a multilabel set"),
        "values": (labels.column and not labels.separator, "a column of one class per image"),
        "refused": (labels.one_hot, "one_hot"),
        "skipped": (labels.column, "column"),
        "ignore_others": (labels.separator, "a column that lists labels"),
        "uncertain": (multilabel and not labels.column, "a multilabel set with a column for each class"),
    }
    for key, (does, what) in belongs.items():
        if getattr(labels, key) and not does:
            yield f"labels.{key}: belongs to {what}; omit it."
    if labels.merge and (labels.merge == "votes") != multilabel:
        yield 'labels.merge: is "votes" for a multilabel set and "worst" for all others.'


def _about_joins(spec: TableSet) -> Iterator[str]:
    for key in ("on", "same", "missing", "skip", "repeated"):
        if getattr(spec.rows, key):
            yield f"rows.{key}: belongs to a joined table, [joins.NAME]; omit it."
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
    for name in spec.options.keys() - used - {"unit"}:
        yield f"options.{name}: nothing depends on it; name it in a file's name or split_option, or omit it."
    for section, names in (("options", spec.options), ("filters", spec.filters)):
        for name in names:
            if not name.isidentifier() or name in _TAKEN:
                yield f"{section}.{name}: cannot be the name of an option; use another, of letters, digits and _."

"""The TOML file of a published data set: its card, files, columns, labels, images and options."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, field_validator

from ..schema.card import Task


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


class File(_Part):
    """A CSV or Parquet table, or a list of names (.txt) whose column is called `name`."""

    names: list[str]
    """The names that it is published under, below the folder of the set; `{labeller}` is the word of that option."""
    split: str = ""
    """The split of all of its rows."""
    split_option: str = ""
    """The option whose word replaces `split`; with `none`, the file is not read and there is no split."""
    kind: str = ""
    """What its rows are about; the option `kinds` chooses among the kinds of all files."""


class Pattern(_Part):
    """A regular expression whose named groups become columns."""

    regex: str
    meaning: str
    """What the text must be, for messages."""


class Table(_Part):
    """The main table, which may be divided over several files, or one that is joined to it."""

    files: list[File]
    key: str = ""
    """The column that is filled and distinct. Of the main table: names the image. Of a joined one: is in both."""
    columns: list[str] = []
    """Further columns that it must have, besides those named here and the columns of labels."""
    optional: list[str] = []
    filled: list[str] = []
    """Columns in which no row is blank."""
    known: dict[str, list[str]] = {}
    """What columns may hold, besides nothing."""
    patterns: dict[str, Pattern] = {}
    split: str = ""
    """The column of splits, in any of the usual spellings."""
    same: list[str] = []
    """Of a joined table: columns that must agree with the main table."""
    missing: str = ""
    """Of a joined table: what is wrong with rows that it lacks, after "no row of FILE"."""
    skip: str = ""
    """Of a joined table: rows that it lacks are skipped for this reason, instead of being an error."""


class Labels(_Part):
    """Where the classes of an image are: in `column`, in `one_hot`, or (multilabel) in columns named as the classes."""

    table: str = ""
    """The joined table that has them; by default the main one."""
    column: str = ""
    values: dict[str, str] = {}
    """The class of each value of `column`; by default the classes themselves."""
    one_hot: list[str] = []
    """Columns of 0 and 1, one for each class, of which one is 1."""
    refused: list[str] = []
    """Further columns of 0 and 1, which mean that there is no class."""
    separator: str = ""
    """Between the labels in `column`, if it lists those that are 1."""
    nothing: str = ""
    """The word in a list, or the class with a column, that means "none of the others"."""
    uncertain: bool = False
    """Columns of 1, 0, -1 (uncertain) or nothing, one per class, as the CheXpert labeller writes them."""


class Column(_Part):
    """A column of the manifest."""

    sources: list[str]
    """Columns, or a template such as `{patient}/{study}`; of several, the first that is filled is taken."""
    type: Literal["text", "number", "age", "all"] = "text"
    """`age` understands `058Y` and `013M`; `all` joins what the rows of one image hold."""
    own: bool = False
    """Of `group_id`: an image where it is blank is a group of its own."""
    complete: bool = False
    """Of `group_id`: there is none if it is blank for any image, which may be of a patient that others have."""


class Images(_Part):
    """Where the images are."""

    name: str = ""
    """Column or template of file names or paths; by default the key of the main table."""
    folders: list[str] = []
    """Where they are published, then patterns of other folders to look in."""
    suffix: str = ""
    """What names lack, if they have none."""
    root_option: str = ""
    """The folder that `--root` leads to, if images may be elsewhere than the tables."""
    only_file: bool = False
    """Where a path is not there, its first folder may hold one file of another name."""


class Filter(_Part):
    """A flag that keeps some rows only."""

    help: str
    column: str
    values: list[str]
    skip: str
    """Why the others are skipped."""


class Choice(_Part):
    """An option with a few words, of which the first is the default."""

    words: list[str]
    help: str


class SetCard(_Part):
    """What all published data sets have. The texts of the command are blank in an alternative of another set."""

    name: str
    summary: str = ""
    """One line for a list of builders."""
    example: str = ""
    """What one types after `medprobe manifest build NAME`."""
    description: str = ""
    """What is read, how it is laid out, and where it is described."""
    source: str = ""
    """The folder to give."""
    task: Task
    classes: list[str]
    license: str
    citation: str


class TableSet(SetCard):
    """A data set whose labels are in tables."""

    alternatives: list[str] = []
    """Other files of this format, for the same set in another layout, taken where only their first file is there."""
    rows: Table
    joins: dict[str, Table] = {}
    split_lists: dict[str, str] = {}
    """The list of images of each split."""
    labels: Labels
    columns: dict[str, Column] = {}
    """`sample_id` (by default the key), `unit_id`, `group_id`, `modality`, attributes and others."""
    attributes: list[str] = []
    image_attributes: list[str] = []
    """Those that differ within a unit, so that they are attributes of images only."""
    worst: bool = False
    """An image may have several rows: it and its unit get the last of their classes, and test before train."""
    row_numbers: bool = False
    """Where rows are skipped, `published_row` has the number of each row."""
    images: Images = Images()
    filters: dict[str, Filter] = {}
    options: dict[str, Choice] = {}
    kinds_help: str = ""

    @field_validator("columns", mode="before")
    @classmethod
    def _a_name_is_enough(cls, columns: dict[str, Any]) -> dict[str, Any]:
        return {name: {"sources": [given]} if isinstance(given, str) else given for name, given in columns.items()}

    @property
    def kinds(self) -> list[str]:
        """The kinds of the files of the main table."""
        return list(dict.fromkeys(file.kind for file in self.rows.files if file.kind))

    @property
    def label_table(self) -> Table:
        """The table that has the labels."""
        return self.joins[self.labels.table] if self.labels.table else self.rows

    @property
    def label_columns(self) -> list[str]:
        """The columns of 0 and 1 that hold labels."""
        in_columns = self.task == "multilabel" and not self.labels.separator
        return self.classes if in_columns else self.labels.one_hot

    @property
    def id_columns(self) -> set[str]:
        """The columns by which tables are joined, and those of units and groups."""
        parts = [self.rows, *self.joins.values()]
        own = [self.columns[name].sources for name in ("unit_id", "group_id") if name in self.columns]
        return {name for names in (*own, *([part.key, *part.same] for part in parts)) for name in names}

    def wanted(self, table: Table) -> list[str]:
        """The columns that a table must have."""
        named = [table.key, *table.columns, *table.filled, *table.known, *table.patterns, table.split, *table.same]
        labels = self.label_columns if table is self.label_table else []
        return [name for name in dict.fromkeys([*named, *labels]) if name]


class NamePattern(_Part):
    """File names of one form."""

    regex: str
    """Of a whole name without its suffix; the group `patient` is the patient, `cause` the class in capital letters."""
    cause: str = ""
    """The class, where no group holds it."""


class FolderSet(SetCard):
    """A data set in class folders."""

    layout: str
    """For messages."""
    inner: str
    """A folder that archives have around the classes or splits."""
    names: list[NamePattern] = []
    unnamed: str = ""
    """What is wrong with a file name that fits no pattern; by default nothing."""
    subtypes: dict[str, str] = {}
    """The class of each cause, for the option `subtype`."""
    published: dict[str, int] = {}
    """Published number of images of each class."""
    warning: str = ""
    """What a user must know before trusting a score."""


def read_set(name: str) -> TableSet | FolderSet:
    """The data set that `NAME.toml` in this folder describes."""
    table = tomllib.loads(files(__package__ or "").joinpath(f"{name}.toml").read_text(encoding="utf-8"))
    return (TableSet if "rows" in table else FolderSet).model_validate(table)

"""The TOML file of a data set: its card, files, columns, labels, images and options (docs/tables.md)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from string import Formatter
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from ..schema.card import Task


class Part(BaseModel):
    """A section of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


def fields_of(template: str) -> list[str]:
    """The columns that `{patient}/{study}` names in curly brackets, or the one that the whole text is the name of."""
    if "{" not in template:
        return [template] if template else []
    return [name for _, name, _, _ in Formatter().parse(template) if name]


def _a_template(template: str) -> str:
    try:
        fields_of(template)
    except ValueError as error:
        raise ValueError(f"is not a template such as {{patient}}/{{study}}: {error}") from error
    return template


def _a_regex(regex: str) -> str:
    try:
        groups = re.compile(regex).groupindex
    except re.error as error:
        raise ValueError(f"is not a regular expression: {error}") from error
    if not groups:
        raise ValueError("names no group; a part that becomes a column is written (?P<patient>...)")
    return regex


Template = Annotated[str, AfterValidator(_a_template)]
Regex = Annotated[str, AfterValidator(_a_regex)]


class File(Part):
    """A CSV or Parquet table, JSON records, or a list of names (.txt) whose column is called `name`."""

    names: Annotated[list[str], Field(min_length=1)]
    """The names that it is published under, below the folder of the set; `{labeller}` is the word of that option."""
    separator: str = ","
    """Between the fields of a CSV file."""
    optional: bool = False
    """Where it is not there, the set is built without it."""
    folder: str = ""
    """What `{folder}` in the name of an image is for its rows."""
    split: str = ""
    """The split of all of its rows."""
    split_option: str = ""
    """The option whose word replaces `split`; with `none`, the file is not read and there is no split."""
    kind: str = ""
    """What its rows are about; the option `kinds` chooses among the kinds of all files."""


class Pattern(Part):
    """A regular expression whose named groups become columns."""

    regex: Regex
    meaning: str
    """What the text must be, for messages."""


class Table(Part):
    """The main table, which may be divided over several files, or one that is joined to it."""

    files: Annotated[list[File], Field(min_length=1)]
    key: str = ""
    """The column that is filled and distinct. Of the main table: names the image. Of a joined one: is in both."""
    on: list[str] = []
    """Of a joined table: its columns, in one of which the key of the main table is; by default the key itself."""
    repeated: bool = False
    """Of a joined table: a key may be in several rows, of which the first is taken."""
    columns: list[str] = []
    """Further columns that it must have. Those of the main table that are named anywhere else need not be here."""
    optional: list[str] = []
    """Columns that it may have."""
    aliases: dict[str, list[str]] = {}
    """Other names of columns, where the files of a set differ."""
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
    """Of a joined table: what it has, after "no row of FILE" or "there is no FILE, which"."""
    skip: str = ""
    """Of a joined table: rows that it lacks are skipped for this reason, instead of being an error."""

    @field_validator("files", mode="before")
    @classmethod
    def _a_name_is_enough(cls, files: Any) -> Any:
        if not isinstance(files, list):
            return files
        return [{"names": [file]} if isinstance(file, str) else file for file in files]

    @property
    def keys(self) -> list[str]:
        """The columns that are filled and distinct."""
        return self.on or ([self.key] if self.key else [])

    @property
    def parts(self) -> set[str]:
        """The columns that its patterns make."""
        return {name for pattern in self.patterns.values() for name in re.compile(pattern.regex).groupindex}


class Labels(Part):
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
    skipped: list[str] = []
    """Texts of `column`, or words in its list, of rows that are skipped; "" is a blank cell."""
    ignore_others: bool = False
    """Words in a list that are not classes are ignored, with a message, instead of being errors."""
    merge: Literal["", "worst", "votes"] = ""
    """An image may have several rows. `worst`: it and its unit get the last of their classes, and test before train.
    `votes`: each row is a reader's, and the option `agreement` says how many must agree (multilabel)."""
    uncertain: bool = False
    """Columns of 1, 0, -1 (uncertain) or nothing, one per class, as the CheXpert labeller writes them."""


class Column(Part):
    """A column of the manifest."""

    sources: Annotated[list[Template], Field(min_length=1)]
    """Columns, or a template such as `{patient}/{study}`; of several, the first that is filled is taken."""
    type: Literal["text", "number", "age", "all"] = "text"
    """`age` understands `058Y` and `013M`; `all` joins what the rows of one image hold."""
    own: bool = False
    """Of `group_id`: an image where it is blank is a group of its own."""
    complete: bool = False
    """Of `group_id`: there is none if it is blank for any image, which may be of a patient that others have."""


class Images(Part):
    """Where the images are."""

    name: Template = ""
    """Column or template of file names or paths; by default the key of the main table."""
    folders: list[str] = []
    """Where they are published, then patterns of other folders to look in."""
    suffix: str = ""
    """What names lack, if they have none."""
    root_option: str = ""
    """The folder that `--root` leads to, if images may be elsewhere than the tables."""
    only_file: bool = False
    """Where a path is not there, its first folder may hold one file of another name."""
    flat: bool = False
    """Where a path is not there, the file may be in one of `folders` or beside the table, without its own folders."""


class Filter(Part):
    """Keeps some rows only: always, or where it has a help text, with a flag of its name."""

    help: str = ""
    column: str
    values: list[str]
    skip: str
    """Why the others are skipped."""


class Choice(Part):
    """An option with a few words, of which the first is the default."""

    words: Annotated[list[str], Field(min_length=1)]
    help: str


class SetCard(Part):
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
    license: str = ""
    citation: str = ""


class TableSet(SetCard):
    """A data set whose labels are in tables."""

    alternatives: list[str] = []
    """Other files of this format beside it, without .toml, for the same set in another layout: one is taken where only
    its first file is there."""
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
    row_numbers: bool = False
    """Where rows are skipped, `published_row` has the number of each row."""
    images: Images = Images()
    filters: dict[str, Filter] = {}
    options: dict[str, Choice] = {}
    kinds_help: str = ""

    @field_validator("columns", mode="before")
    @classmethod
    def _a_name_is_enough(cls, columns: Any) -> Any:
        if not isinstance(columns, dict):
            return columns
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
        return {name for names in (*own, *([part.key, *part.on, *part.same] for part in parts)) for name in names}

    @property
    def of_files(self) -> list[str]:
        """The columns that rows get from the entry of their file."""
        return [name for name in ("kind", "folder") if any(getattr(file, name) for file in self.rows.files)]

    def wanted(self, table: Table) -> list[str]:
        """The columns that a table must have."""
        named = [*table.columns, *table.filled, *table.known, *table.patterns, table.split, *table.same]
        named += [table.key, *self._named_elsewhere()] if table is self.rows else table.keys
        if table is self.label_table:
            named += [self.labels.column] if self.labels.column else self.label_columns
        return [name for name in dict.fromkeys(named) if name and name not in table.parts]

    def optional(self, table: Table) -> list[str]:
        """The columns that a table may have."""
        several = (column.sources for column in self.columns.values() if table is self.rows and len(column.sources) > 1)
        return [*table.optional, *(name for names in several for name in names if "{" not in name)]

    def _named_elsewhere(self) -> Iterator[str]:
        """The columns of the main table that other sections name."""
        joined = {name for part in self.joins.values() for name in {*self.wanted(part), *part.optional, *part.parts}}
        shared = {part.key for part in self.joins.values()}
        single = [column.sources[0] for column in self.columns.values() if len(column.sources) == 1]
        named = [name for template in [*single, self.images.name] for name in fields_of(template)]
        named += [only.column for only in self.filters.values()]
        yield from shared
        yield from (name for name in named if name not in joined and name not in self.of_files)


class NamePattern(Part):
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
    """The class of each cause."""
    warning: str = ""
    """What a user must know before trusting a score."""

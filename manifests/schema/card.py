"""The dataset card: what a table of samples cannot say about itself."""

from __future__ import annotations

import shlex
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from ...base import ManifestError, atomic_path, counted, one_of
from ...base.files import read_text
from ...base.pydantic_messages import faults_in_words, shown
from ...base.text import first_line
from .intensity_policy import DEFAULT_READING, IntensityPolicy

Task = Literal["binary", "multiclass", "ordinal", "multilabel"]
TASKS: tuple[Task, ...] = get_args(Task)

_PRIMARY_METRIC: dict[Task, str] = {
    "binary": "roc_auc",
    "multiclass": "balanced_accuracy",
    "ordinal": "quadratic_kappa",
    "multilabel": "roc_auc",
}
_RESERVED = {"sample_id", "path", "frame", "unit_id", "group_id", "split", "modality", "window"}


def class_words(task: str | None) -> tuple[str, str]:
    """What a class is called under `task`, one and several: a unit has one class, and any number of labels."""
    return ("label", "labels") if task == "multilabel" else ("class", "classes")


class DatasetCard(BaseModel):
    """Task, classes, metric and licence of a data set; a YAML file next to the table, with the same stem.

    Examples:
        >>> from medprobe.manifests import DatasetCard
        >>> card = DatasetCard(name="brain", task="multiclass", classes=["glioma", "meningioma", "none"])
        >>> card.primary_metric, card.label_column
        ('balanced_accuracy', 'label')
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    version: Literal[1] = 1
    """Version of the manifest format; docs/formats.md says when it changes."""
    name: str
    """Names the data set in results and its folder of caches, so it holds no slash."""
    task: Task | None = None
    """`ordinal` takes the order of `classes`. None for unlabelled images, which have no classes and no metric."""
    classes: Annotated[list[str], Field(validate_default=True)] = []
    """In order for `ordinal`; for `binary` the second is the positive class; for `multilabel` the label columns."""
    primary_metric: Annotated[str, Field(validate_default=True)] = ""
    """Hyper-parameters are chosen by it; default by task: ROC-AUC, balanced accuracy, quadratic kappa, mean ROC-AUC.
    Which metrics there are is known to `evaluate.metrics` alone, whose `primary_metric` refuses any other."""
    label_column: str = "label"
    """Column of class names; not used by `multilabel`, which has a 0/1 column per class."""
    attributes: list[str] = []
    """Further columns for subgroup scores, such as `sex`, `age`, `site`."""
    groups: Literal["patients", "copies"] = "patients"
    """What `group_id` ties: the images of a patient (or a lesion, a case), or copies of an image and nothing more."""
    root: str = "."
    """Folder that the paths of the table start from, relative to the card's own folder."""
    reading: IntensityPolicy = DEFAULT_READING
    """How stored values become 8-bit pixels, where the format leaves the choice (DICOM, NIfTI, 16 bits and floats)."""
    license: str = ""
    citation: str = ""
    description: str = ""

    @field_validator("version", mode="before")
    @classmethod
    def _is_read_here(cls, version: Any) -> Any:
        if version != 1:
            raise ValueError(f"format {shown(version)} is not one that this medprobe reads (1); install a newer one")
        return version

    @field_validator("name")
    @classmethod
    def _is_a_file_name(cls, name: str) -> str:
        if not name.strip() or name != name.strip() or name.startswith(".") or len(name) > 100:
            raise ValueError("a name has 1 to 100 characters, no dot at its start and no blanks around it")
        if any(character in '/\\:*?"<>|' or not character.isprintable() for character in name):
            raise ValueError('a name becomes a folder, so all of it is printable and none is one of / \\ : * ? " < > |')
        return name

    @field_validator("classes", "attributes", mode="before")
    @classmethod
    def _names_are_text(cls, names: Any) -> Any:
        if not isinstance(names, list):
            return names
        for name in names:
            if isinstance(name, bool | float) or name is None:
                raise ValueError(f"YAML reads this name as {name!r}, not as text; put it in quotes")
        return [str(name) if isinstance(name, int) else name for name in names]

    @field_validator("classes", "attributes")
    @classmethod
    def _names_are_distinct(cls, names: list[str]) -> list[str]:
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise ValueError(f"named twice: {one_of(twice)}")
        if any(not name.strip() for name in names):
            raise ValueError("a name is blank")
        # A line break inside a name would not come back from YAML as it went in.
        controls = [name for name in names if {"Cc", "Zl", "Zp"} & set(map(unicodedata.category, name))]
        if controls:
            raise ValueError(f"a name holds a line break or a control character: {one_of(map(repr, controls))}")
        return names

    @field_validator("classes")
    @classmethod
    def _fit_the_task(cls, classes: list[str], info: ValidationInfo) -> list[str]:
        task = info.data.get("task")
        if task and not classes:
            raise PydanticCustomError("missing", "Field required")
        if classes and "task" in info.data and not task:
            raise ValueError(f"a card with classes needs the field `task` ({', '.join(TASKS)})")
        least = 1 if task == "multilabel" else 2
        if task == "binary" and len(classes) != 2:
            raise ValueError(f"a binary task has two classes, here are {len(classes)}: {one_of(classes)}")
        if task and len(classes) < least:
            raise ValueError(f"a {task} task needs {counted(least, 'class', 'classes')} or more")
        return classes

    @field_validator("primary_metric")
    @classmethod
    def _metric_by_task(cls, metric: str, info: ValidationInfo) -> str:
        task = info.data.get("task", "binary")
        if task is None:
            if metric:
                raise ValueError("a card with a primary metric needs the field `task`")
            return metric
        return metric or _PRIMARY_METRIC[task]

    @field_validator("classes", "label_column", "attributes")
    @classmethod
    def _columns_have_one_meaning(cls, names: list[str] | str, info: ValidationInfo) -> list[str] | str:
        card, taken = info.data, set(_RESERVED)
        is_multilabel = card.get("task") == "multilabel"
        if info.field_name == "classes" and not is_multilabel:
            return names
        if info.field_name == "attributes":
            taken |= {card.get("label_column", ""), *(card.get("classes", []) if is_multilabel else [])}
        taken &= {names} if isinstance(names, str) else {*names}
        if taken:
            raise ValueError(f"these columns have another meaning: {one_of(sorted(taken))}")
        return names

    @property
    def label_columns(self) -> list[str]:
        """The columns of the table that hold labels: one, one per class for `multilabel`, none without a task."""
        if self.task is None:
            return []
        return self.classes if self.task == "multilabel" else [self.label_column]

    def require_task(self, purpose: str) -> Task:
        """The task, if the data set has labels; `purpose` is what needs them, such as `probing`.

        Raises:
            ManifestError: the data set is unlabelled; describes how labels are added.
        """
        if self.task is None:
            raise ManifestError(
                f"{self.name}: is unlabelled (its card has no task), and {purpose} needs labels. List the images with "
                "a column of labels in a table, and build a manifest of it: `medprobe manifest build csv TABLE "
                f"--image-column COLUMN --label-column COLUMN --name {shlex.quote(self.name)}`. The embeddings of the "
                "same images are reused."
            )
        return self.task

    @classmethod
    def of(cls, where: str, **values: Any) -> DatasetCard:
        """A card of `values`.

        Raises:
            ManifestError: names `where` and every field that is wrong.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            faults = [sentence for _, sentence in faults_in_words(error, cls)]
            listed = faults[0] if len(faults) == 1 else "".join(f"\n  {fault}" for fault in faults)
            raise ManifestError(
                f"{where}: {'' if len(faults) == 1 else 'several fields are wrong:'}{listed}"
            ) from error

    @classmethod
    def load(cls, path: Path) -> DatasetCard:
        """Reads a card.

        Raises:
            ManifestError: it is not there, is not YAML, or a field is missing, unknown or wrong (all are named).
        """
        text = read_text(path, ManifestError, "A manifest is a table and a YAML card of the same name next to it.")
        try:
            values = yaml.safe_load(text)
            values = {str(key): value for key, value in values.items()} if isinstance(values, dict) else None
        except yaml.YAMLError as error:
            raise ManifestError(f"{path}: {_not_yaml(error, text)}.") from error
        except (ValueError, RecursionError) as error:  # a date or a number that cannot be, brackets within brackets
            raise ManifestError(f"{path}: holds a value that cannot be read: {first_line(error)}.") from error
        if values is None:
            raise ManifestError(
                f"{path}: holds no fields; a card has at least a `name`, and with labels `task` and `classes`."
            )
        return cls.of(str(path), **values)

    def save(self, path: Path) -> None:
        """Writes the card as YAML, whole or not at all; fields that were left empty are left out."""
        with atomic_path(path) as temporary:
            temporary.write_text(self.to_yaml(), encoding="utf-8")

    def to_yaml(self) -> str:
        """The card as YAML text."""
        unused = {"groups"} if self.groups == "patients" else set()
        values = self.model_dump(mode="json", exclude=unused if self.task else {*unused, "label_column"})
        values["reading"] = self.reading.model_dump(mode="json", exclude_defaults=True)
        values = {key: value for key, value in values.items() if value not in (None, "", [], {})}
        return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=100)


def _not_yaml(error: yaml.YAMLError, text: str) -> str:
    """Where YAML cannot be parsed, with the usual causes; the messages of the library need its grammar."""
    mark, lines = getattr(error, "problem_mark", None), text.splitlines()
    if mark is None:
        return "not valid YAML: it holds a control character; delete it"
    shown = f" ({lines[mark.line].strip()[:60]})" if mark.line < len(lines) and lines[mark.line].strip() else ""
    return (
        f"not valid YAML, line {mark.line + 1}{shown} or just above it. Close every quote and bracket, put a text that "
        'holds ": " or starts with a sign in quotes, and indent with blanks, never with tabs'
    )

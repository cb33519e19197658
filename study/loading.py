"""Study files and presets: read, changed by `--set` and by their variant, and every fault named with its line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from ..base import no_such
from ..base.errors import StudyError
from ..base.files import read_text
from ..base.pydantic_messages import Place, dotted, faults_in_words
from ..base.text import first_line
from .schema import StudyFile

PRESET = "preset:"
"""What stands before the name of a preset."""
_PRESETS = files("medprobe.study") / "presets"
_LARGEST = 2_000_000
"""Bytes of a file; a study of thousands of data sets has a tenth of it."""
_MOST_VALUES = 50_000
"""Of a file, those of an alias counted each time, so that a few lines cannot become gigabytes."""
_STEP = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]")


def load_study(path: Path | str, settings: Sequence[str] = ()) -> StudyFile:
    r"""Reads a study file or a preset.

    Args:
        path: the file, or `preset:NAME`.
        settings: changes such as `probe.seeds=200` or `data[0].allow=[near-duplicate]`: a path, and a value as YAML.

    Raises:
        StudyError: it cannot be read, is not YAML, or a key or a value is unknown, missing or wrong (all are named).

    Examples:
        >>> from medprobe.study import load_study
        >>> file = folder / "brain.yaml"
        >>> _ = file.write_text("data: [brain.parquet]\nextract: {backbones: [dinov2-s]}")
        >>> study = load_study(file, ["probe.seeds=5"])
        >>> study.name, study.probe.seeds, study.extract.backbones[0].name
        ('brain', 5, 'dinov2-s')
    """
    is_preset = str(path).startswith(PRESET)
    document = _Document(str(path), _preset(str(path).removeprefix(PRESET)) if is_preset else _text(Path(path)))
    for setting in settings:
        if setting.partition("=")[0].strip() == "protocol":  # before what the variant changes
            document.change(setting)
    document.choose_variant()
    for setting in settings:
        document.change(setting)
    study = document.validated()
    return study.model_copy(update={"name": study.name or _name(str(path))})


def study_place(path: Path | str) -> Path:
    """The folder that paths of the study are relative to: that of its file; for a preset the working folder."""
    return Path.cwd() if str(path).startswith(PRESET) else Path(path).absolute().parent


def preset_names() -> list[str]:
    """The presets there are.

    Examples:
        >>> from medprobe.study import preset_names
        >>> preset_names()
        ['huang2024', 'huix2024', 'medmnist-plus', 'retrieval-mahbod2024']
    """
    return sorted(file.name.removesuffix(".yaml") for file in _PRESETS.iterdir() if file.name.endswith(".yaml"))


def _name(path: str) -> str:
    stem = Path(path.removeprefix(PRESET)).stem
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._")[:80] or "study"


def _preset(name: str) -> str:
    if name not in preset_names():
        raise StudyError(no_such("preset", name, preset_names()))
    return (_PRESETS / f"{name}.yaml").read_text(encoding="utf-8")


def _text(path: Path) -> str:
    if path.suffix == ".parquet":
        raise StudyError(f"{path}: is a table, not a study; `medprobe study init {path}` writes one.")
    if path.is_file() and path.stat().st_size > _LARGEST:
        raise StudyError(f"{path}: has {path.stat().st_size:,} bytes; a study file has at most {_LARGEST:,}.")
    return read_text(path, StudyError, "`medprobe study init MANIFEST` writes a study file.")


class _Document:
    """The values of a file, and for each the words that say where it is written."""

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.origins: dict[Place, str] = {}
        """`line 12`, or `--set probe.seeds=200`, of a value or of its key."""
        self.values = self._parsed(text)

    def _parsed(self, text: str) -> dict[str, Any]:
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
            if node is None:
                raise StudyError(f"{self.path}: is empty; `medprobe study init MANIFEST` writes a study file.")
            if not isinstance(node, yaml.MappingNode):
                raise StudyError(f"{self.path}: holds no keys; a study file has at least `data` and `extract`.")
            return self._value(node, (), yaml.SafeLoader(""), None)
        except yaml.YAMLError as error:
            raise StudyError(f"{self.path}: {_not_yaml(error)}.") from error
        except RecursionError as error:
            raise StudyError(f"{self.path}: holds lists within lists within lists, too many to read.") from error
        except ValueError as error:  # a date or a number that cannot be
            raise StudyError(f"{self.path}: holds a value that cannot be read: {first_line(error)}.") from error

    def _value(self, node: yaml.Node, place: Place, loader: yaml.SafeLoader, origin: str | None) -> Any:
        """What a node stands for; notes the origins of all that is in it."""
        self.origins.setdefault(place, origin or f"line {node.start_mark.line + 1}")
        if len(self.origins) > _MOST_VALUES:
            raise StudyError(f"{self.path}: holds more than {_MOST_VALUES:,} values.")
        if isinstance(node, yaml.SequenceNode):
            return [self._value(one, (*place, at), loader, origin) for at, one in enumerate(node.value)]
        if not isinstance(node, yaml.MappingNode):
            value = loader.construct_object(node)
            if isinstance(value, str) and "\0" in value:
                raise StudyError(f"{self.path}, {self.origins[place]}: {dotted(place)} holds a NUL character.")
            return value
        self._refuse_repeated(node, place)
        loader.flatten_mapping(node)  # puts what `<<` names before the keys of its own
        found: dict[str, Any] = {}
        for key, value in node.value:
            inner = (*place, str(key.value))
            self.origins[inner] = origin or f"line {key.start_mark.line + 1}"
            found[inner[-1]] = self._value(value, inner, loader, origin)
        return found

    def _refuse_repeated(self, node: yaml.MappingNode, place: Place) -> None:
        seen: set[str] = set()
        for key, _ in node.value:
            if str(key.value) in seen:
                where = f"{self.path}, line {key.start_mark.line + 1}"
                raise StudyError(f"{where}: {dotted((*place, str(key.value)))} is there twice; keep one of them.")
            seen.add(str(key.value))

    def change(self, setting: str) -> None:
        """Applies one `--set`."""
        path, equals, text = setting.partition("=")
        if not equals or not path.strip():
            raise StudyError(f"--set {setting}: write a path and a value, such as probe.seeds=200.")
        origin = f"--set {setting}"
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader) or yaml.ScalarNode("tag:yaml.org,2002:null", "")
            self._put(path.strip(), node, origin)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise StudyError(f"{origin}: the value is not YAML; write it as in the study file.") from error

    def choose_variant(self) -> None:
        """Applies what the chosen variant changes."""
        variants, chosen = self.values.pop("variants", None), self.values.get("protocol")
        if not variants:
            return
        if not isinstance(variants, dict) or not all(isinstance(one, dict) for one in variants.values()):
            raise StudyError(f"{self._at(('variants',))}: variants must be names, each with values by path.")
        chosen = self.values["protocol"] = next(iter(variants)) if chosen is None else chosen
        if not isinstance(chosen, str) or chosen not in variants:
            raise StudyError(f"{self._at(('protocol',))}: {no_such('protocol', str(chosen), variants)}")
        for path, value in variants[chosen].items():
            self._put(path, yaml.compose(yaml.safe_dump(value)), self.origins[("variants", chosen, path)])

    def _put(self, path: str, node: yaml.Node, origin: str) -> None:
        place = _place(path)
        if place is None:
            raise StudyError(f'{origin}: "{path}" is not a path such as probe.seeds or data[0].allow.')
        holder: Any = self.values
        for at, step in enumerate(place):
            is_last = at == len(place) - 1
            if isinstance(step, int):
                if not isinstance(holder, list) or step >= len(holder):
                    has = f"has {len(holder)} entries, from 0" if isinstance(holder, list) else "is not a list"
                    raise StudyError(f"{origin}: {dotted(place[:at])} {has}.")
            elif not isinstance(holder, dict):
                raise StudyError(f"{origin}: {dotted(place[:at])} has no keys.")
            if is_last:
                self._forget(place)
                within: Any = holder
                within[step] = self._value(node, place, yaml.SafeLoader(""), origin)
            else:
                holder = _section(holder, step, is_backbone="backbones" in place[:at])

    def _forget(self, place: Place) -> None:
        for known in [one for one in self.origins if one[: len(place)] == place]:
            del self.origins[known]

    def validated(self) -> StudyFile:
        """The study.

        Raises:
            StudyError: names all faults.
        """
        try:
            study = StudyFile.model_validate(self.values)
        except ValidationError as error:
            found = faults_in_words(error, StudyFile)
            faults = [f"{self._origin(place)}: {sentence}" for place, sentence in found]
        else:
            study.remember(self.path, self.origins)
            return study
        if len(faults) == 1:
            raise StudyError(f"{self.path}, {faults[0]}")
        raise StudyError(f"{self.path}: {len(faults)} errors:" + "".join(f"\n  {fault}" for fault in faults))

    def _origin(self, place: Place) -> str:
        while place not in self.origins:
            place = place[:-1]
        return self.origins[place]

    def _at(self, place: Place) -> str:
        return f"{self.path}, {self._origin(place)}"


def _place(path: str) -> Place | None:
    """`data[0].allow` as `("data", 0, "allow")`; None if it is no path."""
    steps = list(_STEP.finditer(path))
    if not steps or "".join(step[0] for step in steps) != path or steps[0][1] is None:
        return None
    return tuple(step[1] if step[1] is not None else int(step[2]) for step in steps)


def _section(holder: Any, step: Any, *, is_backbone: bool) -> Any:
    """What is at `step`, made if it is not there; a data set or backbone that is a text becomes a section."""
    inner = holder[step] if isinstance(step, int) else holder.get(step)
    if inner is None:
        inner = {}
    elif isinstance(inner, str) and isinstance(step, int):
        inner = {"name" if is_backbone else "manifest": inner}
    holder[step] = inner
    return inner


def _not_yaml(error: yaml.YAMLError) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return f"{where}is not YAML: {problem or first_line(error)}"

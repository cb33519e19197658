"""Settings of probes: reading grids, wording errors, and listing what can be set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple, TypeVar, get_args, get_origin

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, WrapValidator, field_validator
from pydantic.fields import FieldInfo

from ...base import ProbeError, did_you_mean, one_of
from ...base.pydantic_messages import fault_in_words

MOST_VALUES = 1000
"""Of a grid; twelve are usual, and each is a fit for every seed."""
_SHOWN = 8
"""Longer grids are shown as their first and last value."""


class ProbeSettings(BaseModel):
    """Grid and fixed settings of a probe; each field of a subclass can be changed by `--probe NAME:field=value`.

    `medprobe probe --settings` shows the docstring of each field.

    Examples:
        >>> from medprobe.probe import PROBES
        >>> PROBES["knn"].settings.metric
        'cosine'
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)

    @field_validator("*", mode="before")
    @classmethod
    def _as_written(cls, value: Any, info: ValidationInfo) -> Any:
        """Reads `none` where it is the default, as the table of settings has it, and refuses `true` as a number."""
        field = cls.model_fields[str(info.field_name)]
        if isinstance(value, bool) and field.annotation in (int, float):
            raise ValueError(f"must be a number, not {str(value).lower()}")
        return None if value == "none" and field.default is None else value

    def facts(self) -> dict[str, Any]:
        """What run.json says of them, JSON-like."""
        return self.model_dump(mode="json")

    def changed(self) -> dict[str, Any]:
        """The fields that differ from the defaults."""
        usual = type(self)()
        return {name: value for name, value in self if value != getattr(usual, name)}


Settings = TypeVar("Settings", bound=ProbeSettings)


class Setting(NamedTuple):
    """One line of the settings of a probe, in words."""

    name: str
    default: str
    choices: str
    """`cosine, euclidean`; "" where there are too many to name."""
    meaning: str


def read_grid(value: Any, validate: Any) -> tuple[float, ...]:
    """A grid, ascending, each value once, from a number, a list, `0.1,1,10` or `logspace:a:b:n` (10^a to 10^b).

    Raises:
        ValueError: it is none of these, is empty, or has too many values; to be read after the name of the setting.
    """
    if isinstance(value, str):
        value = _logspace(value) if ":" in value else value.split(",") if value.strip() else []
    values = value if isinstance(value, (list, tuple)) else [value]
    if not 0 < len(values) <= MOST_VALUES:
        raise ValueError(f"has {len(values):,} values; give 1 to {MOST_VALUES:,}")
    # Words, since pydantic would read `true` as 1.
    return tuple(sorted(set(validate([str(one) if isinstance(one, bool) else one for one in values]))))


AsGrid = WrapValidator(read_grid)
"""Annotation of a field that is a grid: ascending, each value once."""


def _logspace(text: str) -> list[float]:
    try:
        name, low, high, number = text.split(":")
        ends, count = (float(low), float(high)), int(number)
    except ValueError:
        name, ends, count = "", (0.0, 0.0), 0
    if name.strip() != "logspace" or not 0 < count <= MOST_VALUES or not all(abs(end) <= 300 for end in ends):
        raise ValueError(
            f'cannot be "{text}"; write logspace:a:b:n for n values (at most {MOST_VALUES:,}) from 10^a to 10^b (a and'
            " b from -300 to 300), as logspace:-4:3:12"
        )
    return [float(f"{value:.6g}") for value in np.logspace(*ends, count)]


def require_known(owner: str, noun: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Makes sure that all of `names` are known to `owner`.

    Raises:
        ProbeError: some are not; names these, all that there are, and the near ones.
    """
    known = [*known]
    unknown = [name for name in names if name not in known]
    if unknown:
        near = "".join(did_you_mean(name, known) for name in unknown)
        raise ProbeError(f"{owner} has no {noun} {one_of(unknown)}; there are {one_of(known)}.{near}")


def faults(error: ValidationError, fields: Mapping[str, FieldInfo]) -> str:
    """What is wrong with settings, by name, each with how it may be written; one sentence."""
    messages = []
    for one in error.errors():
        name = str(one["loc"][0])
        examples = fields[name].examples
        messages.append(f"{name} {fault_in_words(one)}" + (f"; e.g. {examples[0]}" if examples else ""))
    return "; ".join(dict.fromkeys(messages)) + "."


def describe(model: type[BaseModel], *, leave_out: Iterable[str] = ()) -> list[Setting]:
    """Every setting of a probe or a recipe, as its model declares it."""
    return [
        Setting(name, _written(field.default), _choices(field), " ".join((field.description or "").split()))
        for name, field in model.model_fields.items()
        if name not in leave_out
    ]


def _choices(field: FieldInfo) -> str:
    types = [field.annotation, *get_args(field.annotation)]
    words = [str(word) for one in types if get_origin(one) is Literal for word in get_args(one)]
    words += ["true", "false"] if field.annotation is bool else []
    return ", ".join([*words, "none"] if words and type(None) in types else words)


def _written(value: Any) -> str:
    """As one would write it after `=`."""
    if isinstance(value, tuple):
        ends = f"{len(value)} values, {value[0]:g} to {value[-1]:g}"
        return ends if len(value) > _SHOWN else f"[{','.join(f'{one:g}' for one in value)}]"
    return str(value).lower() if value is None or isinstance(value, bool) else brief(value)


def are_numbers(values: Iterable[Any]) -> bool:
    """Whether all are numbers, of which true and false are none."""
    return all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)


def brief(value: Any) -> str:
    """As the name of a probe has it; `0.1..10x3` for a grid."""
    if not isinstance(value, tuple):
        return f"{value:g}" if isinstance(value, float) else str(value)
    return f"{value[0]:g}" + (f"..{value[-1]:g}x{len(value)}" if len(value) > 1 else "")

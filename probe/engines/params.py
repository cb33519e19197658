"""Settings of probes: reading grids, wording errors, and listing what can be set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple, TypeVar, get_args, get_origin

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo

from ...base import ProbeError, did_you_mean, one_of

MOST_VALUES = 1000
"""Of a grid; twelve are usual, and each is a fit for every seed."""
_SHOWN = 8
"""Longer grids are shown as their first and last value."""
_RULES = {
    "greater_than": "must be above {gt:g}",
    "finite_number": "must be finite",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
}
"""Pydantic's error types in the user's words."""


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
    def _none_by_name(cls, value: Any, info: ValidationInfo) -> Any:
        """`none` where it is the default, as the table of settings writes it."""
        return None if value == "none" and cls.model_fields[str(info.field_name)].default is None else value

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_bool_as_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuses `true` where Python would count it as 1."""
        wanted = cls.model_fields[str(info.field_name)].annotation
        if isinstance(value, bool) and wanted is not bool and get_origin(wanted) is not tuple:  # grids look themselves
            raise ValueError(f"cannot be {str(value).lower()}")
        return value

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
    """`distance, uniform or softmax`; "" where there are too many to name."""
    meaning: str


def read_grid(value: Any) -> tuple[float, ...]:
    """A grid, ascending, each value once, from a number, a list, `0.1,1,10` or `logspace:a:b:n` (10^a to 10^b).

    Raises:
        ValueError: it is none of these, is empty, or has too many values; to be read after the name of the setting.
    """
    if isinstance(value, str):
        value = _logspace(value) if ":" in value else value.split(",") if value.strip() else []
    values = [_number(one) for one in (value if isinstance(value, (list, tuple)) else [value])]
    if not values:
        raise ValueError("is empty; give at least one value")
    _require_few(len(values))
    return tuple(sorted(set(values)))


AsGrid = BeforeValidator(read_grid)
"""Annotation of a field that is a grid: ascending, each value once."""


def _logspace(text: str) -> list[float]:
    try:
        name, low, high, number = text.split(":")
        ends, count = (float(low), float(high)), int(number)
    except ValueError:
        name, ends, count = "", (0.0, 0.0), 0
    if name.strip() != "logspace" or count < 1:
        raise ValueError(
            f'cannot be "{text}"; write logspace:a:b:n for n values from 10^a to 10^b, as logspace:-4:3:12'
        )
    _require_few(count)
    with np.errstate(over="ignore", invalid="ignore"):
        values = np.logspace(*ends, count)
    if not (np.isfinite(values) & (values >= np.finfo(float).tiny)).all():
        raise ValueError(f'cannot be "{text}", which goes beyond what a number can hold; ends from -300 to 300 will do')
    return [float(f"{v:.6g}") for v in values]


def _require_few(count: int) -> None:
    if count > MOST_VALUES:
        raise ValueError(f"has {count:,} values, more than {MOST_VALUES:,}; a dozen is usual")


def _number(value: Any) -> float:
    if isinstance(value, str) and not value.strip():
        raise ValueError("has an empty value between its commas")
    try:
        if isinstance(value, (str, int, float, np.number)) and not isinstance(value, bool):
            return float(value)
    except (ValueError, OverflowError):
        pass
    raise ValueError(f"has {value!r}, which is not a number")


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
    messages = [_fault(fields[str(one["loc"][0])], dict(one)) for one in error.errors()]
    return "; ".join(dict.fromkeys(messages)) + "."


def _fault(field: FieldInfo, fault: dict[str, Any]) -> str:
    name, kind = fault["loc"][0], fault["type"]
    if kind == "value_error":
        message = f"{name} {fault['msg'].removeprefix('Value error, ')}"
    elif kind == "literal_error":
        message = f'{name} must be {_choices(field)} (got "{fault["input"]}")'
    else:
        rule = _RULES[kind].format(**fault.get("ctx", {})) if kind in _RULES else f"is invalid: {fault['msg']}"
        message = f"{name} {rule} (got {_plain(fault['input'])})"
    return f"{message}; e.g. {field.examples[0]}" if field.examples else message


def describe(model: type[BaseModel]) -> list[Setting]:
    """Every setting of a probe, as its model declares it."""
    return [
        Setting(name, _written(field.default), _choices(field), " ".join((field.description or "").split()))
        for name, field in model.model_fields.items()
    ]


def _choices(field: FieldInfo) -> str:
    if field.annotation is bool:
        return "true or false"
    options = [field.annotation, *get_args(field.annotation)]
    words = [str(word) for option in options if get_origin(option) is Literal for word in get_args(option)]
    words += ["none"] if words and type(None) in options else []
    return " or ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def _written(value: Any) -> str:
    """As one would write it after `=`."""
    if isinstance(value, tuple):
        ends = f"{len(value)} values, {value[0]:g} to {value[-1]:g}"
        return ends if len(value) > _SHOWN else f"[{','.join(f'{one:g}' for one in value)}]"
    return str(value).lower() if value is None or isinstance(value, bool) else _plain(value)


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def brief(value: Any) -> str:
    """As the name of a probe has it; `0.1..10x3` for a grid."""
    if not isinstance(value, tuple):
        return f"{value:g}" if isinstance(value, float) else str(value)
    if len(value) == 1:
        return f"{value[0]:g}"
    return f"{value[0]:g}..{value[-1]:g}x{len(value)}"

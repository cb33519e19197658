"""What pydantic finds wrong with a value, in words for users: its own are for programmers and change with versions."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, get_args

from .text import did_you_mean, no_such

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

Place = tuple[str | int, ...]
"""Where a value is in others: `("data", 0, "allow")`."""

_RULES = {
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "dict_type": "must be fields with values",
    "finite_number": "must be finite",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "list_type": "must be a list, such as [a, b]",
    "literal_error": "must be {expected}",
    "model_type": "must be fields with values",
    "string_type": "must be text (in quotes, if it looks like something else)",
    "string_too_long": "must have at most {max_length} characters",
    "string_too_short": "must not be empty",
    "too_long": "must have at most {max_length} values",
    "too_short": "must have at least {min_length} value",
    "tuple_type": "must be a list, such as [a, b]",
}
_SHOWN = 60
"""Characters of a wrong value that are repeated."""


def dotted(place: Iterable[str | int]) -> str:
    """A place as one writes it: `data[0].allow`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place).removeprefix(".")


def section_in(annotation: Any) -> type[BaseModel] | None:
    """The first model that the type of a field names."""
    if isinstance(annotation, type) and hasattr(annotation, "model_fields"):
        return annotation
    return next(filter(None, map(section_in, get_args(annotation))), None)


def faults_in_words(error: ValidationError, model: type[BaseModel]) -> list[tuple[Place, str]]:
    """What is wrong with values of `model`: each place, and a sentence that begins with it and names the near keys."""
    places = [tuple(step for step in fault["loc"] if step != "[key]") for fault in error.errors()]
    return [(place, _sentence(dict(fault), place, model)) for fault, place in zip(error.errors(), places, strict=True)]


def _sentence(fault: Mapping[str, Any], place: Place, model: type[BaseModel]) -> str:
    key = dotted(place)
    if fault["type"] == "missing":
        return f'the key "{key}" is missing.'
    if fault["type"] == "extra_forbidden":
        for step in place[:-1]:
            if isinstance(step, str) and step in model.model_fields:
                model = section_in(model.model_fields[step].annotation) or model
        section = dotted(place[:-1])
        return f"{section and f'{section}: '}{no_such('key', str(place[-1]), model.model_fields)}"
    words, near = fault_in_words(fault), ""
    if fault["type"] == "literal_error" and isinstance(fault["input"], str):
        near = did_you_mean(fault["input"], re.findall(r"'([^']+)'", fault["ctx"]["expected"]))
    return f"{key}{' ' if words.startswith('must') else ': '}{words}{'' if words.endswith('?') else '.'}{near}"


def fault_in_words(fault: Mapping[str, Any]) -> str:
    """One of pydantic's `ValidationError.errors()`, to be read after the name of what is wrong; no full stop.

    What a validator of ours raised is repeated as it is. Example: `must be a whole number, not "big"`.
    """
    message = str(fault["msg"]).removeprefix("Value error, ").rstrip(".")
    if fault["type"] not in _RULES:
        return message
    return f"{_RULES[fault['type']].format(**fault.get('ctx', {}))}, not {shown(fault['input'])}"


def shown(value: Any) -> str:
    """A wrong value for a message: text in quotes, all else as Python writes it, cut where it is long."""
    # Of a list or a number only as much is made into text as is shown: a card of a few lines may hold gigabytes.
    try:
        text = f'"{value}"' if isinstance(value, str) else "nothing" if value is None else reprlib.repr(value)
    except ValueError:
        text = "a number of thousands of digits"
    text = text.encode("utf-8", "backslashreplace").decode()  # half of a pair of surrogates cannot be written
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."

"""What pydantic finds wrong with a value, in words for users: its own are for programmers and change with versions."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

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
    "too_long": "must have at most {max_length} values",
    "too_short": "must have at least {min_length} value",
    "tuple_type": "must be a list, such as [a, b]",
}
_SHOWN = 60
"""Characters of a wrong value that are repeated."""


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
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."

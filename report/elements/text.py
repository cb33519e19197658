"""Numbers and lists as a reader expects them."""

from __future__ import annotations

import math
from collections.abc import Sequence

MINUS = "\u2212"
NONE = "\u2013"
"""For a value that there is not."""


def number(value: float, digits: int = 3) -> str:
    """`0.873`, `−0.012`, a dash for a value that is not there; never a minus zero."""
    if value is None or math.isnan(value):
        return NONE
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.removeprefix("-")
    return text.replace("-", MINUS)


def signed(value: float, digits: int = 3) -> str:
    """As `number`, with a plus before what is above zero."""
    text = number(value, digits)
    return text if text == NONE or text.startswith(MINUS) or float(text) == 0 else f"+{text}"


def p_value(p: float, *, name: str = "p") -> str:
    """`p = 0.012`, `p < 0.001`, `p > 0.999`, `no p-value`."""
    if p is None or math.isnan(p):
        return "no p-value"
    if p < 0.001:
        return f"{name} < 0.001"
    return f"{name} > 0.999" if p > 0.999 else f"{name} = {p:.3f}"


def bare_p(p: float) -> str:
    """A p-value for a column that is headed by its name: `0.012`, `< 0.001`, `1.000`."""
    if p is None or math.isnan(p):
        return NONE
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def interval(low: float, high: float, digits: int = 3) -> str:
    """`0.840 to 0.901`, a dash where there is none."""
    return NONE if math.isnan(low) or math.isnan(high) else f"{number(low, digits)} to {number(high, digits)}"


def listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""


_PEOPLE = ("Brier", "Holm", "Cohen")


def lower_first(text: str) -> str:
    """`Logistic regression` inside a sentence; `ROC-AUC`, `F1` and `Brier score` stay as they are."""
    if text.startswith(_PEOPLE):
        return text
    return text[:1].lower() + text[1:] if text[1:2].islower() or text[1:2] == " " else text


def shortened(text: str, most: int = 44) -> str:
    """A name on one line of a figure; a long one loses its middle, for its ends tell it from others."""
    line = " ".join(text.split())
    if len(line) <= most:
        return line
    head = (most - 1) * 2 // 3
    return f"{line[:head]}\u2026{line[head - most + 1 :]}"

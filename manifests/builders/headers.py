"""Headers of many files, read side by side: most of the time goes by while a disk or a network answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from ...base import progress, usable_cores

Item = TypeVar("Item")
Answer = TypeVar("Answer")
_PER_CORE = 4
"""Threads, which mostly wait."""
_SHOWN_FROM = 100
"""Fewer files are read before a bar would be seen."""


def read_all(read: Callable[[Item], Answer], items: Sequence[Item], what: str) -> list[Answer]:
    """`read` of each item, in their order, in threads and with a progress bar.

    Args:
        read: what is done with one file; an exception of its ends the whole.
        items: files, or what names them.
        what: what is being done, for the bar.
    """
    answers = []
    with (
        ThreadPoolExecutor(_PER_CORE * usable_cores()) as pool,
        progress(what, len(items), unit="files", enabled=len(items) >= _SHOWN_FROM) as bar,
    ):
        for answer in pool.map(read, items):
            answers.append(answer)
            bar.advance()
    return answers

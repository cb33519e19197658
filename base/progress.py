"""A progress bar on a terminal, a line now and then elsewhere, nothing where there is nothing to wait for."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from .text import duration, printable

_LINE_EVERY_S = 60.0


class Bar:
    """What long work reports its progress to; this one shows nothing."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Counts `steps` more as done; `note` is shown instead of the mean rate."""


@contextmanager
def progress(what: str, total: int, *, unit: str = "", enabled: bool = True) -> Iterator[Bar]:
    """Shows the progress of `total` steps on standard error while the block runs.

    Args:
        what: what is being done, e.g. "Embedding brain".
        total: number of steps.
        unit: what a step is, e.g. "images"; shown with the rate.
        enabled: False shows nothing.

    Examples:
        >>> from medprobe.base import progress
        >>> with progress("Embedding", total=3, unit="images", enabled=False) as bar:
        ...     for _ in range(3):
        ...         bar.advance()
    """
    if not enabled:
        yield Bar()
    elif sys.stderr.isatty():
        with _terminal_bar(what, total, unit) as bar:
            yield bar
    else:
        yield _Lines(what, total, unit)


class _Lines(Bar):
    """One line a minute, for logs of batch jobs."""

    def __init__(self, what: str, total: int, unit: str) -> None:
        self.what, self.total, self.unit = printable(what), total, unit
        self.done = 0
        self.start = self.last = time.monotonic()

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.done += steps
        now = time.monotonic()
        if now - self.last < _LINE_EVERY_S:
            return
        self.last = now
        rate = self.done / (now - self.start)
        left = duration((self.total - self.done) / rate) if rate else "unknown time"
        speed = note or f"{rate:.1f}/s"
        sys.stderr.write(f"{self.what}: {self.done:,} of {self.total:,} {self.unit}, {speed}, {left} left\n")
        sys.stderr.flush()


@contextmanager
def _terminal_bar(what: str, total: int, unit: str) -> Iterator[Bar]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True, emoji=False), transient=True) as display:
        task = display.add_task(printable(what), total=total, unit=unit, note="")

        class Terminal(Bar):
            def advance(self, steps: int = 1, note: str = "") -> None:
                display.update(task, advance=steps, note=note)

        yield Terminal()

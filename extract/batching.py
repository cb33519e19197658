"""How many images a network is given at a time: as many as make it quicker, as few as fit, remembered for next time."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..base import OutputError, atomic_path
from ..base.files import user_cache

_WORTHWHILE = 1.05
"""A size that is not at least so many times as fast as half of it is not worth its memory."""
_ROUNDS = 2
"""Batches that are timed at each size; the first one of a size also pays for what a device does only once."""


class BatchSize:
    """The batch size of one backbone: doubles while throughput rises, halves when memory runs out.

    Attributes:
        now: images in the next batch.
        settled: whether it has stopped growing.
        found: whether this run found it out, by growing or by running out of memory.
    """

    def __init__(self, start: int, *, most: int | None = None) -> None:
        """`most` is how far it may grow; None keeps it at `start`."""
        self.now = start
        self.settled = most is None or start >= most
        self.found = False
        self._most = most or start
        self._rates: dict[int, list[float]] = {}

    @contextmanager
    def timing(self, images: int) -> Iterator[None]:
        """Takes the time of the block, in which a batch of `images` is computed, and grows by what it says."""
        start = time.perf_counter()
        yield
        self.took(images, time.perf_counter() - start)

    def took(self, images: int, seconds: float) -> None:
        """Notes that a batch of `images` took so long; one that was not full says nothing."""
        if self.settled or images != self.now:
            return
        rates = self._rates.setdefault(images, [])
        rates.append(images / max(seconds, 1e-9))
        if len(rates) < _ROUNDS:
            return
        half = self._rates.get(images // 2)
        if half and max(rates) < _WORTHWHILE * max(half):
            self._settle(images // 2)
        elif 2 * images > self._most:
            self._settle(images)
        else:
            self.now = 2 * images

    def halve(self) -> None:
        """Goes on with half, and never grows again: the engine calls it when the device is out of memory."""
        self._settle(max(1, self.now // 2))

    def _settle(self, size: int) -> None:
        self.now, self.settled, self.found = size, True, True


def recall(device: str, fingerprint: str) -> int | None:
    """The size that an earlier run found for this spec on such a device; None where there is none."""
    size = _remembered().get(device, {}).get(fingerprint)
    return size if isinstance(size, int) and size > 0 else None


def remember(device: str, fingerprint: str, size: int) -> None:
    """Keeps a size that was found. It only saves time, so a folder that cannot be written is not an error."""
    known = _remembered()
    if known.get(device, {}).get(fingerprint) == size:
        return
    known.setdefault(device, {})[fingerprint] = size
    with suppress(OutputError), atomic_path(_place()) as file:
        file.write_text(json.dumps(known, indent=1, sort_keys=True), encoding="utf-8")


def _remembered() -> dict[str, dict[str, Any]]:
    try:
        known = json.loads(_place().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    whole = isinstance(known, dict) and all(isinstance(sizes, dict) for sizes in known.values())
    return known if whole else {}


def _place() -> Path:
    return user_cache() / "batch-sizes.json"

"""How fast an extraction runs, and what it waits for."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")

_NOW_S = 10.0
"""What counts as now."""


@dataclass(frozen=True)
class Pace:
    """How fast a run is."""

    now: float
    """Images a second."""
    mean: float
    """Images a second."""
    waiting_share: float

    @classmethod
    def together(cls, paces: Collection[Pace]) -> Pace:
        """Of several runs at once: their rates add up, and they wait as much as they do on the average."""
        waiting = sum(one.waiting_share for one in paces) / max(len(paces), 1)
        return cls(sum(one.now for one in paces), sum(one.mean for one in paces), waiting)

    def __str__(self) -> str:
        now, mean = _in_words(self.now), _in_words(self.mean)
        return f"{now}/s now, {mean} mean, {self.waiting_share:.0%} waiting"


class Meter:
    """Splits the time of a run into waiting for decoded images and computing.

    Attributes:
        images: how many were computed on.
        waited_s: time spent waiting for them.
        computed_s: time spent computing, writing segments included.
    """

    def __init__(self) -> None:
        self.images = 0
        self.waited_s = 0.0
        self.computed_s = 0.0
        self._begun = time.perf_counter()
        self._lately: deque[tuple[float, int]] = deque([(self._begun, 0)])

    def waiting(self, items: Iterable[T]) -> Iterator[T]:
        """Yields `items`, counting the time until each is there."""
        iterator = iter(items)
        while True:
            start = time.perf_counter()
            item = next(iterator, None)
            self.waited_s += time.perf_counter() - start
            if item is None:
                return
            yield item

    @contextmanager
    def computing(self, images: int) -> Iterator[None]:
        """Counts the time of the block as computing, and `images` as done."""
        start = time.perf_counter()
        yield
        end = time.perf_counter()
        self.computed_s += end - start
        self.images += images
        self._lately.append((end, self.images))
        while len(self._lately) > 2 and end - self._lately[1][0] > _NOW_S:
            self._lately.popleft()

    @property
    def waiting_share(self) -> float:
        """Time waited for decoding, as a share of waiting and computing; 0 before anything happened."""
        busy = self.waited_s + self.computed_s
        return self.waited_s / busy if busy else 0.0

    @property
    def mean_rate(self) -> float:
        """Images a second since the beginning."""
        return self.images / max(time.perf_counter() - self._begun, 1e-9)

    @property
    def rate_now(self) -> float:
        """Images a second over the last ten seconds, or the last batch where it took longer."""
        (since, before), (until, after) = self._lately[0], self._lately[-1]
        return (after - before) / max(until - since, 1e-9)

    @property
    def pace(self) -> Pace:
        """For the progress bar."""
        return Pace(self.rate_now, self.mean_rate, self.waiting_share)

    def summary(self) -> dict[str, Any]:
        """For the cache's attributes: images, seconds, images_per_s, waited_s, computed_s, waiting_share."""
        return {
            "images": self.images,
            "seconds": round(time.perf_counter() - self._begun, 3),
            "images_per_s": round(self.mean_rate, 3),
            "waited_s": round(self.waited_s, 3),
            "computed_s": round(self.computed_s, 3),
            "waiting_share": round(self.waiting_share, 4),
        }


def _in_words(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"

"""How fast an extraction runs, and what it waits for."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


class Meter:
    """Splits the time of a run into waiting for decoded images and computing."""

    def __init__(self) -> None:
        self.images = 0
        self.waited_s = 0.0
        self.computed_s = 0.0
        self._begun = time.perf_counter()

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
        self.computed_s += time.perf_counter() - start
        self.images += images

    @property
    def waiting_share(self) -> float:
        """Time waited for decoding, as a share of waiting and computing; 0 before anything happened."""
        busy = self.waited_s + self.computed_s
        return self.waited_s / busy if busy else 0.0

    def note(self) -> str:
        """For the progress bar."""
        rate = self.images / max(self.waited_s + self.computed_s, 1e-9)
        return f"{rate:.0f} images/s, {self.waiting_share:.0%} waiting for decode"

    def summary(self) -> dict[str, float]:
        """For the cache's attributes: images, seconds, images_per_s, waiting_share."""
        seconds = time.perf_counter() - self._begun
        return {
            "images": self.images,
            "seconds": round(seconds, 3),
            "images_per_s": round(self.images / seconds, 3) if seconds else 0.0,
            "waiting_share": round(self.waiting_share, 4),
        }

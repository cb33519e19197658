"""The pace of an extraction: how many images a network is given at a time, what is under way, what is waited for."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from ..base import BackboneError, OutputError, WorkerError, atomic_path
from ..base.files import user_cache
from ..base.text import first_line
from .backbone import Backbone
from .device import batch_sizes, describe, fixed_batch, is_lost, is_out_of_memory
from .runtimes import Pending

T = TypeVar("T")
Keep = Callable[[dict[str, np.ndarray]], None]
"""Called with the vectors of some images, float32 (B, D) by pooling."""

_NOW_S = 10.0
"""What counts as now."""
_WORTHWHILE = 1.05
"""A size that is not at least this many times as fast as half of it is not worth its memory."""
_ROUNDS = 2
"""Batches that are timed at each size; the first one of a size also pays for what a device does only once."""


@dataclass(frozen=True)
class Pace:
    """How fast a run is."""

    now: float
    """Images a second."""
    mean: float
    """Images a second."""
    waiting_share: float
    """Time waited for decoded images, as a share of waiting and computing."""

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
    def pace(self) -> Pace:
        """How fast the run is, since its beginning and over the last ten seconds (the last batch if it took longer)."""
        (since, before), (until, after) = self._lately[0], self._lately[-1]
        seconds, busy = time.perf_counter() - self._begun, self.waited_s + self.computed_s
        return Pace(
            now=(after - before) / max(until - since, 1e-9),
            mean=self.images / max(seconds, 1e-9),
            waiting_share=self.waited_s / busy if busy else 0.0,
        )

    def summary(self) -> dict[str, Any]:
        """For the cache's attributes: images, seconds, images_per_s, waited_s, computed_s, waiting_share."""
        pace = self.pace
        return {
            "images": self.images,
            "seconds": round(time.perf_counter() - self._begun, 3),
            "images_per_s": round(pace.mean, 3),
            "waited_s": round(self.waited_s, 3),
            "computed_s": round(self.computed_s, 3),
            "waiting_share": round(pace.waiting_share, 4),
        }


def _in_words(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"


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


class Batches:
    """Embeds images as they come, in batches that fit the device's memory.

    Attributes:
        size: of a batch.
    """

    def __init__(self, backbone: Backbone, requested: int | None) -> None:
        self.size = _batch_size(backbone, requested)
        self._backbone = backbone
        self._under_way: tuple[torch.Tensor, list[Pending], Keep] | None = None

    def embed(self, images: torch.Tensor, keep: Keep) -> None:
        """Embeds images, and calls `keep` with their vectors, in the same order: now, or in the next call.

        Raises:
            BackboneError: the memory does not hold one image.
            WorkerError: the device failed, perhaps with images of the call before; nothing of them is kept.
        """
        is_timed = not self.size.settled and len(images) >= self.size.now
        if is_timed or not self._backbone.computes_ahead:
            # Each batch is waited for, so that its time says how fast its size is.
            self.finish()
            keep(self._at_once(images))
            return
        pending = None
        try:
            pending = [self._backbone.submit(batch) for batch in images.split(self.size.now)]
        except (RuntimeError, MemoryError) as error:
            self._require_out_of_memory(error)
        self.finish()
        if pending is None:
            self._halve()
            keep(self._at_once(images))
        else:
            self._under_way = images, pending, keep

    def finish(self) -> None:
        """Waits for what is under way, and calls `keep` with it."""
        if self._under_way is None:
            return
        (images, pending, keep), self._under_way = self._under_way, None
        made = None
        try:
            made = _joined([result() for result in pending])
        except (RuntimeError, MemoryError) as error:
            self._require_out_of_memory(error)
        if made is None:
            self._halve()
            made = self._at_once(images)
        keep(made)

    def _at_once(self, images: torch.Tensor) -> dict[str, np.ndarray]:
        """The vectors of images; a batch that does not fit the memory is cut in half and done again."""
        parts: list[dict[str, np.ndarray]] = []
        done = 0
        while done < len(images):
            batch = images[done : done + self.size.now]
            try:
                with self.size.timing(len(batch)):
                    parts.append(self._backbone.embed(batch))
            except (RuntimeError, MemoryError) as error:
                self._require_out_of_memory(error)
                if len(batch) == 1:
                    raise BackboneError(
                        f"{self._backbone.name}: the memory of {describe(self._backbone.device)} does not hold even one"
                        f" image of {batch.shape[-2]} x {batch.shape[-1]} pixels; use a smaller backbone or"
                        " --image-size, --precision bf16, or another --device."
                    ) from error
            else:
                done += len(batch)
                continue
            self._halve()
        return _joined(parts)

    def _halve(self) -> None:
        """Outside of an except clause, where the failed batch is no longer held by the traceback."""
        self.size.halve()
        torch.cuda.empty_cache()  # does nothing where there is no GPU

    def _require_out_of_memory(self, error: BaseException) -> None:
        """Raises what smaller batches do not help against."""
        if is_lost(error):
            raise WorkerError(
                f"{self._backbone.device} stopped working ({first_line(error)}). What is embedded is kept; run the same"
                " command again, on another --device if this one does not come back."
            ) from error
        if not is_out_of_memory(error):
            raise error


def _batch_size(backbone: Backbone, requested: int | None) -> BatchSize:
    """The requested size, else the one that an earlier run found, else one that grows."""
    device = backbone.device
    if requested or fixed_batch(device, backbone.spec.precision):
        return BatchSize(requested or batch_sizes(device)[1])
    start, most = batch_sizes(device)
    known = recall(describe(device), backbone.spec.fingerprint)
    if known or backbone.has_one_shape:
        return BatchSize(min(known or most, most))
    return BatchSize(start, most=most)


def _joined(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The rows of several batches, one after the other."""
    return {pooling: np.concatenate([part[pooling] for part in parts]) for pooling in parts[0]}


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
        known = json.loads(_place().read_text(encoding="utf-8")) if _place().is_file() else {}  # it may be a named pipe
    except (OSError, ValueError, RecursionError):
        return {}
    whole = isinstance(known, dict) and all(isinstance(sizes, dict) for sizes in known.values())
    return known if whole else {}


def _place() -> Path:
    return user_cache() / "batch-sizes.json"

"""The meter: what a run waits for, how fast it is now and on the whole."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from medprobe.cache import EmbeddingCache
from medprobe.extract import extract
from medprobe.extract.throughput import Meter, Pace


def test_waiting_and_computing_are_told_apart(monkeypatch) -> None:
    now = 100.0
    monkeypatch.setattr("medprobe.extract.throughput.time.perf_counter", lambda: now)

    def slow() -> Iterator[int]:
        nonlocal now
        for item in range(4):
            now += 0.06
            yield item

    meter = Meter()
    for _ in meter.waiting(slow()):
        with meter.computing(10):
            now += 0.02
    summary = meter.summary()
    assert summary["images"] == 40
    assert summary["waiting_share"] == pytest.approx(0.75)
    assert summary["images_per_s"] == pytest.approx(40 / 0.32)


def test_now_is_the_last_seconds_and_the_mean_is_all_of_it(monkeypatch) -> None:
    now = 100.0
    monkeypatch.setattr("medprobe.extract.throughput.time.perf_counter", lambda: now)
    meter = Meter()
    for seconds, images in [(30.0, 30)] * 4 + [(1.0, 50)] * 20:
        with meter.computing(images):
            now += seconds
    assert meter.pace.now == pytest.approx(50.0)
    assert meter.pace.mean == pytest.approx((4 * 30 + 20 * 50) / 140)
    assert str(meter.pace) == "50/s now, 8.0 mean, 0% waiting"


def test_several_devices_are_as_fast_as_their_sum() -> None:
    both = Pace.together([Pace(60.0, 50.0, 0.1), Pace(20.0, 30.0, 0.3)])
    assert str(both) == "80/s now, 80 mean, 20% waiting"


def test_a_cache_tells_how_fast_it_was_made(gallery, tmp_path, tiny) -> None:
    [cache] = extract(gallery, [tiny], tmp_path / "store", workers=0, show_progress=False)
    told = EmbeddingCache.open(cache.path).info["throughput"]
    assert told["images"] == 22
    assert told["workers"] == 0
    assert {"seconds", "images_per_s", "waited_s", "computed_s", "waiting_share", "batch_size"} <= told.keys()

"""A real process, really killed, again and again: nothing published is lost and the end is the same."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from medprobe.base import CacheError
from medprobe.cache import CacheDraft, EmbeddingCache, verify_cache

_FORK = multiprocessing.get_context("fork")  # no time goes into imports, so kills fall on the work itself


def _write(store: Path, spec, cohort, killed_at: int = 0) -> tuple[int, int]:
    """What an extraction does, killed at that call or return of a function; how many until it publishes, and in all."""
    seen = 0

    def count(*_: object) -> None:
        nonlocal seen
        seen += 1
        if seen == killed_at:
            os.kill(os.getpid(), signal.SIGKILL)

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        with CacheDraft.open(store, "cohort", spec, segment_rows=24) as draft:
            cohort.embed(draft, batch=8)
            draft.flush()
            embedded = seen
            draft.publish(cohort.ids, stamps=cohort.stamps)
    finally:
        sys.setprofile(before)
    return embedded, seen


def _read(cache: EmbeddingCache) -> tuple:
    vectors = {pooling: cache.load(pooling, cache.info["dtypes"][pooling]).tobytes() for pooling in cache.poolings}
    return cache.sample_ids.tolist(), cache.content_digests.tobytes(), cache.info["dtypes"], vectors, cache.quarantine


@pytest.mark.parametrize("in_publish", [False, True], ids=["anywhere", "in-publish"])
def test_a_killed_run_publishes_what_an_undisturbed_run_publishes(tmp_path, make_spec, cohort_of, in_publish) -> None:
    spec = make_spec(precision="bf16")
    small, grown = cohort_of(100), cohort_of(300)
    quiet, rough, small_one, copy = (tmp_path / name for name in ("quiet", "rough", "small", "copy"))
    before = small.publish(quiet, spec)
    for other in (rough, small_one):
        shutil.copytree(quiet, other)
    path = rough / before.path.relative_to(quiet)
    published = _read(EmbeddingCache.open(path))
    _write(quiet, spec, grown)
    expected = _read(EmbeddingCache.open(before.path))
    assert len(expected[0]) == 300

    draw, known = random.Random(20260 + in_publish), 100
    for _ in range(4):
        shutil.copytree(rough, copy)
        embedded, last = _write(copy, spec, grown)
        shutil.rmtree(copy)
        moment = draw.randint(embedded if in_publish else 1, last - 100)
        process = _FORK.Process(target=_write, args=(rough, spec, grown, moment))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        now = _read(EmbeddingCache.open(path))
        assert now in (published, expected), "the published file is neither the old one nor the new one"
        assert verify_cache(path) == []
        with CacheDraft.open(rough, "cohort", spec) as draft:
            count = len(draft.known())
        assert count >= known, "what was written to a segment has been lost"
        known = count
        if now == expected:  # once more from the start
            shutil.rmtree(rough)
            shutil.copytree(small_one, rough)
            known = 100
    _write(rough, spec, grown)
    assert _read(EmbeddingCache.open(path)) == expected
    assert verify_cache(path) == []
    assert list(path.parent.iterdir()) == [path], "a killed run has left something behind"


def test_a_kill_loses_at_most_the_segment_in_flight(tmp_path, spec, cohort_of) -> None:
    cohort = cohort_of(60)

    def write() -> None:
        draft = CacheDraft.open(tmp_path, "cohort", spec, segment_rows=20)
        cohort.embed(draft, range(50), batch=10)
        os.kill(os.getpid(), signal.SIGKILL)

    process = _FORK.Process(target=write)
    process.start()
    process.join()
    with CacheDraft.open(tmp_path, "cohort", spec) as draft:
        assert draft.missing(cohort.ids, cohort.stamps).tolist() == [False] * 40 + [True] * 20


def test_readers_see_the_old_file_while_a_new_one_is_made(tmp_path, spec, cohort_of) -> None:
    old = cohort_of(50).publish(tmp_path, spec)
    grown, seen = cohort_of(600), _FORK.Event()

    def write() -> None:
        with CacheDraft.open(tmp_path, "cohort", spec) as draft:
            grown.embed(draft)
            seen.wait()
            draft.publish(grown.ids, stamps=grown.stamps)

    process = _FORK.Process(target=write)
    process.start()
    counts = []
    while process.is_alive():
        cache = EmbeddingCache.open(old.path)
        try:
            rows, matrix = cache.rows_of(grown.ids[:50]), cache.load("cls")
        except CacheError:  # published in between: rows of one file are never taken for those of the other
            continue
        counts.append(len(cache))
        np.testing.assert_array_equal(matrix[rows], grown.vectors(np.arange(50))["cls"])
        seen.set()
    process.join()
    assert process.exitcode == 0
    assert set(counts) <= {50, 600}
    assert counts[0] == 50
    assert len(EmbeddingCache.open(old.path)) == 600


@pytest.mark.parametrize("before", [0, 30])
def test_a_kill_at_any_step_of_publishing_loses_nothing_and_leaves_nothing_behind(
    tmp_path, spec, cohort_of, killed_at_each_step, before
) -> None:
    cohort = cohort_of(40)

    def prepare() -> None:
        shutil.rmtree(tmp_path)
        tmp_path.mkdir()
        if before:
            cohort_of(before).publish(tmp_path, spec)

    expected = _read(cohort.publish(tmp_path, spec))
    for _ in killed_at_each_step(tmp_path, prepare, lambda: cohort.publish(tmp_path, spec)):
        cache = cohort.publish(tmp_path, spec)
        assert _read(cache) == expected
        assert [path.relative_to(tmp_path) for path in tmp_path.rglob("*.*")] == [cache.path.relative_to(tmp_path)]

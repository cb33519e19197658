"""A real process, really killed, again and again: nothing published is lost and the end is the same."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from medprobe.base import CacheError
from medprobe.cache import CacheDraft, EmbeddingCache, verify_cache

_FORK = multiprocessing.get_context("fork")  # no time goes into imports, so kills fall on the work itself


def _write(store: Path, spec, cohort, phase) -> None:
    """What an extraction does, a little slowed so that a kill can fall between any two steps."""
    with CacheDraft.open(store, "cohort", spec, segment_rows=24) as draft:
        todo = np.flatnonzero(draft.missing(cohort.ids, cohort.stamps))
        for start in range(0, len(todo), 8):
            rows = todo[start : start + 8]
            draft.append(*cohort.columns(rows), cohort.vectors(rows))
            time.sleep(0.004)
        draft.flush()
        phase.value = 1
        draft.publish(cohort.ids, stamps=cohort.stamps)
    phase.value = 2


def _run_and_kill(store: Path, spec, cohort, *, after_s: float, in_publish: bool) -> bool:
    """Starts the writer and kills it; True when it was killed at work, False when it had finished."""
    phase = _FORK.Value("i", 0)
    process = _FORK.Process(target=_write, args=(store, spec, cohort, phase))
    process.start()
    while in_publish and phase.value < 1 and process.is_alive():
        time.sleep(0.0002)
    time.sleep(after_s)
    if process.is_alive():
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    return process.exitcode == -signal.SIGKILL


def _read(cache: EmbeddingCache) -> tuple:
    vectors = {pooling: cache.load(pooling, cache.info["dtypes"][pooling]).tobytes() for pooling in cache.poolings}
    return cache.sample_ids.tolist(), cache.content_digests.tobytes(), cache.info["dtypes"], vectors, cache.quarantine


@pytest.mark.parametrize("in_publish", [False, True], ids=["anywhere", "in-publish"])
def test_a_killed_run_publishes_what_an_undisturbed_run_publishes(tmp_path, make_spec, cohort_of, in_publish) -> None:
    spec = make_spec(precision="bf16")
    small, grown = cohort_of(100), cohort_of(500)
    quiet, rough, small_one = tmp_path / "quiet", tmp_path / "rough", tmp_path / "small"
    before = small.publish(quiet, spec)
    for copy in (rough, small_one):
        shutil.copytree(quiet, copy)
    path = rough / before.path.relative_to(quiet)
    published = _read(EmbeddingCache.open(path))

    start = time.monotonic()
    phase = _FORK.Value("i", 0)
    _write(quiet, spec, grown, phase)
    whole_run_s = time.monotonic() - start
    longest = whole_run_s * (0.1 if in_publish else 0.3)
    expected = _read(EmbeddingCache.open(before.path))
    assert len(expected[0]) == 500

    draw, known, kills = random.Random(20260 + in_publish), 100, 0
    for _ in range(30):
        if kills == 6:
            break
        if not _run_and_kill(rough, spec, grown, after_s=draw.uniform(0, longest), in_publish=in_publish):
            assert _read(EmbeddingCache.open(path)) == expected
            shutil.rmtree(rough)  # it was quicker than the signal: once more from the start
            shutil.copytree(small_one, rough)
            known = 100
            continue
        kills += 1
        now = _read(EmbeddingCache.open(path))
        assert now in (published, expected), "the published file is neither the old one nor the new one"
        assert verify_cache(path) == []
        with CacheDraft.open(rough, "cohort", spec) as draft:
            count = len(draft.known())
        assert count >= known, "what was written to a segment has been lost"
        known = count
    assert kills >= 3
    _write(rough, spec, grown, phase)
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
    grown = cohort_of(600)
    stop = _FORK.Value("i", 0)
    process = _FORK.Process(target=_write, args=(tmp_path, spec, grown, stop))
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
        time.sleep(0.01)
    process.join()
    assert process.exitcode == 0
    assert set(counts) <= {50, 600}
    assert 50 in counts
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

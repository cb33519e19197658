"""Many processes and one cache: shards merge, twins and rival finalisers do no harm."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path

import numpy as np
from medprobe.cache import CacheDraft, EmbeddingCache, verify_cache
from medprobe.cache import publish as publishing

_FORK = multiprocessing.get_context("fork")


def _shard(store: Path, spec, cohort, rows, start) -> None:
    start.wait()
    with CacheDraft.open(store, "cohort", spec, segment_rows=15) as draft:
        cohort.embed(draft, rows, batch=5)
        if draft.is_complete(cohort.ids, cohort.stamps):
            draft.publish(cohort.ids, stamps=cohort.stamps)


def _run(store: Path, spec, cohort, parts) -> None:
    start = _FORK.Barrier(len(parts))
    processes = [_FORK.Process(target=_shard, args=(store, spec, cohort, rows, start)) for rows in parts]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * len(parts)


def _assert_whole(store: Path, cohort) -> None:
    [path] = (store / "cohort").iterdir()
    cache = EmbeddingCache.open(path)
    assert cache.sample_ids.tolist() == cohort.ids
    np.testing.assert_array_equal(cache.load("cls"), cohort.vectors(np.arange(len(cohort.ids)))["cls"])
    assert verify_cache(path) == []


def test_shards_at_work_at_once_merge_into_one_file_whichever_ends_last(tmp_path, spec, cohort_of) -> None:
    cohort = cohort_of(120)
    _run(tmp_path, spec, cohort, [np.arange(120)[i::3] for i in range(3)])
    _assert_whole(tmp_path, cohort)


def test_processes_given_the_same_shard_do_no_harm(tmp_path, spec, cohort_of) -> None:
    cohort = cohort_of(60)
    for _ in range(3):
        _run(tmp_path, spec, cohort, [np.arange(len(cohort.ids))] * 4)
        _assert_whole(tmp_path, cohort)
        cohort = cohort_of(len(cohort.ids) + 40)


def test_a_rival_that_publishes_between_plan_and_rename_is_taken_in(tmp_path, spec, cohort_of, monkeypatch) -> None:
    """As on a file system without locks: the rival's samples are in the file that wins."""
    ours, theirs = cohort_of(20), cohort_of(20, start=15)
    monkeypatch.setattr("medprobe.base.files.fcntl.flock", _no_locks)
    check = publishing.check_written
    rivals = [theirs]

    def check_and_be_overtaken(*args) -> None:
        check(*args)
        if rivals:
            rivals.pop().publish(tmp_path, spec)

    monkeypatch.setattr(publishing, "check_written", check_and_be_overtaken)
    cache = ours.publish(tmp_path, spec)
    assert set(cache.sample_ids) == {*ours.ids, *theirs.ids}
    assert verify_cache(cache.path) == []


def _no_locks(*_: object) -> None:
    raise OSError("no locks on this file system")


def test_a_finaliser_removes_only_the_segments_that_it_published(tmp_path, spec, cohort_of) -> None:
    cohort = cohort_of(30)
    with CacheDraft.open(tmp_path, "cohort", spec) as ours, CacheDraft.open(tmp_path, "cohort", spec) as theirs:
        cohort.embed(ours, range(20))
        ours.publish(cohort.ids[:20])
        cohort.embed(theirs, range(20, 30))  # its folder of segments is gone, and is made again
        theirs.flush()
        assert len(list(theirs.parts.glob("*.h5"))) == 1
        assert len(ours.publish(cohort.ids)) == 30


def test_a_segment_is_written_again_when_another_process_takes_its_temporary_file_for_dead(
    tmp_path, spec, cohort_of, monkeypatch
) -> None:
    from medprobe.base import files

    fsync, robbed = files.fsync, []

    def rob(path: Path) -> None:
        if path.suffix == ".h5" and not robbed:
            robbed.append(path)
            path.unlink()
        fsync(path)

    monkeypatch.setattr(files, "fsync", rob)
    cohort = cohort_of(10)
    with CacheDraft.open(tmp_path, "cohort", spec) as draft:
        cohort.embed(draft)
        draft.flush()
        assert robbed
        assert not draft.missing(cohort.ids, cohort.stamps).any()


def test_waiting_for_a_finaliser_ends_when_it_is_killed(tmp_path, spec, cohort_of) -> None:
    from medprobe.cache.locking import exclusive

    cohort = cohort_of(10)
    held = _FORK.Event()

    def hold() -> None:
        with exclusive(CacheDraft.open(tmp_path, "cohort", spec).parts / ".lock"):
            held.set()
            time.sleep(60)

    process = _FORK.Process(target=hold)
    process.start()
    held.wait()
    process.kill()
    process.join()
    assert len(cohort.publish(tmp_path, spec)) == 10


def test_one_draft_goes_on_after_publishing_nothing_new(tmp_path, spec, cohort_of) -> None:
    cohort = cohort_of(20)
    cohort_of(10).publish(tmp_path, spec)
    with CacheDraft.open(tmp_path, "cohort", spec) as draft:
        draft.append(
            *cohort.columns(np.arange(10)), cohort.vectors(np.arange(10))
        )  # as a twin would: a segment without news
        draft.publish(cohort.ids[:10], stamps=cohort.stamps[:10])
        assert not draft.parts.exists()
        cohort.embed(draft)
        draft.publish(cohort.ids, stamps=cohort.stamps)
    _assert_whole(tmp_path, cohort)


def test_what_is_not_flushed_yet_counts_as_content(tmp_path, spec, cohort_of) -> None:
    cohort = cohort_of(6)
    with CacheDraft.open(tmp_path, "cohort", spec) as draft:
        draft.append(*cohort.columns(np.arange(3)), cohort.vectors(np.arange(3)))
        assert draft.has_content(cohort.digests).tolist() == [True] * 3 + [False] * 3
        draft.refresh()
        assert draft.has_content(cohort.digests).tolist() == [True] * 3 + [False] * 3

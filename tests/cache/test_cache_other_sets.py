"""Vectors are found by the pixels, whatever data set and ids they were made under."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from medprobe.base import MedprobeWarning
from medprobe.cache import CacheDraft, EmbeddingCache, verify_cache


def _renamed(cohort):
    """The same pixels in another order, under other ids and stamps, as a second table of labels has them."""
    order = np.random.default_rng(0).permutation(len(cohort.ids))
    content = [cohort.content[row] for row in order]
    return type(cohort)([f"{row:016x}" for row in order], content, [number + 7 for number in content])


def _stored(cache: EmbeddingCache) -> dict[str, tuple[str, bytes]]:
    """Every dataset of a file, as its type and its bytes."""
    found = {}
    with h5py.File(cache.path) as file:
        file.visititems(
            lambda name, one: (
                found.update({name: (str(one.dtype), one[...].tobytes())}) if isinstance(one, h5py.Dataset) else None
            )
        )
    return found


def _publish(cohort, store: Path, spec, *, name: str, others: bool = True) -> tuple[EmbeddingCache, int]:
    """The published cache, and how many samples had to be embedded."""
    with CacheDraft.open(store, name, spec, segment_rows=16) as draft:
        rows = np.flatnonzero(draft.missing(cohort.ids, cohort.stamps))
        embedded = 0
        for start in range(0, len(rows), 10):
            new = rows[start : start + 10]
            if others:
                new = new[~draft.append_from_others(*cohort.columns(new))]
            draft.append(*cohort.columns(new), cohort.vectors(new))
            embedded += len(new)
        return draft.publish(cohort.ids, stamps=cohort.stamps), embedded


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_cache_made_through_another_is_the_one_that_is_made_alone(tmp_path, make_spec, cohort_of, precision) -> None:
    spec, cohort = make_spec(precision=precision), cohort_of(60)
    _publish(cohort, tmp_path / "store", spec, name="brain")
    same = _renamed(cohort)
    taken, embedded = _publish(same, tmp_path / "store", spec, name="survival")
    alone, _ = _publish(same, tmp_path / "alone", spec, name="survival")
    assert embedded == 0
    assert taken.info["dtypes"] == alone.info["dtypes"]
    assert _stored(taken) == _stored(alone)
    assert verify_cache(taken.path) == []
    shutil.rmtree(tmp_path / "store" / "brain")
    np.testing.assert_array_equal(taken.load("cls"), alone.load("cls"))


@pytest.mark.parametrize("values", [[[65536.0, 1.0]], [[3e-6, 1.0]]])
def test_what_float16_cannot_hold_stays_float32_through_another_set(tmp_path, make_spec, values) -> None:
    spec = make_spec(precision="bf16", poolings=("cls",))
    ids, digests = ["a", "b"], ["a" * 32, "b" * 32]
    vectors = {"cls": np.array([*values, [1.7e-6, 0.5]], np.float32)}
    with CacheDraft.open(tmp_path, "one", spec) as draft:
        draft.append(ids, digests, [1, 2], vectors)
        draft.publish(ids)
    with CacheDraft.open(tmp_path, "other", spec) as draft:
        assert draft.append_from_others(["x", "y"], digests, [3, 4]).all()
        cache = draft.publish(["x", "y"])
    assert cache.info["dtypes"] == {"cls": "float32"}
    assert cache.load("cls").tobytes() == vectors["cls"].tobytes()


def test_only_pixels_that_another_set_has_are_taken_and_counted_by_its_name(tmp_path, spec, cohort_of) -> None:
    _publish(cohort_of(20), tmp_path, spec, name="a set/1")
    _publish(cohort_of(20, start=15), tmp_path, spec, name="b")
    cohort = _renamed(cohort_of(50))
    with CacheDraft.open(tmp_path, "c", spec) as draft:
        found = draft.append_from_others(*cohort.columns(np.arange(50)))
        assert found.tolist() == [number < 35 for number in cohort.content]
        assert draft.taken == {"a set/1": 20, "b": 15}
        assert not draft.append_from_others([], [], []).any()


def test_a_cache_of_another_spec_or_of_the_set_itself_gives_nothing(tmp_path, make_spec, cohort_of) -> None:
    cohort = cohort_of(5)
    _publish(cohort, tmp_path, make_spec(precision="bf16"), name="brain")
    _publish(cohort, tmp_path, make_spec(), name="own")
    with CacheDraft.open(tmp_path, "own", make_spec()) as draft:
        assert not draft.append_from_others(*_renamed(cohort).columns(np.arange(5))).any()


def _replace(path: Path, spec, cohort) -> None:
    path.unlink()
    with CacheDraft.open(path.parent.parent, path.parent.name, spec) as draft:
        cohort.embed(draft, range(3))
        draft.publish(cohort.ids[:3])


def _alter(path: Path, name: str) -> None:
    with h5py.File(path, "r+") as file:
        file[name][1] = file[name][0]


def _flip(path: Path, name: str) -> None:
    with h5py.File(path) as file:
        place = file[name].id.get_chunk_info(0).byte_offset
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


_HARM: dict[str, Callable[[Path], object]] = {
    "deleted": Path.unlink,
    "cut": lambda path: os.truncate(path, path.stat().st_size // 2),
    "vectors": lambda path: _flip(path, "embedding/mean"),
    "vectors exchanged": lambda path: _alter(path, "embedding/cls"),
    "digests exchanged": lambda path: _alter(path, "content_digest"),
    "a pipe": lambda path: (path.unlink(), os.mkfifo(path)),
    "replaced": lambda _: None,
}


@pytest.mark.parametrize("when", ["before", "during"])
@pytest.mark.parametrize("harm", _HARM)
def test_one_that_is_damaged_or_goes_away_is_left_out_and_its_pixels_are_embedded(
    tmp_path, spec, cohort_of, harm, when
) -> None:
    cohort = cohort_of(40)
    brain, _ = _publish(cohort, tmp_path / "store", spec, name="brain")
    same = _renamed(cohort)

    def spoil() -> None:
        _replace(brain.path, spec, cohort) if harm == "replaced" else _HARM[harm](brain.path)

    with CacheDraft.open(tmp_path / "store", "survival", spec) as draft:
        first, rest = np.arange(10), np.arange(10, 40)
        if when == "during":
            assert draft.append_from_others(*same.columns(first)).all()
            spoil()
        else:
            spoil()
            draft.append(*same.columns(first), same.vectors(first))
        if when == "during" and harm == "digests exchanged":
            # The digests in memory are those of the whole file, and so are its vectors.
            found = draft.append_from_others(*same.columns(rest))
        elif harm in ("deleted", "replaced") and when == "before":
            found = draft.append_from_others(*same.columns(rest))
            assert found.sum() == sum(number < 3 for number in same.content[10:]) * (harm == "replaced")
        else:
            with pytest.warns(MedprobeWarning, match="brain/.* are not used"):
                found = draft.append_from_others(*same.columns(rest))
            assert not found.any()
            assert not draft.append_from_others(*same.columns(rest)).any()
        new = rest[~found]
        draft.append(*same.columns(new), same.vectors(new))
        cache = draft.publish(same.ids, stamps=same.stamps)
    alone, _ = _publish(same, tmp_path / "alone", spec, name="survival", others=False)
    assert _stored(cache) == _stored(alone)

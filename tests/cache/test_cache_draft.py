"""A draft embeds each picture once, forgets nothing, and publishes exactly the manifest's samples."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from medprobe.base import CacheError
from medprobe.cache import CacheDraft, EmbeddingCache, verify_cache


def _open(tmp_path, spec, **options) -> CacheDraft:
    return CacheDraft.open(tmp_path / "store", "cohort", spec, **options)


def _assert_holds(cache: EmbeddingCache, cohort) -> None:
    """Ids, digests and vectors are the cohort's, in its order."""
    assert cache.sample_ids.tolist() == cohort.ids
    assert [bytes(digest).hex() for digest in cache.content_digests] == cohort.digests
    for pooling, matrix in cohort.vectors(np.arange(len(cohort.ids))).items():
        np.testing.assert_array_equal(cache.load(pooling), matrix)
    assert verify_cache(cache.path) == []


def test_what_was_appended_is_what_is_published_in_the_manifests_order(tmp_path, spec, cohort_of) -> None:
    cohort = cohort_of(100)
    with _open(tmp_path, spec, segment_rows=16) as draft:
        cohort.embed(draft, np.random.default_rng(0).permutation(100))
        cache = draft.publish(cohort.ids, stamps=cohort.stamps, device="cpu", throughput={"images_per_s": 7.5})
    _assert_holds(cache, cohort)
    assert (cache.info["device"], cache.info["throughput"]) == ("cpu", {"images_per_s": 7.5})
    assert not draft.parts.exists()


def test_nothing_is_embedded_again_after_publishing_or_from_segments(tmp_path, spec, cohort_of) -> None:
    cohort = cohort_of(50)
    with _open(tmp_path, spec) as draft:
        assert cohort.embed(draft) == 50
    with _open(tmp_path, spec) as draft:
        assert cohort.embed(draft) == 0
        assert sorted(draft.known()) == sorted(cohort.ids)
        draft.publish(cohort.ids)
    with _open(tmp_path, spec) as draft:
        assert not draft.missing(cohort.ids, cohort.stamps).any()


def test_a_manifest_that_grew_embeds_only_what_is_new(tmp_path, spec, cohort_of) -> None:
    cohort_of(30).publish(tmp_path / "store", spec)
    grown = cohort_of(75)
    with _open(tmp_path, spec) as draft:
        assert grown.embed(draft) == 45
        _assert_holds(draft.publish(grown.ids, stamps=grown.stamps), grown)


def test_equal_pixels_are_embedded_once_whatever_they_are_called(tmp_path, spec, cohort_type) -> None:
    cohort = cohort_type(["a", "b", "c", "d", "e"], [5, 5, 6, 5, 6])
    with _open(tmp_path, spec) as draft:
        cohort.embed(draft, [0, 1, 2])  # one batch holds the same pixels twice
        assert cohort.embed(draft, [3, 4]) == 0
        draft.flush()
        stored = sum(_vectors_in(path) for path in draft.parts.glob("*.h5"))
        _assert_holds(draft.publish(cohort.ids), cohort)
    assert stored == 2


def _vectors_in(path) -> int:
    with h5py.File(path) as file:
        return len(file["vector_digest"])


def test_a_touched_file_is_decoded_again_but_not_embedded_again(tmp_path, spec, cohort_of) -> None:
    cohort = cohort_of(20)
    cohort.publish(tmp_path / "store", spec)
    cohort.stamps = [stamp + 1 for stamp in cohort.stamps]
    with _open(tmp_path, spec) as draft:
        assert draft.missing(cohort.ids, cohort.stamps).all()
        assert cohort.embed(draft) == 0
        _assert_holds(draft.publish(cohort.ids, stamps=cohort.stamps), cohort)
        assert not draft.missing(cohort.ids, cohort.stamps).any()


def test_a_changed_image_is_published_with_its_new_vector(tmp_path, spec, cohort_of) -> None:
    cohort = cohort_of(20)
    cohort.publish(tmp_path / "store", spec)
    cohort.content[3], cohort.stamps[3] = 999, 5
    with _open(tmp_path, spec) as draft:
        assert not draft.is_complete(cohort.ids, cohort.stamps)
        with pytest.raises(CacheError, match="1 of 20 samples are not embedded"):
            draft.publish(cohort.ids, stamps=cohort.stamps)
        assert cohort.embed(draft) == 1
        _assert_holds(draft.publish(cohort.ids, stamps=cohort.stamps), cohort)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(6)), batches=st.integers(1, 6), use_stamps=st.booleans())
def test_the_order_of_segments_never_changes_what_is_published(
    tmp_path_factory, make_spec, cohort_of, order, batches, use_stamps
) -> None:
    """Six shards of one cohort, written in any order and in any cut, give one file; old versions never win."""
    folder = tmp_path_factory.mktemp("order")
    cohort, before = cohort_of(18), cohort_of(18)
    before.content = [number + 500 for number in before.content]
    before.stamps = [stamp + 7 for stamp in before.stamps]
    with _open(folder, make_spec()) as draft:
        before.embed(draft, range(0, 18, 4))
        draft.flush()
        for shard in order:
            cohort.embed(draft, np.arange(18)[shard::6], batch=batches)
            draft.flush()
        _assert_holds(draft.publish(cohort.ids, stamps=cohort.stamps if use_stamps else None), cohort)


def test_with_stamps_the_current_source_wins_even_over_a_segment_that_is_newer(tmp_path, spec, cohort_of) -> None:
    now, before = cohort_of(4), cohort_of(4)
    before.content, before.stamps = [50, 51, 52, 53], [1, 2, 3, 4]
    with _open(tmp_path, spec) as draft:
        for version in (now, before):  # a machine whose clock is late writes the old version last
            version.embed(draft)
            draft.flush()
        _assert_holds(draft.publish(now.ids, stamps=now.stamps), now)


def test_a_cache_is_finished_when_publishing_would_leave_it_as_it_is(tmp_path, spec, cohort_of) -> None:
    cohort = cohort_of(20)
    with CacheDraft.open(tmp_path, "cohort", spec) as draft:
        assert draft.finished(cohort.ids, cohort.stamps) is None
        cohort.embed(draft)
        assert draft.finished(cohort.ids, cohort.stamps) is None, "it is in segments alone"
        cache = draft.publish(cohort.ids, stamps=cohort.stamps)
    with CacheDraft.open(tmp_path, "cohort", spec) as draft:
        assert draft.finished(cohort.ids, cohort.stamps) == cache
        assert draft.finished(cohort.ids[::-1], cohort.stamps[::-1]) is None, "the order counts"
        assert draft.finished(cohort.ids, [stamp + 1 for stamp in cohort.stamps]) is None, "the files have changed"
        assert draft.finished(cohort.ids[:-1], cohort.stamps[:-1]) == cache, "what else it has does no harm"
        draft.quarantine(["another"], [1], ["broken"])
        draft.publish([*cohort.ids, "another"], stamps=[*cohort.stamps, 1])
        assert draft.finished([*cohort.ids, "another"], [*cohort.stamps, 1]) is None, "a bad image is tried again"


def test_quarantined_samples_are_listed_and_left_out_and_tried_again(tmp_path, spec, cohort_of) -> None:
    cohort = cohort_of(10)
    good = [i for i in range(10) if i != 4]
    with _open(tmp_path, spec) as draft:
        cohort.embed(draft, good)
        assert not draft.is_complete(cohort.ids, cohort.stamps)
        draft.quarantine([cohort.ids[4]], [cohort.stamps[4]], ["truncated"])
        assert draft.is_complete(cohort.ids, cohort.stamps)
        cache = draft.publish(cohort.ids, stamps=cohort.stamps)
    assert cache.quarantine == {cohort.ids[4]: "truncated"}
    assert len(cache) == 9
    with pytest.raises(CacheError, match=r"1 could not be embedded.*truncated"):
        cache.rows_of(cohort.ids)
    with _open(tmp_path, spec) as draft:
        assert draft.missing(cohort.ids, cohort.stamps).tolist() == [i == 4 for i in range(10)]
        assert draft.quarantined(cohort.ids) == {cohort.ids[4]: "truncated"}
        cohort.embed(draft)
        cache = draft.publish(cohort.ids, stamps=cohort.stamps)
    _assert_holds(cache, cohort)
    assert cache.quarantine == {}


def test_an_image_that_went_bad_leaves_the_cache_with_its_reason(tmp_path, spec, cohort_of) -> None:
    cohort = cohort_of(6)
    cohort.publish(tmp_path / "store", spec)
    cohort.stamps[2] = 99
    for stamps in (cohort.stamps, None):
        with _open(tmp_path, spec) as draft:
            draft.quarantine([cohort.ids[2]], [99], ["zero bytes"])
            cache = draft.publish(cohort.ids, stamps=stamps)
        assert cache.quarantine == {cohort.ids[2]: "zero bytes"}
        assert len(cache) == 5


def test_a_second_run_without_news_leaves_the_file_alone_even_with_a_bad_image(tmp_path, spec, cohort_of) -> None:
    cohort = cohort_of(8)
    for _ in range(2):
        with _open(tmp_path, spec) as draft:
            cohort.embed(draft, range(7))
            draft.quarantine([cohort.ids[7]], [cohort.stamps[7]], ["not an image"])
            cache = draft.publish(cohort.ids, stamps=cohort.stamps)
        first = locals().get("first") or cache.path.stat()
        assert cache.path.stat().st_mtime_ns == first.st_mtime_ns
        assert not draft.parts.exists()


def test_a_smaller_manifest_of_the_same_name_loses_nothing(tmp_path, spec, cohort_of) -> None:
    whole, part = cohort_of(40), cohort_of(10, start=5)
    whole.publish(tmp_path / "store", spec)
    cache = part.publish(tmp_path / "store", spec)
    rows = cache.rows_of(part.ids)
    np.testing.assert_array_equal(cache.load("cls")[rows], part.vectors(np.arange(10))["cls"])
    assert set(cache.sample_ids) == set(whole.ids)
    with _open(tmp_path, spec) as draft:
        assert not draft.missing(whole.ids, whole.stamps).any()


def test_two_manifests_of_one_name_share_a_file_and_their_unfinished_work(tmp_path, spec, cohort_of) -> None:
    one, other = cohort_of(12), cohort_of(12, start=8)
    with _open(tmp_path, spec) as draft:
        other.embed(draft, range(12))
    cache = one.publish(tmp_path / "store", spec)
    assert cache.sample_ids.tolist() == one.ids + other.ids[4:]
    assert other.publish(tmp_path / "store", spec).path.stat().st_mtime_ns == cache.path.stat().st_mtime_ns


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(6)), content=st.lists(st.integers(0, 7), min_size=6, max_size=6))
def test_each_row_keeps_its_vector_in_any_order_and_with_equal_pixels(
    tmp_path_factory, make_spec, cohort_of, cohort_type, order, content
) -> None:
    """A manifest in another order, of images some of which were replaced by copies of others."""
    folder = tmp_path_factory.mktemp("order")
    cohort = cohort_of(6)
    cohort.publish(folder, make_spec())
    changed = cohort_type([cohort.ids[i] for i in order], [content[i] for i in order])
    cache = changed.publish(folder, make_spec())
    _assert_holds(cache, changed)
    for rows in (np.array(order), np.array(content) % 6):
        np.testing.assert_array_equal(cache.load("cls", rows=rows), cache.load("cls")[rows])


def test_two_rows_that_change_places_keep_their_vectors(tmp_path, spec, cohort_of, cohort_type) -> None:
    cohort = cohort_of(10)
    cohort.publish(tmp_path / "store", spec)
    order = [0, 1, 2, 3, 5, 4, 6, 7, 8, 9]
    swapped = cohort_type(*([values[i] for i in order] for values in (cohort.ids, cohort.content, cohort.stamps)))
    _assert_holds(swapped.publish(tmp_path / "store", spec), swapped)


def test_an_image_that_becomes_a_copy_of_another_gets_its_vector(tmp_path, spec, cohort_of) -> None:
    cohort = cohort_of(10)
    cohort.publish(tmp_path / "store", spec)
    cohort.content[5], cohort.stamps[5] = cohort.content[4], 7
    _assert_holds(cohort.publish(tmp_path / "store", spec), cohort)


def test_publishing_is_refused_while_samples_are_missing_and_says_how_many(tmp_path, spec, cohort_of) -> None:
    cohort = cohort_of(10)
    with _open(tmp_path, spec) as draft:
        cohort.embed(draft, range(7))
        with pytest.raises(CacheError, match=r"3 of 10 samples are not embedded \(e.g. 'images/é 0007.png'"):
            draft.publish(cohort.ids, stamps=cohort.stamps)
    assert not draft.path.exists()
    assert draft.parts.exists()


def test_a_set_without_one_good_image_is_not_published(tmp_path, spec) -> None:
    with _open(tmp_path, spec) as draft:
        draft.quarantine(["a", "b"], [1, 2], ["zero bytes", "truncated"])
        with pytest.raises(CacheError, match=r"none of the 2 samples could be embedded.*zero bytes"):
            draft.publish(["a", "b"])


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([[1.0, 0.3], [-65504.0, 1e-7]], "float16"),  # tiny beside ordinary values of its column: below bf16's noise
        ([[0.0, 0.5], [0.0, 0.25]], "float16"),
        ([[1.0, 0.5], [65536.0, 0.5]], "float32"),
        ([[1.0, 3e-6], [2.0, 1.7e-6]], "float32"),  # a column that float16 would keep to two digits
        ([[1.0, 0.0], [2.0, 2.0**-24]], "float16"),  # small but exact
    ],
)
def test_bf16_embeddings_are_stored_as_float16_where_nothing_is_lost(tmp_path, make_spec, values, dtype) -> None:
    spec = make_spec(precision="bf16", poolings=("cls", "ok"))
    values = np.array(values, dtype=np.float32)
    # the 0.3 stands beside 1e-7, so that the column as a whole decides
    with _open(tmp_path, spec) as draft:
        draft.append(["a", "b"], ["a" * 32, "b" * 32], [1, 2], {"cls": values, "ok": np.ones((2, 3), np.float32)})
        cache = draft.publish(["a", "b"])
    assert cache.info["dtypes"] == {"cls": dtype, "ok": "float16"}
    np.testing.assert_array_equal(cache.load("cls"), values.astype(dtype).astype(np.float32))
    assert verify_cache(cache.path) == []


def test_fp32_embeddings_keep_every_bit(tmp_path, spec) -> None:
    values = np.array([[1e-40, 3.4e38], [np.pi, -0.0]], dtype=np.float32)
    with _open(tmp_path, spec) as draft:
        draft.append(["a", "b"], ["a" * 32, "b" * 32], [2**64 - 1, 0], {"cls": values, "mean": values})
        cache = draft.publish(["a", "b"], stamps=[2**64 - 1, 0])
    assert cache.load("cls").tobytes() == values.tobytes()


def test_what_cannot_be_right_is_refused_before_it_is_stored(tmp_path, spec) -> None:
    good = {"cls": np.ones((2, 24), np.float32), "mean": np.ones((2, 7), np.float32)}
    bad = {**good, "mean": np.array([[1] * 7, [np.nan] * 7], np.float32)}
    ids, digests = ["a", "b"], ["a" * 32, "b" * 32]
    with _open(tmp_path, spec) as draft:
        with pytest.raises(CacheError, match=r"mean of 1 samples is not finite, e.g. of 'b'"):
            draft.append(ids, digests, [1, 2], bad)
        with pytest.raises(CacheError, match="takes the poolings cls, mean; got cls"):
            draft.append(ids, digests, [1, 2], {"cls": good["cls"]})
        with pytest.raises(ValueError, match="expected a matrix with 2 rows"):
            draft.append(ids, digests, [1, 2], {**good, "mean": np.ones((3, 7))})
        with pytest.raises(ValueError, match="32 hexadecimal digits"):
            draft.append(ids, ["a", "b"], [1, 2], good)
        with pytest.raises(ValueError, match="have no vector yet"):
            draft.append_known(ids, digests, [1, 2])
        draft.append(ids, digests, [1, 2], good)
        with pytest.raises(CacheError, match="vectors of 8 values now and of 7"):
            draft.append(["c"], ["c" * 32], [3], {"cls": np.ones((1, 24)), "mean": np.ones((1, 8))})
        with pytest.raises(CacheError, match="must be unique; twice or more: 'a'"):
            draft.publish(["a", "b", "a"])
        assert draft.publish(ids).sample_ids.tolist() == ids


def test_ids_of_any_script_and_length_come_back(tmp_path, spec, cohort_type) -> None:
    ids = ["", " ", "ä/ö.png", "脳#3", "x" * 3000, "a\0b", "tab\tand\nline"]
    cohort = cohort_type(ids, list(range(len(ids))))
    _assert_holds(cohort.publish(tmp_path / "store", spec), cohort)


def test_an_id_that_cannot_be_stored_is_refused_at_once_and_spoils_nothing(
    tmp_path, spec, cohort_of, cohort_type
) -> None:
    cohort = cohort_of(4)
    with _open(tmp_path, spec) as draft:
        cohort.embed(draft)
        for odd in ("a\0", "half a pair \ud800"):
            with pytest.raises(CacheError, match=r"sample id .* rename the sample"):
                draft.quarantine([odd], [1], ["x"])
            with pytest.raises(CacheError, match=r"sample id .* rename the sample"):
                cohort_type([odd], [77]).embed(draft)
        draft.quarantine(["bad"], [1], ["a header \0 of \ud800 nonsense"])
        assert draft.publish([*cohort.ids, "bad"]).quarantine == {"bad": "a header ? of ? nonsense"}


def test_a_segment_is_written_after_so_many_rows_or_seconds(tmp_path, spec, cohort_of) -> None:
    cohort = cohort_of(30)
    draft = _open(tmp_path, spec, segment_rows=10, segment_seconds=1e9)
    cohort.embed(draft, range(25), batch=5)
    assert len(list(draft.parts.glob("*.h5"))) == 2
    draft = _open(tmp_path, spec, segment_rows=10**9, segment_seconds=0.0)
    cohort.embed(draft, range(20, 30), batch=5)
    assert len(list(draft.parts.glob("*.h5"))) == 4

"""No half-written, altered or foreign file is ever trusted, and every message says what to do."""

from __future__ import annotations

import os
import random
import re
import shutil
from contextlib import chdir, suppress
from itertools import product
from pathlib import Path

import h5py
import numpy as np
import pytest
from medprobe.base import CacheError, MedprobeWarning
from medprobe.base.files import temporary_path
from medprobe.cache import CacheDraft, EmbeddingCache, find_caches, verify_cache
from medprobe.cache.index import as_digests
from medprobe.cache.verify import verify_segment


@pytest.fixture(scope="module")
def sound(tmp_path_factory, make_spec, cohort_of) -> EmbeddingCache:
    return cohort_of(300).publish(tmp_path_factory.mktemp("sound"), make_spec())


@pytest.fixture
def published(tmp_path, sound) -> EmbeddingCache:
    """A copy of `sound`, to be damaged."""
    return EmbeddingCache.open(shutil.copytree(sound.path.parent, tmp_path / "store/cohort") / sound.path.name)


def _refused(path: Path, match: str) -> None:
    """Opening, verifying, finding and adding to the file all say so."""
    with pytest.raises(CacheError, match=match):
        EmbeddingCache.open(path)
    assert any(np.char.find(problem, "Traceback") < 0 for problem in verify_cache(path))
    assert verify_cache(path)


@pytest.mark.parametrize("keep", [0, 1, 7, 100, 2000, -1, -5000])
def test_a_truncated_cache_is_refused(published, make_spec, keep) -> None:
    data = published.path.read_bytes()
    published.path.write_bytes(data[:keep])
    _refused(published.path, r"damaged or not a cache.*Move it away")
    with pytest.raises(CacheError, match="damaged or not a cache"):
        CacheDraft.open(published.path.parent.parent, "cohort", make_spec())
    with pytest.raises(CacheError, match="damaged or not a cache"):
        find_caches(published.path.parent.parent, "cohort")


def test_what_is_no_hdf5_is_refused(published) -> None:
    published.path.write_text("backbone,value\n" * 100)
    _refused(published.path, "damaged or not a cache")
    published.path.unlink()
    _refused(published.path, "does not exist")
    published.path.mkdir()
    _refused(published.path, str(published.path))


def test_hdf5_of_something_else_is_refused(published) -> None:
    with h5py.File(published.path, "w") as file:
        file["x"] = 1
    _refused(published.path, "damaged or not a cache")


def test_a_flipped_byte_anywhere_is_noticed_or_changes_nothing(published) -> None:
    """Every value that a reader can get is the one that was written, or there is a message."""
    data = published.path.read_bytes()
    expected = (published.sample_ids.tolist(), published.load("cls").tobytes(), published.load("mean").tobytes())
    draw = random.Random(5)
    noticed = 0
    for _ in range(150):
        flipped = bytearray(data)
        flipped[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        published.path.write_bytes(flipped)
        problems = verify_cache(published.path)
        noticed += bool(problems)
        try:
            cache = EmbeddingCache.open(published.path)
            read = (cache.sample_ids.tolist(), cache.load("cls").tobytes(), cache.load("mean").tobytes())
        except CacheError:
            assert problems
            continue
        assert read == expected
        assert cache.spec == published.spec
        assert {**cache.info, "bytes": 0} == {**published.info, "bytes": 0}
    assert noticed > 100


def _with_attribute(path: Path, name: str, value: object) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs[name] = value


def test_another_schema_says_which_is_there_and_which_is_read(published) -> None:
    _with_attribute(published.path, "schema", 3)
    _refused(published.path, "has schema 3; .* reads 2. Update medprobe")
    _with_attribute(published.path, "schema", 1)
    _refused(published.path, "has schema 1; .* reads 2. An older medprobe wrote it; move the file away")


def test_a_cache_under_a_name_that_is_not_its_own_is_refused(published, make_spec) -> None:
    other = published.path.with_name(f"x--{make_spec(precision='bf16').fingerprint}.h5")
    shutil.copy(published.path, other)
    _refused(
        other,
        rf"is not what its name says.* hf_facebook_dinov2-base--{published.spec.fingerprint}.h5",
    )
    with pytest.raises(CacheError, match="is not what its name says"):
        find_caches(published.path.parent.parent, "cohort")


def test_an_altered_spec_is_noticed(published) -> None:
    _with_attribute(published.path, "spec", published.spec.to_json().replace("bicubic", "bilinear"))
    _refused(published.path, "is not what its name says")


def test_a_cache_of_another_data_set_is_not_added_to(published, make_spec, tmp_path) -> None:
    folder = tmp_path / "store" / "other"
    shutil.copytree(published.path.parent, folder)
    with pytest.raises(CacheError, match='is the cache of the data set "cohort", not of "other"'):
        CacheDraft.open(tmp_path / "store", "other", make_spec())


def _reverse(name: str):
    def alter(file: h5py.File) -> None:
        file[name][...] = file[name][:][::-1]

    return alter


def _first(name: str, value: object):
    def alter(file: h5py.File) -> None:
        file[name][0] = value

    return alter


def _swap_poolings(file: h5py.File) -> None:
    file.move("embedding/mean", "embedding/x")
    file.move("embedding/cls", "embedding/mean")
    file.move("embedding/x", "embedding/cls")


_ALTERED = {
    "ids in another order": _reverse("sample_id"),
    "an id twice": lambda file: _first("sample_id", file["sample_id"][1])(file),
    "pixels in another order": _reverse("content_digest"),
    "another stamp": _first("source_stamp", 7),
    "another reason of a quarantine": _first("quarantine/reason", b"none"),
    "vectors in another order": _reverse("embedding/cls"),
    "other images of the training": _reverse("trained_on"),
    "other checksums": _reverse("seal/cls"),
    "a value that is not finite": _first("embedding/mean", np.inf),
    "two matrices exchanged": _swap_poolings,
    "another device": lambda file: file.attrs.__setitem__("device", "an abacus"),
    "another data set": lambda file: file.attrs.__setitem__("dataset", "lesions"),
    "no seal": lambda file: file.attrs.__delitem__("seal"),
    "no checksums": lambda file: file.__delitem__("seal/cls"),
}


@pytest.fixture(scope="module")
def large(tmp_path_factory, make_spec, cohort_of) -> EmbeddingCache:
    """Vectors of more than one chunk, and an image that could not be embedded."""
    cohort = cohort_of(6000)
    with CacheDraft.open(tmp_path_factory.mktemp("large"), "cohort", make_spec()) as draft:
        cohort.embed(draft, range(5999))
        draft.quarantine(cohort.ids[5999:], cohort.stamps[5999:], ["cut off"])
        return draft.publish(cohort.ids, stamps=cohort.stamps, trained_on=as_digests(cohort.digests[:9]))


@pytest.mark.parametrize("alter", _ALTERED.values(), ids=_ALTERED.keys())
def test_what_was_altered_under_valid_checksums_is_refused_by_readers_and_by_verify(large, tmp_path, alter) -> None:
    path = tmp_path / large.path.name
    shutil.copy(large.path, path)
    cache = EmbeddingCache.open(path)
    for rows in (np.arange(5999), np.arange(5999)[::-7], np.array([3])):
        np.testing.assert_array_equal(cache.load("cls", rows=rows), large.load("cls")[rows])
    with h5py.File(path, "r+") as file:
        alter(file)
    assert verify_cache(path)
    for rows in (None, np.arange(5999)[::-7], np.array([0])):
        with pytest.raises(CacheError, match=r"is damaged .* Move it away and run the extraction again"):
            _read(path, rows)


def _read(path: Path, rows: np.ndarray | None) -> None:
    cache = EmbeddingCache.open(path)
    cache.rows_of(["images/é 0004.png"])
    assert cache.trained_on.sum() == 9
    for pooling in cache.poolings:
        cache.load(pooling, rows=rows)


def _external_link(file: h5py.File, name: str) -> None:
    file.copy(name, other := h5py.File(f"{file.filename}.other", "w"), name="x")
    other.close()
    del file[name]
    file[name] = h5py.ExternalLink(f"{file.filename}.other", "x")


def _soft_link(file: h5py.File, name: str) -> None:
    file.move(name, "elsewhere")
    file[name] = h5py.SoftLink("/elsewhere")


def _virtual(file: h5py.File, name: str) -> None:
    found = file[name]
    layout = h5py.VirtualLayout(found.shape, found.dtype)
    layout[...] = h5py.VirtualSource(found)
    file.move(name, "elsewhere")
    file.create_virtual_dataset(name, layout)


def _external_storage(file: h5py.File, name: str) -> None:
    values = file[name][...]
    Path(f"{file.filename}.raw").write_bytes(values.tobytes())
    del file[name]
    file.create_dataset(name, values.shape, values.dtype, external=[(f"{file.filename}.raw", 0, values.nbytes)])


_LED_AWAY = [
    *product(
        [_external_link, _soft_link],
        ["embedding", "embedding/cls", "sample_id", "seal/mean", "quarantine/reason", "spare"],
    ),
    *product([_virtual, _external_storage], ["embedding/cls", "sample_id", "seal/mean"]),
]


@pytest.mark.parametrize(("lead_away", "name"), _LED_AWAY)
def test_a_cache_whose_values_lie_elsewhere_is_refused_on_opening(published, lead_away, name) -> None:
    with h5py.File(published.path, "r+", libver=("v110", "v110")) as file:
        file["spare"] = np.arange(3)
        lead_away(file, name)
    _refused(published.path, "is a link, whose target|has its values outside the file")


@pytest.mark.parametrize("lead_away", [_virtual, _external_storage])
@pytest.mark.parametrize("name", ["content_digest", "quarantine/reason"])
def test_values_elsewhere_that_opening_does_not_read_are_refused_where_they_are_read(
    published, lead_away, name
) -> None:
    with h5py.File(published.path, "r+", libver=("v110", "v110")) as file:
        lead_away(file, name)
    cache = EmbeddingCache.open(published.path)
    with pytest.raises(CacheError, match="has its values outside the file"):
        cache.rows_of(["images/é 0004.png"])
    assert verify_cache(published.path)


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as opened, chdir(path.parent):
        opened.bind(path.name)


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [_pipe, _socket, _device, Path.mkdir])
def test_what_is_not_a_regular_file_is_refused_without_waiting(published, make) -> None:
    published.path.unlink()
    make(published.path)
    _refused(published.path, "is not a regular file; move it away")


@pytest.mark.parametrize("alter", [_reverse("embedding/cls"), _reverse("vector_digest"), _reverse("sample_id")])
def test_an_altered_segment_is_set_aside(tmp_path, spec, cohort_of, alter) -> None:
    cohort = cohort_of(30)
    with CacheDraft.open(tmp_path, "cohort", spec) as draft:
        cohort.embed(draft)
    [segment] = draft.parts.glob("*.h5")
    with h5py.File(segment, "r+") as file:
        alter(file)
    assert verify_segment(segment)

    def publish() -> EmbeddingCache:
        draft = CacheDraft.open(tmp_path, "cohort", spec)
        with suppress(CacheError):
            draft.publish(cohort.ids)
        cohort.embed(draft)
        return draft.publish(cohort.ids)

    with pytest.warns(UserWarning, match="set aside"):
        cache = publish()
    np.testing.assert_array_equal(cache.load("cls"), cohort.vectors(np.arange(30))["cls"])


def test_a_damaged_segment_is_set_aside_and_only_its_samples_are_embedded_again(tmp_path, spec, cohort_of) -> None:
    cohort = cohort_of(60)
    with CacheDraft.open(tmp_path, "cohort", spec, segment_rows=20) as draft:
        cohort.embed(draft, batch=20)
    truncated = sorted(draft.parts.glob("*.h5"))[1]
    truncated.write_bytes(truncated.read_bytes()[:-100])
    with pytest.warns(UserWarning, match="damaged .* set aside and its samples will be embedded again"):
        draft = CacheDraft.open(tmp_path, "cohort", spec)
    assert truncated.with_name(f"{truncated.name}.damaged").exists()
    assert cohort.embed(draft) == 20
    assert len(draft.publish(cohort.ids)) == 60
    assert not draft.parts.exists()


def test_a_flipped_byte_among_a_segments_vectors_is_found_before_publishing(tmp_path, spec, cohort_of) -> None:
    cohort = cohort_of(60)
    with CacheDraft.open(tmp_path, "cohort", spec, segment_rows=20) as draft:
        cohort.embed(draft, batch=20)
        path = sorted(draft.parts.glob("*.h5"))[2]
        data = path.read_bytes()
        value = cohort.vectors(np.array([50]))["cls"].tobytes()
        path.write_bytes(data.replace(value, value[:-1] + bytes([value[-1] ^ 4])))
        assert not draft.missing(cohort.ids, cohort.stamps).any()
        with (
            pytest.warns(UserWarning, match="set aside"),
            pytest.raises(CacheError, match="20 of 60 samples are not embedded"),
        ):
            draft.publish(cohort.ids)
        assert cohort.embed(draft) == 20
        cache = draft.publish(cohort.ids)
    np.testing.assert_array_equal(cache.load("cls"), cohort.vectors(np.arange(60))["cls"])


def test_all_segments_with_damaged_vectors_are_set_aside_together(tmp_path, spec, cohort_of) -> None:
    cohort = cohort_of(60)
    with CacheDraft.open(tmp_path, "cohort", spec, segment_rows=6) as draft:
        cohort.embed(draft, batch=6)
        paths = sorted(draft.parts.glob("*.h5"))
        for path in paths:
            with h5py.File(path) as file:
                place = file["embedding/mean"].id.get_chunk_info(0).byte_offset
            data = bytearray(path.read_bytes())
            data[place + 3] ^= 1
            path.write_bytes(data)
        with pytest.warns(MedprobeWarning, match="set aside"), pytest.raises(CacheError, match="60 of 60 samples"):
            draft.publish(cohort.ids)
        assert len(list(draft.parts.glob("*.damaged"))) == len(paths) == 10
        assert cohort.embed(draft) == 60
        assert len(draft.publish(cohort.ids)) == 60
    assert not draft.parts.exists()


def test_what_a_dead_process_left_is_swept_and_what_a_living_one_writes_is_not(tmp_path, spec, cohort_of) -> None:
    cache = cohort_of(5).publish(tmp_path, spec)
    with temporary_path(cache.path) as living:
        dead = living.with_name(re.sub("[0-9a-f]{6}[.]tmp", "012abc.tmp", living.name))
        dead.touch()
        CacheDraft.open(tmp_path, "cohort", spec)
        assert living.exists()
    assert not dead.exists()

"""Records: files that each name one cache of a shared folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from medprobe.base import CacheError
from medprobe.cache import EmbeddingCache, read_records, write_record
from medprobe.manifests import DatasetCard, Manifest


@pytest.fixture(scope="module")
def both_precisions(tmp_path_factory, make_spec, cohort_of) -> Path:
    """Two caches of one backbone."""
    folder = tmp_path_factory.mktemp("store")
    for precision in ("fp32", "bf16"):
        cohort_of(12).publish(folder, make_spec(precision=precision), device="cpu")
    return folder


@pytest.fixture
def store(tmp_path: Path, both_precisions: Path) -> Path:
    return shutil.copytree(both_precisions, tmp_path / "store")


@pytest.fixture
def caches(store: Path) -> list[EmbeddingCache]:
    return [EmbeddingCache.open(path) for path in sorted((store / "cohort").glob("*.h5"))]


@pytest.fixture
def cohort(cohort_of) -> Manifest:
    """The manifest of the caches."""
    table = pd.DataFrame({"sample_id": cohort_of(12).ids, "path": "a.png", "label": ["no", "yes"] * 6})
    return Manifest(table, DatasetCard(name="cohort", task="binary", classes=["no", "yes"]))


def test_records_give_exactly_the_caches_they_were_written_of(store, cohort, caches, tmp_path) -> None:
    for number, cache in enumerate(caches):
        write_record(cache, cohort, tmp_path / f"{number}.json")
    paths = [tmp_path / "0.json", tmp_path / "1.json"]
    assert read_records(paths[:1], store, cohort) == caches[:1]
    assert read_records([*reversed(paths), *paths], store, cohort) == caches  # each once, in one order
    record = json.loads(paths[0].read_text())
    assert record["cache"] == f"cohort/{caches[0].path.name}"
    assert str(tmp_path) not in paths[0].read_text()


def test_the_records_of_a_store_that_was_moved_are_still_valid(store, cohort, caches, tmp_path) -> None:
    write_record(caches[0], cohort, tmp_path / "record.json")
    store.rename(tmp_path / "moved")
    [cache] = read_records([tmp_path / "record.json"], tmp_path / "moved", cohort)
    assert cache.spec == caches[0].spec


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "is not a record of a cache .No such file"),
        ("{", "is not a record of a cache"),
        ("[" * 100_000, "is not a record of a cache"),
        ("[]", "is not a record of a cache"),
        ('{"kind": "medprobe run"}', "is not a record of a cache"),
        ({"schema": 1}, "of another version"),
        ('{"kind": "medprobe cache record", "schema": 3}', "is not a record of a cache"),
        ({"cache": "cohort/gone.h5"}, "names the cache cohort/gone.h5, which is not in"),
        ({"images": "0" * 32}, "held other images of cohort"),
    ],
)
def test_a_record_that_cannot_be_used_is_one_error_that_names_it(
    store, cohort, caches, tmp_path, text, message
) -> None:
    path = tmp_path / "record.json"
    if isinstance(text, dict):
        write_record(caches[0], cohort, path)
        text = json.dumps(json.loads(path.read_text()) | text)
    if text is not None:
        path.write_text(text)
    with pytest.raises(CacheError, match=message) as error:
        read_records([path], store, cohort)
    assert str(error.value).startswith(f"{path}: ")


def test_a_record_of_another_data_set_is_refused(store, cohort, caches, tmp_path) -> None:
    other = Manifest(cohort.table, cohort.card.model_copy(update={"name": "other"}))
    write_record(caches[0], cohort, tmp_path / "record.json")
    with pytest.raises(CacheError, match='is a record of the data set "cohort", not of "other"'):
        read_records([tmp_path / "record.json"], store, other)


def test_a_folder_is_not_a_record(store, cohort, tmp_path) -> None:
    with pytest.raises(CacheError, match="is not a record"):
        read_records([tmp_path], store, cohort)


def test_a_record_is_of_its_images_whatever_else_the_cache_holds(store, caches, cohort, cohort_type, tmp_path) -> None:
    path = tmp_path / "record.json"
    write_record(caches[0], cohort, path)
    more = cohort_type.of(20)
    more.publish(store, caches[0].spec)
    shuffled = Manifest(cohort.table.iloc[::-1], cohort.card)
    assert read_records([path], store, shuffled)[0].sample_ids.tolist() == more.ids

    other = cohort_type(more.ids[:12], list(range(30, 42)))  # other images under the same ids
    other.publish(store, caches[0].spec)
    with pytest.raises(CacheError, match="another data set of this name was embedded"):
        read_records([path], store, cohort)

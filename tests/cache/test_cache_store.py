"""Reading published caches, and finding them."""

from __future__ import annotations

import pickle
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from medprobe.base import CacheError
from medprobe.cache import CacheDraft, default_store, find_caches
from medprobe.cache.spec import safe_name
from medprobe.manifests import Manifest


def test_a_whole_matrix_is_loaded_in_any_float_type(tmp_path, make_spec, cohort_of) -> None:
    cohort = cohort_of(50)
    expected = cohort.vectors(np.arange(50))["cls"]
    for precision in ("fp32", "bf16"):
        cache = cohort.publish(tmp_path, make_spec(precision=precision))
        kept = expected if precision == "fp32" else expected.astype(np.float16)
        for dtype in (np.float16, np.float32, np.float64):
            matrix = cache.load("cls", dtype=dtype)
            assert matrix.dtype == dtype
            assert matrix.flags.c_contiguous
            np.testing.assert_array_equal(matrix, kept.astype(dtype))


def test_rows_are_loaded_in_the_order_wanted_and_to_the_place_given(tmp_path, make_spec, cohort_of) -> None:
    cohort = cohort_of(9000)  # several windows of the file
    rng = np.random.default_rng(0)
    for precision in ("fp32", "bf16"):
        cache = cohort.publish(tmp_path, make_spec(precision=precision))
        whole = cache.load("cls")
        for rows in (rng.permutation(9000), np.array([8999, 0, 0, 5]), np.empty(0, np.int64), np.arange(9000)):
            place = np.full((len(rows) + 2, whole.shape[1]), np.nan, np.float32)
            got = cache.load("cls", rows=rows, out=place[1:-1])
            np.testing.assert_array_equal(got, whole[rows])
            np.testing.assert_array_equal(cache.load("cls", rows=rows), whole[rows])
            assert np.shares_memory(got, place) or not len(rows)
            assert np.isnan(place[[0, -1]]).all()
    with pytest.raises(ValueError, match="out has the shape"):
        cache.load("cls", rows=np.arange(3), out=np.empty((4, whole.shape[1]), np.float32))


def test_an_unknown_pooling_lists_those_there_are(tmp_path, spec, cohort_of) -> None:
    cache = cohort_of(3).publish(tmp_path, spec)
    with pytest.raises(CacheError, match=r'no pooling "means"; it has cls, mean. Did you mean "mean"\?'):
        cache.load("means")


def test_rows_are_found_in_any_order_and_absent_samples_are_counted(tmp_path, spec, cohort_of) -> None:
    cohort = cohort_of(30)
    cache = cohort.publish(tmp_path, spec)
    order = [29, 3, 3, 17]
    rows = cache.rows_of([cohort.ids[i] for i in order])
    assert rows.dtype == np.int64
    assert rows.tolist() == order
    assert len(cache.rows_of([])) == 0
    command = "run `medprobe extract .* --backbone hf:facebook/dinov2-base --pooling cls --pooling mean .* --resize 256"
    with pytest.raises(CacheError, match=f"5 of 35 samples .* {command}"):
        cache.rows_of(cohort_of(35).ids)


def test_a_cache_pickles_small_and_reads_after(tmp_path, spec, cohort_of) -> None:
    cache = cohort_of(2000).publish(tmp_path, spec)
    cache.rows_of(cache.sample_ids)
    sent = pickle.dumps(cache)
    assert len(sent) < 4000
    back = pickle.loads(sent)
    assert back == cache
    assert hash(back) == hash(cache)
    np.testing.assert_array_equal(back.load("mean"), cache.load("mean"))


def test_rows_of_an_older_publication_are_never_used_on_a_newer_one(tmp_path, spec, cohort_of) -> None:
    cache = cohort_of(10, start=5).publish(tmp_path, spec)
    rows = cache.rows_of(cache.sample_ids)
    cohort_of(15).publish(tmp_path, spec)
    with pytest.raises(CacheError, match="published again since it was opened"):
        cache.load("cls")[rows]


def test_the_layout_is_the_documented_one(tmp_path, make_spec, cohort_of) -> None:
    spec = make_spec(precision="bf16")
    cache = cohort_of(3000).publish(tmp_path, spec, versions={"torch": "2.9"})
    assert cache.path == tmp_path / "cohort" / f"hf_facebook_dinov2-base--{spec.fingerprint}.h5"
    with h5py.File(cache.path) as file:
        assert file["sample_id"].asstr()[4] == "images/é 0004.png"
        assert (file["content_digest"].shape, file["content_digest"].dtype) == ((3000, 16), np.uint8)
        assert file["source_stamp"].dtype == np.uint64
        assert file["embedding/cls"].dtype == np.float16
        assert set(file.attrs) == {
            *("schema", "kind", "dataset", "spec", "fingerprint", "content", "created"),
            *("device", "versions", "throughput", "quarantined", "seal"),
        }
        assert file.attrs["schema"] == 2
        assert (file["seal/cls"].shape, file["seal/cls"].dtype) == ((1,), np.uint32)
        for name in ("sample_id", "content_digest", "source_stamp", "embedding/cls", "embedding/mean"):
            assert file[name].fletcher32, name
            assert file[name].chunks is not None
    assert cache.info["versions"]["torch"] == "2.9"


def test_chunks_are_between_a_quarter_and_one_mebibyte_when_there_are_rows_enough(tmp_path, make_spec) -> None:
    spec = make_spec(poolings=("cls",))
    vectors = np.zeros((4000, 768), np.float32)
    with CacheDraft.open(tmp_path, "cohort", spec) as draft:
        draft.append(np.arange(4000), [f"{i:032x}" for i in range(4000)], np.arange(4000), {"cls": vectors})
        path = draft.publish(np.arange(4000)).path
    with h5py.File(path) as file:
        assert 2**18 <= np.prod(file["embedding/cls"].chunks) * 4 <= 2**20


def test_no_path_or_label_gets_into_a_cache(tmp_path, spec, cohort_of) -> None:
    data = cohort_of(5).publish(tmp_path, spec).path.read_bytes()
    assert str(tmp_path).encode() not in data
    assert str(Path.home()).encode() not in data


def test_caches_are_found_by_data_set_and_backbone_all_specs_of_it(tmp_path, make_spec, cohort_of) -> None:
    one, other = make_spec(), make_spec(precision="bf16")
    third = make_spec(backbone="efficientnet-lite0")
    for spec in (one, other, third):
        cohort_of(4).publish(tmp_path, spec)
    assert [cache.spec.backbone for cache in find_caches(tmp_path, "cohort")] == ["efficientnet-lite0"] + 2 * [
        one.backbone
    ]
    assert {cache.spec for cache in find_caches(tmp_path, "cohort", [one.backbone])} == {one, other}
    with pytest.raises(
        CacheError, match=r'by efficientnet-lite1; .*Did you mean "efficientnet-lite0"\?.* --backbone eff'
    ):
        find_caches(tmp_path, "cohort", ["efficientnet-lite1", one.backbone])
    with pytest.raises(CacheError, match=r'data set "cohorte". It holds cohort. Did you mean "cohort"\?'):
        find_caches(tmp_path, "cohorte")
    with pytest.raises(CacheError, match="Run `medprobe extract"):
        find_caches(tmp_path / "nowhere", "cohort")
    manifest = tmp_path / "moved" / "fixed.csv"
    manifest.parent.mkdir()
    pd.DataFrame({"sample_id": ["a", "b"], "path": ["a", "b"], "label": ["x", "y"]}).to_csv(manifest, index=False)
    manifest.with_suffix(".yaml").write_text("name: cohort\ntask: binary\nclasses: [x, y]\n")
    with pytest.raises(CacheError, match=r"Run `medprobe extract \S+fixed\.csv --backbone NAME`"):
        find_caches(default_store(manifest), "cohort", manifest=Manifest.load(manifest))


def test_a_damaged_cache_of_another_backbone_is_in_nobodys_way(tmp_path, make_spec, cohort_of) -> None:
    cohort_of(4).publish(tmp_path, make_spec())
    cohort_of(4).publish(tmp_path, make_spec(backbone="other")).path.write_bytes(b"x")
    assert len(find_caches(tmp_path, "cohort", [make_spec().backbone])) == 1
    with pytest.raises(CacheError, match="other--"):
        find_caches(tmp_path, "cohort")


def test_an_unfinished_extraction_is_called_that(tmp_path, make_spec, cohort_of) -> None:
    with CacheDraft.open(tmp_path, "cohort", make_spec()) as draft:
        cohort_of(4).embed(draft)
    with pytest.raises(CacheError, match="not finished"):
        find_caches(tmp_path, "cohort")
    cohort_of(4).publish(tmp_path, make_spec(backbone="other"))
    with pytest.raises(CacheError, match="not finished"):
        find_caches(tmp_path, "cohort", [make_spec().backbone])


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("efficientnet-lite0", "efficientnet-lite0"),
        ("timm:resnet50.a1_in1k", "timm_resnet50.a1_in1k"),
        ("hf:facebook/dinov2-base", "hf_facebook_dinov2-base"),
        ("timm:vit@own weights/w.safetensors", "timm_vit@own_weights_w.safetensors"),
        ("../..", "_.."),
        (".", "_"),
        ("é" * 300, "_"),
        ("a" * 300, "a" * 100),
    ],
)
def test_names_are_safe_and_readable(name, safe) -> None:
    assert safe_name(name) == safe


def test_data_sets_of_like_names_have_folders_of_their_own(tmp_path, spec) -> None:
    paths = {CacheDraft.open(tmp_path, name, spec).path.parent for name in ("a/b", "a:b", "a_b", "..", "../..", "")}
    assert len(paths) == 6
    assert {path.parent for path in paths} == {tmp_path}


def test_the_default_store_is_beside_the_manifest() -> None:
    assert default_store("data/brain.parquet") == Path("data/embeddings")

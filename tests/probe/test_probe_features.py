"""From caches to one vector a unit: how images are aggregated, what is refused, what is skipped."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from medprobe.base import CacheError, ProbeError
from medprobe.manifests import DatasetCard, Manifest
from medprobe.probe.data.features import PREDICTIONS, aggregate, backbone_labels, choose_poolings, covered
from medprobe.probe.data.probe_data import ProbeData

Samples = tuple[np.ndarray, np.ndarray, int, np.ndarray]


@st.composite
def _samples(draw: st.DrawFn) -> Samples:
    """Vectors of samples, the unit of each, the number of units (some without samples), the modality of each."""
    units = draw(st.integers(1, 7))
    unit = np.array(draw(st.lists(st.integers(0, units - 1), min_size=1, max_size=25)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    X = rng.standard_normal((len(unit), 3)).astype(np.float32)
    modality = rng.choice(np.array(["t1", "t2", "flair"], dtype=object), len(unit))
    return X, unit, units, modality


@given(_samples())
def test_mean_and_max_are_those_of_each_units_samples(samples: Samples) -> None:
    X, unit, units, _ = samples
    for how, plain in (("mean", np.mean), ("max", np.max)):
        fused = aggregate(X, unit, units, how=how)
        assert fused.dtype == np.float32
        assert fused.shape == (units, 3)
        for u in range(units):
            own = X[unit == u].astype(np.float64)
            wanted = plain(own, axis=0) if len(own) else np.full(3, np.nan)
            np.testing.assert_allclose(fused[u], wanted, atol=1e-6)


@given(_samples())
def test_concat_joins_the_modalities_by_name_with_the_mean_inside_each(samples: Samples) -> None:
    X, unit, units, modality = samples
    names = sorted(set(modality))
    fused = aggregate(X, unit, units, how="concat", modality=modality)
    assert fused.shape == (units, 3 * len(names))
    whole = covered(unit, units, how="concat", modality=modality)
    for u in range(units):
        owned = [X[(unit == u) & (modality == name)] for name in names]
        assert whole[u] == all(len(own) for own in owned)
        for own, part in zip(owned, np.split(fused[u], len(names)), strict=True):
            np.testing.assert_allclose(part, own.mean(axis=0) if len(own) else np.full(3, np.nan), atol=1e-6)


@given(_samples())
def test_a_unit_is_covered_when_its_fused_vector_is_finite(samples: Samples) -> None:
    X, unit, units, modality = samples
    for how in ("mean", "max", "concat"):
        finite = np.isfinite(aggregate(X, unit, units, how=how, modality=modality)).all(axis=1)
        np.testing.assert_array_equal(covered(unit, units, how=how, modality=modality), finite)


def test_one_sample_a_unit_is_passed_on_untouched() -> None:
    X = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
    np.testing.assert_array_equal(aggregate(X, np.array([3, 0, 4, 1, 2]), 5)[[3, 0, 4, 1, 2]], X)


def test_a_mean_of_large_halves_does_not_overflow() -> None:
    X = np.full((300, 2), 60_000, np.float16).astype(np.float32)
    np.testing.assert_array_equal(aggregate(X, np.zeros(300, np.int64), 1), [[60_000, 60_000]])


def test_an_unknown_fusing_names_the_near_one_and_concat_needs_modalities() -> None:
    X, unit = np.zeros((2, 1), np.float32), np.array([0, 1])
    with pytest.raises(ProbeError, match='Did you mean "concat"'):
        aggregate(X, unit, 2, how="concats")
    with pytest.raises(ProbeError, match="modality"):
        aggregate(X, unit, 2, how="concat")


# --- from caches


def test_vectors_of_another_part_of_a_file_are_refused_without_the_files(tmp_path: Path, cache_of) -> None:
    np.savez(tmp_path / "stack.npz", scans=np.zeros((5, 8, 8), np.uint8))
    table = pd.DataFrame({"sample_id": list("abcd"), "label": ["no", "yes"] * 2, "frame": [0, 1, 2, None]})
    table["path"] = ["stack.npz#scans"] * 3 + ["one.png"]
    (tmp_path / "one.png").touch()
    card = DatasetCard(name="slices", task="binary", classes=["no", "yes"], root=str(tmp_path))
    stamps = Manifest(table, card).stamps()[0]
    cache = cache_of(tmp_path / "store", "slices", list("abcd"), {"cls": _vectors(4)}, stamps=stamps)
    for file in ("stack.npz", "one.png"):
        (tmp_path / file).unlink()
    assert ProbeData.of(Manifest(table, card), [cache]).usable.all()
    changes = {"frame": [0, 1, 3, None], "path": ["stack.npz#scans"] * 2 + ["stack.npz#masks", "one.png"]}
    for column, values in {**changes, "window": [None, None, "40,400", None]}.items():
        with pytest.raises(CacheError, match=r"1 of 4 samples were .* e\.g\. 'c'.*`medprobe extract"):
            ProbeData.of(Manifest(table.assign(**{column: values}), card), [cache])


@pytest.fixture
def scans(tmp_path: Path) -> Manifest:
    """Twenty exams with a T1 and a T2 slice each; the last has only T1."""
    table = pd.DataFrame(
        {
            "sample_id": [f"s{i:02d}" for i in range(40)],
            "path": "x",
            "unit_id": [f"exam {i // 2:02d}" for i in range(40)],
            "modality": ["t1", "t2"] * 20,
            "label": [("a", "b")[i // 2 % 2] for i in range(40)],
        }
    ).iloc[:-1]
    return Manifest(table, DatasetCard(name="scans", task="binary", classes=["a", "b"]))


def _vectors(rows: int = 39) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((rows, 4)).astype(np.float32)


def test_features_are_the_units_fused_vectors_whatever_the_order_of_rows(scans: Manifest, tmp_path, cache_of) -> None:
    X = _vectors()
    cache = cache_of(tmp_path, "scans", scans.sample_ids, {"cls": X})
    for order in (np.arange(39), np.random.default_rng(1).permutation(39)):
        manifest = Manifest(scans.table.iloc[order], scans.card)
        data = ProbeData.of(manifest, [cache], "mean")
        features = data.load(cache, "cls")
        assert features.flags.c_contiguous
        np.testing.assert_allclose(features[:19], X[:38].reshape(19, 2, 4).mean(axis=1), atol=1e-6)
        np.testing.assert_array_equal(features[19], X[38])
        assert data.skipped == []


@pytest.mark.parametrize("aggregation", ["mean", "max", "concat", PREDICTIONS])
@pytest.mark.parametrize("whole", [True, False], ids=["one sample a cell", "several"])
def test_features_are_put_where_they_are_wanted(
    scans: Manifest, tmp_path, cache_of, aggregation: str, whole: bool
) -> None:
    table = scans.table.iloc[: 38 if whole else 39].sample(frac=1, random_state=0)
    if whole and aggregation in ("mean", "max"):
        table = table[table["modality"] == "t1"]
    if not whole and aggregation == "concat":
        table.loc[table["sample_id"] == "s38", "unit_id"] = "exam 17"
    manifest = Manifest(table, scans.card)
    cache = cache_of(tmp_path, "scans", scans.sample_ids, {"cls": _vectors()})
    data = ProbeData.of(manifest, [cache], aggregation)
    shape = data.shape(cache, "cls")
    place = np.empty((shape[0] + 1, shape[1]), np.float32)
    got = data.load(cache, "cls", out=place[1:])
    X = cache.load("cls", rows=cache.rows_of(data.sample_ids))
    if aggregation != PREDICTIONS:
        X = aggregate(X, data.unit, int(data.usable.sum()), how=aggregation, modality=data.modality)
    assert np.shares_memory(got, place)
    np.testing.assert_array_equal(got, X)
    np.testing.assert_array_equal(data.load(cache, "cls"), X)


def test_many_units_are_fused_as_few_are() -> None:
    """More rows than are added up at a time, units of all sizes from none."""
    rng = np.random.default_rng(0)
    unit = rng.integers(0, 3000, 9000) // rng.integers(1, 4, 9000)
    X = rng.standard_normal((9000, 2)).astype(np.float32)
    whole = pd.DataFrame(X.astype(np.float64)).groupby(unit)
    for how, plain in (("mean", whole.mean()), ("max", whole.max())):
        wanted = plain.reindex(range(3000)).to_numpy()
        np.testing.assert_allclose(aggregate(X, unit, 3000, how=how), wanted, rtol=1e-6, atol=1e-7)


def test_the_last_bit_of_a_mean_does_not_depend_on_the_order_of_rows_either(tmp_path: Path, cache_of) -> None:
    """Sums of these three are 0 or 1 by the order in which they are added."""
    table = pd.DataFrame(
        {"sample_id": ["x", "y", "z", "w"], "path": "x", "unit_id": list("uuuv"), "label": list("aaab")}
    )
    card = DatasetCard(name="sums", task="binary", classes=["a", "b"])
    cache = cache_of(tmp_path, "sums", ["x", "y", "z", "w"], {"cls": np.array([[1], [1e17], [-1e17], [5]])})
    means = []
    for order in permutations(range(4)):
        manifest = Manifest(table.iloc[list(order)], card)
        data = ProbeData.of(manifest, [cache], "mean")
        means.append(data.load(cache, "cls").tolist())
    assert all(mean == means[0] for mean in means)


def test_an_exam_without_a_modality_is_skipped_in_concat_with_a_message(scans: Manifest, tmp_path, cache_of) -> None:
    X = _vectors()
    cache = cache_of(tmp_path, "scans", scans.sample_ids, {"cls": X})
    data = ProbeData.of(scans, [cache], "concat")
    np.testing.assert_array_equal(data.load(cache, "cls"), X[:38].reshape(19, 8))
    assert data.skipped == [
        "1 of 20 units have no embedding (a modality is missing) and are skipped, for every backbone"
    ]


def test_what_one_cache_quarantined_is_skipped_for_all_with_a_message(scans: Manifest, tmp_path, cache_of) -> None:
    X = _vectors()
    whole = cache_of(tmp_path, "scans", scans.sample_ids, {"cls": X}, backbone="whole")
    holed = cache_of(
        tmp_path, "scans", scans.sample_ids, {"cls": X}, backbone="holed", quarantine=["s00", "s04", "s05"]
    )
    data = ProbeData.of(scans, [whole, holed], "mean")
    assert data.skipped == [
        "3 of 39 samples could not be embedded and are skipped (quarantined)",
        "1 of 20 units have no embedding and are skipped, for every backbone",
    ]
    a, b = (data.load(cache, "cls") for cache in (whole, holed))
    np.testing.assert_array_equal(a, b)
    assert len(a) == 19
    np.testing.assert_array_equal(a[0], X[1])  # s00 is out, its exam has s01


def test_a_modality_that_could_not_be_embedded_at_all_is_a_fault_and_not_a_narrower_vector(
    scans: Manifest, tmp_path, cache_of
) -> None:
    t2 = [sample for sample, name in zip(scans.sample_ids, scans.table["modality"], strict=True) if name == "t2"]
    cache = cache_of(tmp_path, "scans", scans.sample_ids, {"cls": _vectors()}, quarantine=t2)
    with pytest.raises(ProbeError, match="no sample of the modality t2 could be embedded"):
        ProbeData.of(scans, [cache], "concat")


def test_a_cache_with_everything_quarantined_is_a_fault(scans: Manifest, tmp_path, cache_of) -> None:
    cache = cache_of(tmp_path, "scans", scans.sample_ids, {"cls": _vectors()}, quarantine=scans.sample_ids[:-1])
    other = cache_of(tmp_path, "scans", scans.sample_ids, {"cls": _vectors()}, backbone="b", quarantine=["s38"])
    with pytest.raises(ProbeError, match="no unit has the samples it needs"):
        ProbeData.of(scans, [cache, other], "mean")


def test_a_cache_that_lacks_samples_says_what_to_run(scans: Manifest, tmp_path, cache_of) -> None:
    cache = cache_of(tmp_path, "scans", scans.sample_ids[:30], {"cls": _vectors(30)})
    with pytest.raises(CacheError, match=r"9 of 39 samples are not in this cache.*medprobe extract"):
        ProbeData.of(scans, [cache], "mean")


def test_a_cache_of_another_data_set_is_refused_even_if_its_samples_have_the_same_ids(
    scans: Manifest, tmp_path, cache_of
) -> None:
    cache = cache_of(tmp_path, "skin", scans.sample_ids, {"cls": _vectors()})
    with pytest.raises(CacheError, match='"skin", the manifest is of "scans"'):
        ProbeData.of(scans, [cache], "mean")


def test_the_same_cache_twice_is_refused(scans: Manifest, tmp_path, cache_of) -> None:
    cache = cache_of(tmp_path, "scans", scans.sample_ids, {"cls": _vectors()})
    with pytest.raises(ProbeError, match="given twice"):
        ProbeData.of(scans, [cache, cache], "mean")


@pytest.mark.filterwarnings("error")  # the user gets the message alone
def test_values_whose_squares_overflow_are_refused_with_the_names_of_their_samples(
    scans: Manifest, tmp_path, cache_of
) -> None:
    X = _vectors()
    X[4, 1] = -3e38
    cache = cache_of(tmp_path, "scans", scans.sample_ids, {"cls": X})
    data = ProbeData.of(scans, [cache], "mean")
    with pytest.raises(ProbeError, match=r'1 of 39 embeddings hold values beyond 1e\+17, of the samples "s04"'):
        data.load(cache, "cls")


def test_a_cache_of_one_vector_alone_is_refused(scans: Manifest, tmp_path, cache_of) -> None:
    cache = cache_of(tmp_path, "scans", scans.sample_ids, {"cls": np.full((39, 4), 0.5)})
    data = ProbeData.of(scans, [cache], "mean")
    with pytest.raises(ProbeError, match="all 39 embeddings are the same vector"):
        data.load(cache, "cls")


def test_a_damaged_cache_is_refused_when_it_is_read(scans: Manifest, tmp_path, cache_of) -> None:
    cache = cache_of(tmp_path, "scans", scans.sample_ids, {"cls": _vectors()})
    data = ProbeData.of(scans, [cache], "mean")
    whole = cache.path.read_bytes()
    cache.path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CacheError):
        data.load(cache, "cls")


def test_poolings_are_all_by_default_and_else_those_named(scans: Manifest, tmp_path, cache_of) -> None:
    X = _vectors()
    both = cache_of(tmp_path, "scans", scans.sample_ids, {"cls": X, "mean": X}, backbone="both")
    one = cache_of(tmp_path, "scans", scans.sample_ids, {"mean": X}, backbone="one")
    assert choose_poolings([both, one], None) == [(0, "cls"), (0, "mean"), (1, "mean")]
    assert choose_poolings([both, one], ["mean", "mean"]) == [(0, "mean"), (1, "mean")]
    with pytest.raises(ProbeError, match=r'no cache has the pooling men; there are cls, mean\. Did you mean "mean"\?'):
        choose_poolings([both, one], ["men"])
    with pytest.raises(ProbeError, match="one: none of the poolings cls is in its cache"):
        choose_poolings([both, one], ["cls"])


def test_two_specs_of_one_backbone_differ_by_their_fingerprints(scans: Manifest, tmp_path, cache_of) -> None:
    X = _vectors()
    a, b = (cache_of(tmp_path, "scans", scans.sample_ids, {"cls": X}, precision=p) for p in ("fp32", "bf16"))
    alone = cache_of(tmp_path, "scans", scans.sample_ids, {"cls": X}, backbone="alone")
    labels = backbone_labels([a, b, alone])
    assert labels == [f"timm:resnet18@{a.spec.fingerprint}", f"timm:resnet18@{b.spec.fingerprint}", "alone"]

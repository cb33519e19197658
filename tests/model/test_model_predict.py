"""Predictions of new images: the same from every way in, resumed, and refused where the backbone is another one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from medprobe.base import BackboneError, ImageError, ProbeError
from medprobe.extract import Backbone, extract
from medprobe.manifests import DatasetCard, IntensityPolicy, Manifest, build_csv
from medprobe.model import Model, export_onnx, fit_model, load_model, manifest_of, predict_manifest, save_model
from medprobe.model.predicting import _read_as_training_images, trained_on_in_words, unusual_in_words
from PIL import Image

QUIET = {"workers": 0, "show_progress": False}


@pytest.fixture(scope="module")
def model(scans) -> Model:
    """Logistic regression on the training images of `scans`."""
    return fit_model(scans.manifest, scans.cache, progress=False)


@pytest.fixture(scope="module")
def saved(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same in its folder."""
    return save_model(model, tmp_path_factory.mktemp("saved") / "model")


def test_every_way_in_gives_the_same(scans, saved: Path, tmp_path: Path) -> None:
    model = load_model(saved, device="cpu")
    folder = scans.folder / "images"
    of_manifest = predict_manifest(model, scans.manifest, scans.store, **QUIET)
    of_folder = predict_manifest(model, manifest_of(folder), tmp_path / "store", **QUIET)
    proba = of_folder[["p_bright", "p_dark"]].to_numpy()
    np.testing.assert_allclose(proba, of_manifest[["p_bright", "p_dark"]].to_numpy(), atol=1e-6)
    files = [folder / f"{number:02d}.png" for number in (0, 7, 40)]
    np.testing.assert_allclose(model.predict_proba(files), proba[[0, 7, 40]], atol=1e-6)
    np.testing.assert_array_equal(
        model.predict_proba(map(Image.open, files)), model.predict_proba([np.asarray(Image.open(f)) for f in files])
    )
    assert list(model.predict(files)) == list(of_folder["predicted"].iloc[[0, 7, 40]])
    np.testing.assert_allclose(model.unusual(files), of_folder["unusual"].iloc[[0, 7, 40]], atol=3)  # a step is 2.8
    assert list(of_folder["sample_id"]) == sorted(file.name for file in folder.iterdir())
    assert (of_folder["predicted"] == scans.manifest.table["label"]).mean() > 0.9


def test_images_that_the_model_was_fitted_on_are_marked(scans, model: Model, saved: Path, tmp_path: Path) -> None:
    loaded = load_model(saved, device="cpu")
    table = predict_manifest(loaded, scans.manifest, scans.store, **QUIET)
    assert (table["trained_on"] == (scans.manifest.table["split"] == "train")).all()
    (tmp_path / "new").mkdir()
    for number, name in ((0, "a"), (40, "b")):
        Image.open(scans.folder / "images" / f"{number:02d}.png").save(tmp_path / "new" / f"{name}.bmp")
    (tmp_path / "new" / "c.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    table = predict_manifest(loaded, manifest_of(tmp_path / "new"), tmp_path / "store", **QUIET)
    assert table["trained_on"].tolist() == [True, False, pd.NA]
    assert trained_on_in_words(table).startswith("the model was fitted on images of 1 of 3,")


def test_what_is_no_list_of_images_is_one_error(model: Model, tmp_path: Path) -> None:
    assert len(repr(model)) < 200
    with pytest.raises(ProbeError, match="images are a list"):
        model.predict(tmp_path / "scan.png")
    with pytest.raises(ImageError, match=r"^scan\.png: the file is missing"):
        model.predict([tmp_path / "scan.png"])


def test_one_image_and_two_copies_of_it_are_predicted(scans, model: Model, tmp_path: Path) -> None:
    image = scans.folder / "images" / "00.png"
    alone = predict_manifest(model, manifest_of(image), tmp_path / "one", **QUIET)
    (tmp_path / "copies").mkdir()
    for name in ("a.png", "b.png"):
        shutil.copy(image, tmp_path / "copies" / name)
    copies = predict_manifest(model, manifest_of(tmp_path / "copies"), tmp_path / "two", **QUIET)
    np.testing.assert_allclose(copies["p_dark"], alone["p_dark"].iloc[0], atol=1e-6)


def test_a_linear_model_predicts_without_scikit_learn(scans, model: Model, tmp_path: Path) -> None:
    save_model(model, tmp_path / "model")
    words = ["predict", "model", str(scans.folder / "images"), "--out", "found.csv", "--workers", "0"]
    code = "import sys; from medprobe.cli.app import app; app(sys.argv[1:], standalone_mode=False); print(*sys.modules)"
    ended = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert not {"sklearn", "lightgbm", "scipy.stats", "scipy.linalg"} & set(ended.stdout.split())
    written = pd.read_csv(tmp_path / "found.csv", dtype=str)["p_dark"]
    assert written.str.lstrip("0.").str.len().max() <= 9
    expected = predict_manifest(model, manifest_of(scans.folder / "images"), tmp_path / "store", **QUIET)
    np.testing.assert_allclose(written.astype(np.float32), expected["p_dark"], atol=1e-6)


def test_a_stopped_prediction_goes_on(
    scans, model: Model, tiny: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new, store = manifest_of(scans.folder / "images"), tmp_path / "store"
    seen: list[int] = []
    embed = Backbone.embed

    def stop(self: Backbone, images) -> dict[str, np.ndarray]:
        if sum(seen) >= 16:
            raise KeyboardInterrupt
        seen.append(len(images))
        return embed(self, images)

    with monkeypatch.context() as patched:
        patched.setattr(Backbone, "embed", stop)
        with pytest.raises(KeyboardInterrupt):
            predict_manifest(model, new, store, batch_size=8, **QUIET)
    done = sum(seen)
    monkeypatch.setattr(Backbone, "embed", lambda self, images: seen.append(len(images)) or embed(self, images))
    table = predict_manifest(model, new, store, batch_size=8, **QUIET)
    assert done == 16
    assert sum(seen) == len(table) == 48


def test_an_unreadable_image_has_its_reason_and_all_others_a_prediction(scans, model: Model, tmp_path: Path) -> None:
    shutil.copytree(scans.folder / "images", tmp_path / "images")
    (tmp_path / "images" / "03.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    table = predict_manifest(model, manifest_of(tmp_path / "images"), tmp_path / "store", **QUIET)
    assert np.flatnonzero(table["problem"] != "").tolist() == [3]
    assert table["p_dark"].isna().to_numpy().nonzero()[0].tolist() == [3]
    assert table["predicted"].iloc[3] == ""
    with pytest.raises(ImageError):
        model.predict([tmp_path / "images" / "03.png"])


def test_a_unit_without_some_of_its_images_says_so(scans, model: Model, tmp_path: Path) -> None:
    images = tmp_path / "images"
    shutil.copytree(scans.folder / "images", images)
    (images / "03.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    table = pd.DataFrame({"sample_id": list("abcd"), "path": [f"{n:02d}.png" for n in (2, 3, 3, 5)]})
    manifest = Manifest(table.assign(unit_id=["u", "u", "v", "w"]), DatasetCard.of("", name="x", root=str(images)))
    found = predict_manifest(model, manifest, tmp_path / "store", **QUIET).set_index("unit_id")
    assert found["unusual"].notna().tolist() == [True, False, True]
    assert found.loc["u", "problem"].startswith("without 1 of 2 images: ")
    assert found.loc["v", "problem"]
    assert not found.loc["w", "problem"]


def test_windows_of_rows_hold_under_the_policy_that_made_them_alone(scans, model: Model, tmp_path: Path) -> None:
    table = scans.manifest.table.head(2).assign(window="100,50")
    card = scans.manifest.card.model_copy(update={"reading": IntensityPolicy(percentiles=(1, 99))})
    with pytest.raises(ProbeError, match="window was made under another intensity policy"):
        predict_manifest(model, Manifest(table, card, scans.manifest.path), tmp_path / "store", **QUIET)
    slices = table.drop(columns="window").assign(path=["a.dcm", "b.dcm"])  # built where each has a range of its own
    with pytest.raises(ProbeError, match="series were listed under another intensity policy"):
        _read_as_training_images(Manifest(slices, card), model.facts.reading)
    fixed = replace(model, facts=replace(model.facts, reading=IntensityPolicy(window=(40, 400))))
    assert "window" not in _read_as_training_images(Manifest(table, card), fixed.facts.reading).table


def test_images_of_a_unit_are_combined_as_in_training(scans, tiny: Backbone, tmp_path: Path) -> None:
    table = scans.manifest.table.assign(unit_id=scans.manifest.table["group_id"])
    units = Manifest(table, scans.manifest.card, scans.manifest.path)
    for aggregation in ("mean", "predictions"):
        model = fit_model(units, scans.cache, aggregation=aggregation, probe="centroid", progress=False)
        found = predict_manifest(model, units, scans.store, **QUIET)
        X = model.embed([units.source(row).path for row in (0, 1)])
        rows = X.mean(axis=0, keepdims=True) if aggregation == "mean" else X
        proba = model.probe.predict_proba(rows).mean(axis=0)
        first = found[found["unit_id"] == table["unit_id"].iloc[0]]
        np.testing.assert_allclose(first[["p_bright", "p_dark"]].to_numpy()[0], proba, atol=1e-6)
        assert len(found) == 24


def test_a_nifti_volume_is_one_unit_of_its_slices(model: Model, tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    volume = np.random.default_rng(0).integers(0, 255, (20, 20, 9)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / "scan.nii.gz")
    (tmp_path / "bad.nii").write_bytes(b"no volume")
    manifest = manifest_of(tmp_path, slices="axial:every:4")
    assert manifest.table.query("unit_id == 'scan.nii.gz'")["frame"].tolist() == [0, 4, 8]
    table = predict_manifest(model, manifest, tmp_path / "store", **QUIET)
    assert table["unit_id"].tolist() == ["bad.nii", "scan.nii.gz"]
    assert (table["problem"] != "").tolist() == [True, False]


def test_images_of_another_kind_are_unusual(scans, model: Model, tmp_path: Path) -> None:
    usual = predict_manifest(model, scans.manifest, scans.store, **QUIET).query("unusual < 99")
    assert unusual_in_words(usual) == ""
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(0)
    for number in range(4):
        Image.fromarray(rng.integers(0, 2, (64, 64), np.uint8) * 255).save(tmp_path / "images" / f"{number}.png")
    table = predict_manifest(model, manifest_of(tmp_path / "images"), tmp_path / "store", **QUIET)
    assert (table["unusual"] == 100).all()
    words = unusual_in_words(table)
    assert words.startswith("4 of 4 are more unusual than 99 % of the training images")
    assert "0.png (100)" in words
    one_of_many = pd.concat([table.head(1), *[usual] * 2])
    assert "1 of" in unusual_in_words(one_of_many)
    assert "1 in 100" in unusual_in_words(one_of_many)


def test_pixels_are_read_as_the_model_reads_them(scans, tiny: Backbone, tmp_path: Path) -> None:
    narrow = IntensityPolicy(window=(300, 200))
    (tmp_path / "images").mkdir()
    rows = []
    for number in range(16):
        pixels = np.random.default_rng(number).integers(200, 400, (40, 40)).astype(np.uint16)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{number}.png")
        rows.append((f"{number}.png", "ab"[number % 2]))
    pd.DataFrame(rows, columns=["image", "label"]).to_csv(tmp_path / "t.csv", index=False)
    built = build_csv(tmp_path / "t.csv", image_column="image", label_columns=["label"], root=tmp_path / "images")
    read = Manifest(built.table, built.card.model_copy(update={"reading": narrow}))
    backbone = replace(tiny, spec=replace(tiny.spec, reading=narrow.in_spec))
    [cache] = extract(read, [backbone], tmp_path / "store", **QUIET)
    model = fit_model(read, cache, probe="knn", progress=False)
    found = predict_manifest(model, manifest_of(tmp_path / "images"), tmp_path / "new", **QUIET)
    row = found["sample_id"].tolist().index("3.png")
    np.testing.assert_allclose(
        model.predict_proba([tmp_path / "images" / "3.png"])[0],
        found.filter(regex="^p_").iloc[row].astype(float),
        atol=1e-6,
    )
    image = Image.open(tmp_path / "images" / "3.png")
    np.testing.assert_allclose(
        model.predict_proba([image])[0], found.filter(regex="^p_").iloc[row].astype(float), atol=1e-6
    )


def test_another_backbone_than_that_of_the_training_images_is_refused(model: Model, tmp_path: Path) -> None:
    for spec in (
        replace(model.facts.spec, weights_digest="0" * 64),
        replace(model.facts.spec, backbone="timm:test_vit@weights.safetensors"),
        replace(model.facts.spec, backbone="python:os:system"),
    ):
        changed = replace(model, facts=replace(model.facts, spec=spec), device="cpu")
        with pytest.raises(BackboneError):
            changed.predict([np.zeros((8, 8), np.uint8)])
    named = replace(model.facts.spec, backbone="another-name")
    renamed = replace(model, facts=replace(model.facts, spec=named), device="cpu", backbone_name="timm:test_vit@random")
    assert len(renamed.predict([np.zeros((8, 8), np.uint8)])) == 1


_EXPORTS = [("multiclass", "logreg"), ("multilabel", "logreg"), ("multiclass", "centroid")]


@pytest.mark.parametrize(
    ("task", "probe"),
    [
        ("binary", "logreg"),
        ("multilabel", "centroid"),
        *(pytest.param(*names, marks=pytest.mark.slow) for names in _EXPORTS),
    ],
)
def test_openvino_computes_from_the_onnx_file_what_the_model_predicts(
    scans, tiny: Backbone, tmp_path: Path, task: str, probe: str
) -> None:
    openvino = pytest.importorskip("openvino")
    from medprobe.extract.loader import to_input

    table, rows = scans.manifest.table.copy(), np.arange(48)
    classes = ["p", "q", "r"] if task != "binary" else ["p", "q"]
    if task == "multilabel":
        table = table.assign(p=rows // 2 % 2, q=rows // 4 % 2, r=1)  # the last is the same everywhere
    else:
        table["label"] = np.array(classes)[rows // 2 % len(classes)]
    card = scans.manifest.card.model_validate({"name": "scans", "task": task, "classes": classes, "root": "images"})
    manifest = Manifest(table.drop(columns="split"), card, scans.manifest.path)
    model = fit_model(manifest, scans.cache, probe=probe, calibrate=True, progress=False)
    paths = [manifest.source(row).path for row in (0, 5, 30)]
    pixels = np.stack([to_input(np.asarray(Image.open(path)), tiny.transform) for path in paths])
    file = export_onnx(model, tmp_path / "model.onnx")
    compiled = openvino.Core().compile_model(str(file), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    np.testing.assert_allclose(compiled(pixels)[0], model.predict_proba(paths), atol=1e-4)


def test_a_probe_that_is_not_linear_has_no_onnx_file(scans, tmp_path: Path) -> None:
    with pytest.raises(ProbeError):
        export_onnx(fit_model(scans.manifest, scans.cache, probe="knn", progress=False), tmp_path / "model.onnx")
    assert not any(tmp_path.iterdir())


def test_the_command_line(scans, tmp_path: Path, medprobe: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("scans.parquet", "scans.yaml", "embeddings", "images"):
        source = scans.folder / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    assert (
        medprobe(
            "probe",
            "scans.parquet",
            "--probe",
            "knn",
            "--probe",
            "logreg",
            "--seeds",
            "2",
            "--jobs",
            1,
            "--out",
            "runs/s",
        ).status
        == 0
    )
    assert medprobe("fit", "runs/s", "--out", "m").status == 1  # which of the two?
    assert medprobe("fit", "runs/s", "--best", "--out", "m").status == 0
    assert medprobe("fit", "runs/s", "--best", "--out", "m").status == 1  # is there
    assert medprobe("fit", "runs/s", "--best", "--probe", "knn", "--probe", "centroid", "--out", "two").status == 1
    assert medprobe("fit", "runs/s", "--probe", "knn", "--onnx", "m.onnx", "--out", "k").status == 1
    assert not (tmp_path / "k").exists()
    assert medprobe("fit", "scans.parquet", "--best", "--out", "x").status == 1
    assert medprobe("fit", "scans.parquet", "--probe", "gbm", "--out", "g", "--on", "all").status == 0
    predict = ("predict", "m", "images", "--out", "p.csv", "--device", "cpu", "--workers", 0)
    assert medprobe(*predict).status == 0
    assert medprobe(*predict).status == 1
    assert len(pd.read_csv("p.csv")) == 48
    assert not (tmp_path / "p.csv.partial").exists()
    (tmp_path / "images" / "99.png").write_bytes(b"nothing")
    assert medprobe(*predict, "--overwrite").status == 1
    assert len(pd.read_csv("p.csv")) == 49
    for wrong in (("predict", "m", "none", "--out", "q.csv"), ("predict", "images", "images", "--out", "q.csv")):
        assert medprobe(*wrong).status == 1
    assert not (tmp_path / "q.csv").exists()

"""MedMNIST's sets by name."""

from __future__ import annotations

import ast
import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from medprobe.base import ManifestError
from medprobe.manifests import BUILDERS, Manifest, read_image
from medprobe.manifests.builders import medmnist_facts
from medprobe.manifests.summary.counts import class_counts
from published_trees import refused

build_medmnist = BUILDERS["medmnist"].build


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, with the package's folder in it."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home" / ".medmnist").mkdir(parents=True)
    return tmp_path / "home"


def _write(file: Path, name: str, seed: int = 0, size: int = 28) -> Path:
    """A small set as the package stores it, of 6, 3 and 4 samples."""
    facts, random = medmnist_facts.all_sets()[name], np.random.default_rng(seed)
    arrays = {}
    for split, count in {"train": 6, "val": 3, "test": 4}.items():
        arrays[f"{split}_images"] = random.integers(0, 256, (count, size, size), dtype=np.uint8)
        if facts.task == "multilabel":
            arrays[f"{split}_labels"] = random.integers(0, 2, (count, len(facts.classes)), dtype=np.uint8)
        else:
            arrays[f"{split}_labels"] = (np.arange(count) % len(facts.classes)).astype(np.uint8)[:, None]
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(file, **arrays)
    return file


def test_the_table_of_facts_agrees_with_the_package() -> None:
    spec = find_spec("medmnist")
    if not (spec and spec.submodule_search_locations):
        pytest.skip("medmnist is not installed")
    # Read and not imported: importing it would load torch, and make a folder in the home.
    source = (Path(spec.submodule_search_locations[0]) / "info.py").read_text(encoding="utf-8")
    info = next(
        ast.literal_eval(statement.value)
        for statement in ast.parse(source).body
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "INFO"
    )
    ours = medmnist_facts.all_sets()
    assert list(ours) == list(info)
    assert len(ours) == 18
    for name, facts in ours.items():
        package = info[name]
        assert facts.title == package["python_class"]
        assert facts.classes == [package["label"][str(number)] for number in range(len(package["label"]))]
        assert (facts.license, facts.samples) == (package["license"], package["n_samples"])
        keys = {28: "MD5", 64: "MD5_64", 128: "MD5_128", 224: "MD5_224"}
        assert facts.sizes == tuple(size for size, key in keys.items() if key in package)
        assert (facts.task == "multilabel") == package["task"].startswith("multi-label")
        assert (facts.task == "ordinal") == package["task"].startswith("ordinal")


@pytest.mark.parametrize(
    ("name", "task", "classes"),
    [
        ("pneumoniamnist", "binary", ["normal", "pneumonia"]),
        ("bloodmnist", "multiclass", None),
        ("retinamnist", "ordinal", ["0", "1", "2", "3", "4"]),
        ("chestmnist", "multilabel", None),
    ],
)
def test_a_set_has_its_own_task_and_classes(home: Path, name: str, task: str, classes: list[str] | None) -> None:
    file = _write(home / ".medmnist" / f"{name}.npz", name)
    manifest = Manifest.load(build_medmnist(name).save(home / "m.parquet").path)
    assert manifest.card.task == task
    assert manifest.card.classes == (classes or medmnist_facts.all_sets()[name].classes)
    assert manifest.card.license == "CC BY 4.0"
    assert class_counts(manifest).shape[0] == len(manifest.card.classes)
    with np.load(file) as arrays:
        np.testing.assert_array_equal(read_image(manifest.source(7)), arrays["val_images"][1])


def test_each_size_is_a_file_of_its_own(home: Path) -> None:
    _write(home / ".medmnist" / "breastmnist.npz", "breastmnist", seed=1)
    _write(home / ".medmnist" / "breastmnist_224.npz", "breastmnist", seed=2, size=224)
    large = build_medmnist("breastmnist", size="224")
    assert large.name == "breastmnist_224"
    assert large.table["path"].iloc[0] == "breastmnist_224.npz#train_images"
    assert build_medmnist("breastmnist").table["path"].iloc[0] == "breastmnist.npz#train_images"


def test_a_volume_is_a_unit_and_its_slices_are_samples(home: Path) -> None:
    volumes = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 28), dtype=np.uint8)
    arrays = {f"{split}_images": volumes for split in ("train", "val", "test")}
    labels = {f"{split}_labels": np.array([[0], [1], [1]], np.uint8) for split in ("train", "val", "test")}
    np.savez_compressed(home / ".medmnist" / "nodulemnist3d.npz", **arrays, **labels)
    notices: list[str] = []
    manifest = build_medmnist("nodulemnist3d", size="28", slices="middle:3", notice=notices.append)
    assert (len(manifest), len(manifest.units())) == (27, 9)
    assert manifest.card.classes == ["benign", "malignant"]
    assert any("3 of 1,158 in train" in notice for notice in notices)
    np.testing.assert_array_equal(read_image(manifest.source(1)), volumes[0, 13])
    assert len(build_medmnist("nodulemnist3d")) == 3 * 3 * 28


def test_other_numbers_of_samples_than_published_are_told(tmp_path: Path) -> None:
    notices: list[str] = []
    build_medmnist(_write(tmp_path / "bloodmnist_64.npz", "bloodmnist", size=64), notice=notices.append)
    assert any("6 of 11,959 in train, 3 of 1,712 in val, 4 of 3,421 in test" in notice for notice in notices)


@pytest.mark.parametrize(
    ("dataset", "size", "message"),
    [
        ("pneumonia-mnist", None, 'Did you mean "pneumoniamnist"'),
        ("nothing", None, "synapsemnist3d"),
        ("organmnist3d", "224", "--size 224: OrganMNIST3D has no size 224; it has 28, 64"),
        ("organmnist3d_224", None, "organmnist3d_224: OrganMNIST3D has no size 224; it has 28, 64"),
        ("octmnist", "big", "--size big: OCTMNIST has no size big; it has 28, 64, 128, 224"),
        ("bloodmnist_64.npz", "28", "has 64 pixels by its name, but --size is 28"),
        (
            "octmnist",
            "128",
            "~/.medmnist/octmnist_128.npz: there is no such file. Put it there from https://zenodo.org/",
        ),
        ("octmnist", "128", "/octmnist_128.npz?download=1"),
        ("some/octmnist.npz", None, "some/octmnist.npz: there is no such file. Put it there from https://zenodo.org/"),
    ],
)
def test_what_cannot_be_built_is_told_with_what_to_do(home: Path, dataset: str, size: str | None, message: str) -> None:
    refusal = refused(lambda: build_medmnist(dataset, size=size), message)
    assert str(home) not in refusal


def test_a_file_of_another_size_than_asked_for_is_refused_with_both(home: Path, tmp_path: Path, medprobe) -> None:
    plain = _write(tmp_path / "breastmnist.npz", "breastmnist")
    renamed = _write(home / ".medmnist" / "breastmnist_64.npz", "breastmnist")
    with pytest.raises(ManifestError, match="holds images of 28 pixels, but 224 are requested; omit --size"):
        build_medmnist(plain, size="224")
    with pytest.raises(ManifestError, match="holds images of 28 pixels, but 64 are requested"):
        build_medmnist(renamed)
    refusal = medprobe("manifest", "build", "medmnist", "breastmnist", "--size", "64", "--out", tmp_path / "m.csv")
    assert refusal.status == 1
    assert f"error: ~{os.sep}.medmnist{os.sep}breastmnist_64.npz: holds images of 28 pixels" in refusal.err
    assert len(build_medmnist(plain, size="28")) == len(build_medmnist(plain)) == 13


@pytest.mark.realdata
def test_pneumoniamnist_by_name_from_the_command_line(realdata: Path, tmp_path: Path, medprobe) -> None:
    out = tmp_path / "p.parquet"
    refusal = medprobe("manifest", "build", "medmnist", realdata / "pneumoniamnist.npz", "--out", out)
    assert refusal.status == 0, refusal.err
    assert "3,882 of 4,708 in train" in refusal.err
    manifest = Manifest.load(out)
    assert class_counts(manifest).sum().to_dict() == {"train": 3882, "val": 524, "test": 624, "total": 5030}
    assert manifest.card.classes == ["normal", "pneumonia"]

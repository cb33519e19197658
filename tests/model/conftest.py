"""A cohort of small real images embedded by a tiny network, and made-up cohorts of vectors for every task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from medprobe.cache import CacheDraft, EmbeddingCache, EmbeddingSpec, TransformSpec
from medprobe.extract import Backbone, device, extract, load_backbone
from medprobe.manifests import DatasetCard, Manifest, build_csv
from PIL import Image

CLASSES = {"binary": ["no", "yes"], "multiclass": ["a", "b", "c"], "multilabel": ["edema", "mass", "nodule"]}


@dataclass(frozen=True)
class Cohort:
    """A manifest on disk, its folder of images (if any) and its cache."""

    folder: Path
    manifest: Manifest
    cache: EmbeddingCache

    @property
    def table(self) -> Path:
        assert self.manifest.path is not None
        return self.manifest.path

    @property
    def store(self) -> Path:
        return self.folder / "embeddings"


def _spec(backbone: str) -> EmbeddingSpec:
    transform = TransformSpec(
        size=(32, 32), resize="squash", resize_to=(32, 32), interpolation="bilinear", mean=(0.5,) * 3, std=(0.5,) * 3
    )
    return EmbeddingSpec(
        backbone=backbone,
        model=backbone,
        weights_digest="0" * 64,
        transform=transform,
        poolings=("cls",),
        precision="fp32",
    )


def _publish(store: Path, manifest: Manifest, X: np.ndarray, spec: EmbeddingSpec) -> EmbeddingCache:
    stamps = np.arange(1, len(X) + 1)
    with CacheDraft.open(store, manifest.name, spec) as draft:
        draft.append(manifest.sample_ids, [f"{n:032x}" for n in range(1, len(X) + 1)], stamps, {"cls": X})
        return draft.publish(manifest.sample_ids, stamps=stamps, device="cpu")


def make_cohort(
    folder: Path,
    task: str = "multiclass",
    *,
    images: int = 1,
    units: int = 160,
    backbone: str = "net",
    signal: float = 1.0,
) -> Cohort:
    """Exams of two a patient with a train, a val and a test; vectors of length 24 that know the label."""
    rng, classes = np.random.default_rng(7), CLASSES[task]
    unit, patient = np.repeat(np.arange(units), images), np.repeat(np.arange(units) // 2, images)
    y, labels = rng.integers(0, len(classes), units), rng.random((units, len(classes))) < 0.4
    table = pd.DataFrame({"sample_id": [f"img-{i:04d}" for i in range(len(unit))], "path": "PATIENT-SECRET/x.png"})
    table["unit_id"] = [f"EXAM-SECRET-{u:03d}" for u in unit]
    table["group_id"] = [f"PATIENT-SECRET-{p:03d}" for p in patient]
    table["split"] = np.array(["test", "val", "train", "train"])[patient % 4]
    if task == "multilabel":
        table[classes] = labels[unit].astype(int)
    else:
        table["label"] = np.array(classes)[y[unit]]
    manifest = Manifest(table, DatasetCard(name="cohort", task=task, classes=classes)).save(folder / "cohort.parquet")
    means = signal * rng.standard_normal((len(classes), 24))
    X = (labels @ means if task == "multilabel" else means[y])[unit] + rng.standard_normal((len(unit), 24))
    return Cohort(folder, manifest, _publish(folder / "embeddings", manifest, X.astype(np.float32), _spec(backbone)))


@pytest.fixture(scope="session")
def cohort_of() -> Callable[..., Cohort]:
    """`cohort_of(folder, task, images=..., units=...)`."""
    return make_cohort


@pytest.fixture(autouse=True)
def _auto_is_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Saves the seconds of a conversion."""
    monkeypatch.setattr(device, "openvino_is_installed", lambda: False)


@pytest.fixture(scope="session")
def tiny() -> Backbone:
    """A transformer of timm that runs in milliseconds."""
    return load_backbone("timm:test_vit@random", image_size=32, precision="fp32", runtime="torch", device="cpu")


def paint(file: Path, seed: int, *, dark: bool) -> None:
    """A smooth PNG, dark or bright."""
    file.parent.mkdir(parents=True, exist_ok=True)
    low = 0 if dark else 110
    coarse = np.random.default_rng(seed).integers(low, low + 140, (6, 6, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((48, 40), Image.Resampling.BICUBIC).save(file)


@pytest.fixture(scope="session")
def scans(tmp_path_factory: pytest.TempPathFactory, tiny: Backbone) -> Cohort:
    """48 images of 24 patients in two classes, embedded by `tiny`; to be read only."""
    folder = tmp_path_factory.mktemp("scans")
    rows = []
    for number in range(48):
        name = f"{number:02d}.png"
        paint(folder / "images" / name, number, dark=number % 4 < 2)
        split = "test" if number >= 36 else "train"
        rows.append((name, ("dark", "bright")[number % 4 >= 2], f"patient-{number // 2}", split))
    columns = {"image_column": "image", "label_columns": ["label"], "group_column": "patient", "split_column": "split"}
    pd.DataFrame(rows, columns=["image", "label", "patient", "split"]).to_csv(folder / "labels.csv", index=False)
    built = build_csv(folder / "labels.csv", **columns, root=folder / "images", name="scans")
    manifest = built.save(folder / "scans.parquet")
    [cache] = extract(manifest, [tiny], folder / "embeddings", workers=0, show_progress=False)
    return Cohort(folder, manifest, cache)

"""Small cohorts of real files with made-up vectors, and runs of real probes on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from medprobe.cache import CacheDraft, EmbeddingCache, EmbeddingSpec, TransformSpec
from medprobe.evaluate import Run
from medprobe.manifests import DatasetCard, Manifest
from medprobe.probe import run_probes
from PIL import Image

CLASSES = {
    "binary": ["benign", "malignant"],
    "multiclass": ["glioma", "meningioma", "pituitary"],
    "multilabel": ["effusion", "nodule"],
}


@dataclass(frozen=True)
class Cohort:
    """A manifest on disk with its images, and a cache of it next to it."""

    manifest: Manifest
    cache: EmbeddingCache
    flipped: list[str]
    """Units whose label is not the one that their vector has."""

    @property
    def path(self) -> Path:
        assert self.manifest.path is not None
        return self.manifest.path

    def run(self, **settings: Any) -> Run:
        settings = {"probes": ("centroid",), "seeds": 2, "n_jobs": 1, "progress": False} | settings
        return run_probes(self.manifest, [self.cache], **settings)


def make_cohort(
    folder: Path,
    task: str = "multiclass",
    *,
    units: int = 60,
    images: int = 1,
    flips: int = 0,
    signal: float = 2.0,
    name: str = "cohort",
) -> Cohort:
    """`units` exams of `images` images, two exams a patient; every third patient is in the test of the split."""
    rng, classes = np.random.default_rng(len(name)), CLASSES[task]
    unit = np.repeat(np.arange(units), images)
    y = rng.integers(0, 2, (units, len(classes))) if task == "multilabel" else np.arange(units) // 2 % len(classes)
    table = pd.DataFrame({"sample_id": [f"{name}-{i:03d}" for i in range(len(unit))]})
    table["path"] = [f"img/{name}-{i:03d}.png" for i in range(len(unit))]
    table["unit_id"], table["group_id"] = [f"exam-{u:03d}" for u in unit], [f"patient-{u // 2:03d}" for u in unit]
    table["split"] = np.where(unit // 6 % 3 == 0, "test", "train")
    table["site"] = np.where(unit // 2 % 2 == 0, "north", "south")
    X = signal * (y if y.ndim == 2 else np.eye(len(classes))[y])[unit] + rng.standard_normal((len(unit), len(classes)))
    wrong = rng.choice(units, flips, replace=False)
    if task == "multilabel":
        for k, label in enumerate(classes):
            table[label] = y[unit, k]
    else:
        y[wrong] = (y[wrong] + 1) % len(classes)
        table["label"] = np.array(classes)[y[unit]]
    for path, value in zip(table["path"], X[:, 0], strict=True):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((20, 30), int(np.clip(100 + 30 * value, 0, 255)), np.uint8)).save(folder / path)
    card = DatasetCard(name=name, task=task, classes=classes, attributes=["site"], root=str(folder))  # type: ignore[arg-type]
    manifest = Manifest(table.sample(frac=1, random_state=0, ignore_index=True), card).save(folder / f"{name}.parquet")
    size = {"size": (32, 32), "resize": "squash", "resize_to": (32, 32), "interpolation": "bilinear"}
    transform = TransformSpec(**size, mean=(0.5,) * 3, std=(0.5,) * 3)  # type: ignore[arg-type]
    spec = EmbeddingSpec(
        backbone="net", model="net", weights_digest="0" * 64, poolings=("cls",), precision="fp32", transform=transform
    )
    ids, first = table["sample_id"].to_numpy(object), len(name) * 10_000
    with CacheDraft.open(folder / "embeddings", name, spec) as draft:
        digests = [f"{first + i:032x}" for i in range(len(ids))]
        draft.append(ids, digests, np.ones(len(ids), np.uint64), {"cls": X.astype(np.float32)})
        cache = draft.publish(manifest.sample_ids, stamps=np.ones(len(ids), np.uint64), device="cpu")
    return Cohort(manifest, cache, [f"exam-{u:03d}" for u in sorted(wrong)])


@pytest.fixture(scope="session", name="make_cohort")
def _make_cohort() -> Callable[..., Cohort]:
    """`make_cohort(folder, task, units=, images=, flips=, signal=, name=)`."""
    return make_cohort


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """Three classes, five labels flipped; to be read only."""
    return make_cohort(tmp_path_factory.mktemp("cohort"), flips=5, signal=5.0)


@pytest.fixture(scope="session")
def folds(cohort: Cohort) -> Run:
    """Every unit of `cohort` tested by each of two seeds."""
    return cohort.run(protocol="kfold", folds=5)

"""A small made-up cohort with patients, its manifest and its caches, all written and read by the real parts."""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from medprobe.cache import CacheDraft, EmbeddingCache, EmbeddingSpec, TransformSpec
from medprobe.cache.index import as_digests
from medprobe.evaluate import Run
from medprobe.manifests import DatasetCard, Manifest
from medprobe.probe import run_probes

CLASSES = {
    "binary": ["healthy", "ill"],
    "multiclass": ["a", "b", "c"],
    "ordinal": ["mild", "moderate", "severe"],
    "multilabel": ["edema", "mass", "nodule"],
}


def make_spec(poolings: tuple[str, ...], *, backbone: str, precision: str = "fp32") -> EmbeddingSpec:
    """What embeddings by `backbone` were made with."""
    return EmbeddingSpec(
        backbone=backbone,
        model=backbone,
        weights_digest="0" * 64,
        transform=TransformSpec(
            size=(224, 224),
            resize="short-side",
            resize_to=256,
            interpolation="bicubic",
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
        ),
        poolings=poolings,
        precision=precision,
    )


def make_cache(
    store: Path,
    name: str,
    ids: Sequence[str],
    vectors: dict[str, np.ndarray],
    *,
    backbone: str = "timm:resnet18",
    precision: str = "fp32",
    quarantine: Sequence[str] = (),
    pixels: Sequence[int] | None = None,
    stamps: np.ndarray | None = None,
    trained_on: np.ndarray | None = None,
) -> EmbeddingCache:
    """Publishes `vectors` (a matrix a pooling, a row a sample) as extraction would; equal `pixels`, equal digests.

    Without `pixels` no image is a copy, of another data set either. `trained_on` are rows that the network has seen.
    """
    spec = make_spec(tuple(vectors), backbone=backbone, precision=precision)
    stamps = np.arange(1, len(ids) + 1) if stamps is None else stamps
    good = np.array([sample not in set(quarantine) for sample in ids])
    first = 1 if pixels is not None else zlib.crc32(name.encode()) << 32
    digests = np.array([f"{first + picture:032x}" for picture in (range(len(ids)) if pixels is None else pixels)])
    with CacheDraft.open(store, name, spec) as draft:
        names = np.array(ids, dtype=object)
        float32 = {pooling: matrix[good].astype(np.float32) for pooling, matrix in vectors.items()}
        draft.append(names[good], digests[good], stamps[good], float32)
        draft.quarantine(names[~good], stamps[~good], ["the file is damaged"] * int((~good).sum()))
        seen = None if trained_on is None else as_digests(digests[trained_on])
        return draft.publish(names, stamps=stamps, device="cpu", trained_on=seen)


@dataclass(frozen=True)
class Study:
    """A manifest on disk, and what its units look like to each backbone."""

    folder: Path
    manifest: Manifest
    caches: list[EmbeddingCache]

    @property
    def table(self) -> Path:
        return self.folder / "cohort.parquet"

    def probe(self, *, manifest: Manifest | None = None, **options: Any) -> Run:
        options = {"seeds": range(2), "probes": ["knn"], "n_jobs": 1, "progress": False} | options
        return run_probes(manifest or self.manifest, options.pop("caches", self.caches), **options)


def make_study(
    folder: Path,
    *,
    task: str = "multiclass",
    units: int = 120,
    signal: Sequence[float] = (0.9, 0.4),
    dims: int = 8,
    split: bool = False,
    groups: bool = True,
    images: int = 1,
    seed: int = 0,
    name: str = "cohort",
) -> Study:
    """A cohort of `units` exams of `images` images each, two exams a patient; one backbone for each of `signal`.

    The stronger the signal, the further apart are the class means of that backbone's vectors.
    """
    rng = np.random.default_rng(seed)
    classes = CLASSES[task]
    unit = np.repeat(np.arange(units), images)
    y = rng.integers(0, len(classes), units)
    labels = rng.random((units, len(classes))) < 0.35
    table = pd.DataFrame({"sample_id": [f"img-{i:05d}" for i in range(len(unit))], "path": "PATIENT-SECRET/x.png"})
    table["unit_id"] = [f"EXAM-SECRET-{u:04d}" for u in unit]
    if groups:
        table["group_id"] = [f"PATIENT-SECRET-{u // 2:04d}" for u in unit]
    if split:
        table["split"] = np.where((unit // 2) % 4 == 0, "test", "train")
    if task == "multilabel":
        for c, label in enumerate(classes):
            table[label] = labels[unit, c].astype(int)
    else:
        table["label"] = np.array(classes)[y[unit]]
    card = DatasetCard(name=name, task=task, classes=classes, license="CC0")
    manifest = Manifest(table, card).save(folder / "cohort.parquet")
    means = rng.standard_normal((len(classes), dims))
    truth = (labels @ means) if task == "multilabel" else means[y]
    caches = []
    for number, strength in enumerate(signal):
        X = strength * truth[unit] + rng.standard_normal((len(unit), dims))
        vectors = {"cls": X}
        caches.append(make_cache(folder / "embeddings", name, table["sample_id"], vectors, backbone=f"net-{number}"))
    return Study(folder, manifest, caches)


@pytest.fixture(scope="session")
def spec_of() -> Callable[..., EmbeddingSpec]:
    """`spec_of(poolings, backbone=..., precision=...)`."""
    return make_spec


@pytest.fixture(scope="session")
def cache_of() -> Callable[..., EmbeddingCache]:
    """`cache_of(store, dataset, ids, {pooling: matrix}, backbone=..., precision=..., quarantine=...)`."""
    return make_cache


@pytest.fixture(scope="session")
def study_of() -> Callable[..., Study]:
    """`study_of(folder, task=..., units=..., signal=..., split=..., images=...)`."""
    return make_study


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Three classes, 120 exams of 60 patients, two backbones of which `net-0` is the better; to be read only."""
    return make_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="session")
def official(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """As `study`, with a split of its own."""
    return make_study(tmp_path_factory.mktemp("official"), split=True)


@pytest.fixture(scope="session")
def run(study: Study) -> Run:
    """Three seeds of kNN on `study`; to be read only."""
    return study.probe(seeds=range(3))


@pytest.fixture
def copied(study: Any, tmp_path: Path) -> Path:
    """The study in a folder of its own, to be damaged; gives the manifest's table."""
    shutil.copytree(study.folder, tmp_path / "study")
    return tmp_path / "study" / "cohort.parquet"

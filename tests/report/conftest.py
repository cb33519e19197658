"""Real runs of the probe stage on small made-up cohorts, one for each kind of task."""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from medprobe.cache import CacheDraft, EmbeddingCache, EmbeddingSpec, TransformSpec
from medprobe.evaluate import FitResult, Run, SystemKey, draw_resamples
from medprobe.evaluate.results.recorder import Recorder
from medprobe.manifests import DatasetCard, Manifest
from medprobe.probe import run_probes
from medprobe.report import make_report
from scipy.special import softmax

UNITS = 90
_TASKS: dict[str, list[str]] = {
    "binary": ["benign", "malignant"],
    "multiclass": ["glioma", "meningioma", "pituitary", "none"],
    "ordinal": ["grade 1", "grade 2", "grade 3"],
    "multilabel": ["effusion", "nodule", "oedema"],
}


def make_manifest(
    task: str, classes: Sequence[str], *, name: str, units: int = UNITS, tested: Callable[[int], bool] | None = None
) -> Manifest:
    """Two thirds as many patients as units; classes in turn, so that none is rare.

    `tested` says of a patient's number whether the official split has the patient in its test; without it there is no
    such split.
    """
    number = np.arange(units)
    table = pd.DataFrame({"sample_id": [f"s{i:04d}" for i in number], "path": [f"{i}.png" for i in number]})
    table["group_id"] = [f"PATIENT-{i % (2 * units // 3):04d}" for i in number]
    if tested:
        table["split"] = ["test" if tested(i % (2 * units // 3)) else "train" for i in number]
    if task == "multilabel":
        for k, label in enumerate(classes):
            table[label] = (number // (k + 1)) % 2
    else:
        table["label"] = [classes[i % (2 * units // 3) % len(classes)] for i in number]
    card = DatasetCard(name=name, task=task, classes=list(classes), license="CC-BY-4.0", citation="Doe et al. 2020")  # type: ignore[arg-type]
    return Manifest(table, card)


def truth(manifest: Manifest) -> np.ndarray:
    """(U, C) of 0 and 1, in the order of the samples."""
    y = manifest.units().y
    return y.astype(float) if y.ndim == 2 else np.eye(len(manifest.card.classes))[y]


def make_cache(store: Path, manifest: Manifest, backbone: str, *, signal: float, seed: int = 0) -> EmbeddingCache:
    """Eight features of noise in which the label stands out by `signal`."""
    size = {"size": (32, 32), "resize": "short-side", "resize_to": 36, "interpolation": "bicubic"}
    transform = TransformSpec(**size, mean=(0.5,) * 3, std=(0.25,) * 3)  # type: ignore[arg-type]
    spec = EmbeddingSpec(
        backbone=backbone, model="timm:none", weights_digest="0" * 64, transform=transform, poolings=("cls",),
        precision="fp32",
    )  # fmt: skip
    y = truth(manifest)
    random = np.random.default_rng(seed)
    noise = random.standard_normal((len(y), 8))
    vectors = noise + signal * y @ random.standard_normal((y.shape[1], 8))
    ids = manifest.sample_ids.tolist()
    with CacheDraft.open(store, manifest.name, spec) as draft:
        first = zlib.crc32(manifest.name.encode()) << 32  # no data set has an image of another
        digests = [f"{first + i:032x}" for i in range(len(ids))]
        draft.append(ids, digests, [1] * len(ids), {"cls": vectors.astype(np.float32)})
        return draft.publish(ids, device="cpu", versions={"torch": "2.6.0"})


def make_run(
    folder: Path,
    task: str = "binary",
    *,
    classes: Sequence[str] | None = None,
    name: str = "cohort",
    backbones: dict[str, float] | None = None,
    units: int = UNITS,
    tested: Callable[[int], bool] | None = None,
    **settings: Any,
) -> Run:
    """Runs real probes; `backbones` maps each name to how well it tells the classes apart."""
    manifest = make_manifest(task, classes or _TASKS[task], name=name, units=units, tested=tested)
    named = backbones or {"strong-net": 1.0, "weak-net": 0.2}
    caches = [
        make_cache(folder / "store", manifest, backbone, signal=signal, seed=place)
        for place, (backbone, signal) in enumerate(named.items())
    ]
    asked = {"probes": ("logreg", "knn"), "seeds": range(3), "n_jobs": 1, "progress": False, **settings}
    return run_probes(manifest, caches, **asked)


@pytest.fixture(scope="session", name="make_run")
def _make_run() -> Callable[..., Run]:
    """`make_run(folder, task, classes=, name=, backbones=, **settings of run_probes)`."""
    return make_run


@pytest.fixture(scope="session")
def make_abroad() -> Callable[[Path], Run]:
    """`make_abroad(folder)`: a run that is trained on one cohort and tested on another, `elsewhere`."""

    def make(folder: Path) -> Run:
        names = {"here": UNITS, "elsewhere": 40}
        sides = [make_manifest("binary", _TASKS["binary"], name=name, units=units) for name, units in names.items()]
        (here, caches), other = ((s, [make_cache(folder / s.name, s, "net", signal=1.0)]) for s in sides)
        return run_probes(here, caches, external=other, probes=("knn",), seeds=range(2), n_jobs=1, progress=False)

    return make


@pytest.fixture(scope="session")
def runs(once: Callable[..., Path]) -> dict[str, Path]:
    """A saved run of each task, not reported on; not to be written to."""

    def make(home: Path) -> None:
        for task in _TASKS:
            make_run(home, task, name=task).save(home / "run" / task)

    home = once("runs", make)
    return {task: home / "run" / task for task in _TASKS}


@pytest.fixture(scope="session")
def reported(once: Callable[..., Path], runs: dict[str, Path]) -> dict[str, Path]:
    """Each of `runs` copied and reported on: the run's folder by task; to be read only."""

    def make(home: Path) -> None:
        for task, folder in runs.items():
            make_report(folder).save(shutil.copytree(folder, home / task))

    home = once("reported", make)
    return {task: home / task for task in runs}


@pytest.fixture
def own_run(tmp_path: Path, runs: dict[str, Path]) -> Path:
    """A copy of the binary run that a test may change."""
    return Path(shutil.copytree(runs["binary"], tmp_path / "run"))


@pytest.fixture
def own_report(tmp_path: Path, reported: dict[str, Path]) -> Path:
    """A copy of the binary run with its report that a test may change."""
    return Path(shutil.copytree(reported["binary"], tmp_path / "run"))


def _fine_tuned(run: Run, manifest: Manifest, modes: dict[str, float]) -> Run:
    """Made-up networks on the backbones of a run of probes: `modes` says how well each knows the classes."""
    units, classes = manifest.units(), manifest.card.classes
    recorder, rng = Recorder(manifest.card, run.info["protocol"], units), np.random.default_rng(0)
    for place, (mode, signal) in enumerate(modes.items()):
        for cache, resample in product(run.info["caches"], draw_resamples(units, run.info["seeds"], classes=classes)):
            val, test = (
                softmax(signal * truth(manifest)[part] + rng.standard_normal((len(part), len(classes))), axis=1)
                for part in (resample.val, resample.test)
            )
            best, losses = 4 + place, 0.9 ** np.arange(1, 11)
            curves = [
                {"epoch": epoch, "train_loss": loss**2, "lr": 1e-4, "chosen": epoch == best}
                | {"val_loss": loss + 0.004 * epoch**2 + noise, "val_metric": 1 - loss / 2 - noise}
                for (epoch, loss), noise in zip(enumerate(losses, 1), rng.normal(0, 0.02, 10), strict=True)
            ]
            result = FitResult(
                resample,
                val_proba=val.astype(np.float32),
                test_proba=test.astype(np.float32),
                params={"epoch": best, "trained_parameters": 1000 * 30**place},
                fit_s=100.0 * (1 + place),
                peak_bytes=(1 + place) * 10**9,
                curves=curves,
            )
            key = cache["backbone"], cache["fingerprint"], "cls", f"finetune:{mode}"
            recorder.add(SystemKey(manifest.card.name, *key), result)
    facts = {"aggregation": "predictions", "refit": False}
    recipe = {"name": "huix2024", "lr": 0.001, "crop_scale": [0.8, 1.0]}
    probes = {
        f"finetune:{name}": {
            "label": f"Fine-tuning ({name})",
            "frozen": name == "linear",
            **facts,
            "settings": {"mode": ":".join(word for word in name.split(":") if "=" not in word), **recipe},
        }
        for name in modes
    }
    info = {**run.info, "probes": probes, "versions": {**run.info["versions"], "torch": "2.6.0"}}
    tables = recorder.scores(), recorder.predictions(), recorder.timings()
    return Run(*tables, run.units, info, epochs=recorder.epochs())


@pytest.fixture(scope="session")
def mixed(once: Callable[..., Path]) -> list[Path]:
    """A run of probes and one of fine-tuned networks, on the same resamples; not to be written to."""

    def make(home: Path) -> None:
        run = make_run(home, "binary", backbones={"strong-net": 0.6, "weak-net": 0.2}, protocol="holdout")
        run.save(home / "frozen")
        manifest = make_manifest("binary", _TASKS["binary"], name="cohort")
        modes = {"linear": 0.8, "partial:2:crop_scale=[0.8,1],lr=0.001,recipe=huix2024": 2.0, "full": 1.2}
        _fine_tuned(run, manifest, modes).save(home / "fine-tuned")

    home = once("mixed", make)
    return [home / "frozen", home / "fine-tuned"]

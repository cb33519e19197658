"""The examples in the docstrings of the public names run as they are printed, and none is missing.

Not by `--doctest-modules`: the folders of the repository are `medprobe.x` only once installed.
"""

from __future__ import annotations

import doctest
import importlib
import inspect
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from medprobe.cache import CacheDraft, EmbeddingCache, EmbeddingSpec, TransformSpec
from medprobe.evaluate import Run
from medprobe.manifests import Manifest, build_csv
from medprobe.probe import run_probes
from PIL import Image

_PACKAGES = (
    "base",
    "manifests",
    "cache",
    "extract",
    "evaluate",
    "probe",
    "finetune",
    "model",
    "study",
    "report",
    "explore",
)
_OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def _public(package: str) -> list[str]:
    """Names of the classes and functions of a package that `__all__` lists, without exceptions and type aliases."""
    module = importlib.import_module(f"medprobe.{package}")
    values = {name: getattr(module, name) for name in module.__all__}
    exempt = [name for name, value in values.items() if inspect.isclass(value) and issubclass(value, Exception)]
    own = [name for name, value in values.items() if getattr(value, "__module__", "").startswith("medprobe.")]
    return [f"{package}.{name}" for name in own if name not in exempt and callable(values[name])]


def _write_images(folder: Path, rng: np.random.Generator) -> None:
    """60 images of 30 patients, the second a copy of the first, and `labels.csv` that lists them."""
    rows = []
    for number in range(60):
        diagnosis = ("benign", "malignant")[number // 2 % 2]
        file = folder / "images" / diagnosis / f"{number:02d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(file)
        sex = "female" if number % 8 < 4 else "male"
        rows.append((f"{diagnosis}/{file.name}", diagnosis, f"P{number // 2:02d}", sex))
    first, copy = rows[0][0], rows[1][0]
    (folder / "images" / copy).write_bytes((folder / "images" / first).read_bytes())
    columns = ["image", "diagnosis", "patient", "sex"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "labels.csv", index=False)


def _make_cache(manifest: Manifest, store: Path, backbone: str, signal: float) -> EmbeddingCache:
    """A published cache of random vectors of length 16, whose first number knows the class."""
    transform = TransformSpec(
        size=(32, 32), resize="squash", resize_to=(32, 32), interpolation="bilinear", mean=(0.5,) * 3, std=(0.5,) * 3
    )
    spec = EmbeddingSpec(
        backbone=backbone,
        model=backbone,
        weights_digest="0" * 64,
        transform=transform,
        poolings=("mean",),
        precision="fp32",
    )
    rng = np.random.default_rng(len(backbone))
    units = manifest.units()
    X = rng.standard_normal((len(manifest), 16)).astype(np.float32)
    X[:, 0] += signal * units.y[units.sample_unit]
    digests = [f"{number:032x}" for number in range(len(manifest))]
    stamps = manifest.stamps()[0]
    with CacheDraft.open(store, manifest.name, spec) as draft:
        draft.append(manifest.sample_ids, digests, stamps, {"mean": X})
        return draft.publish(manifest.sample_ids, stamps=stamps, device="cpu")


def _make_run(manifest: Manifest, store: Path) -> tuple[list[EmbeddingCache], Run]:
    strong, weak = ("timm:resnet50", 3.0), ("timm:resnet18", 1.0)
    caches = [_make_cache(manifest, store, *backbone) for backbone in (strong, weak)]
    return caches, run_probes(manifest, caches, probes=("centroid", "knn"), seeds=2, n_jobs=1, progress=False)


@pytest.fixture(scope="module")
def namespace(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the examples take for granted: a folder with images, a manifest, its caches, and runs of two data sets."""
    folder = tmp_path_factory.mktemp("examples")
    _write_images(folder, np.random.default_rng(0))
    built = build_csv(
        folder / "labels.csv",
        image_column="image",
        label_columns=["diagnosis"],
        group_column="patient",
        attributes=["sex"],
        root=folder / "images",
        name="lesions",
    )
    manifest = built.save(folder / "lesions.parquet")
    caches, run = _make_run(manifest, folder / "embeddings")
    moles = Manifest(built.table, built.card.model_copy(update={"name": "moles"}), built.path)
    other = _make_run(moles.save(folder / "moles.parquet"), folder / "embeddings")[1]
    run.save(folder / "run")
    return {"folder": folder, "manifest": manifest, "caches": caches, "run": run, "runs": [run, other]}


_SLOW = {"extract.extract_on"}
"""Which start processes that import torch."""
_NAMES = [name for package in _PACKAGES for name in _public(package)]


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in _SLOW)) for n in _NAMES])
def test_every_public_name_has_an_example_that_runs(
    name: str, namespace: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(namespace["folder"])
    package, _, attribute = name.partition(".")
    value = getattr(importlib.import_module(f"medprobe.{package}"), attribute)
    names = {**vars(importlib.import_module(value.__module__)), **namespace}
    example = doctest.DocTestParser().get_doctest(inspect.getdoc(value) or "", names, name, None, None)
    assert example.examples, f"medprobe.{name} has no example in its docstring"
    result = doctest.DocTestRunner(optionflags=_OPTIONS).run(example)
    assert result.failed == 0


@pytest.mark.parametrize("page", ["README.md", "docs/results.md"])
def test_the_python_of_a_page_runs(
    page: str, namespace: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(namespace["folder"])
    namespace["manifest"].save("my.parquet")
    namespace["run"].save("runs/brain", overwrite=True)
    text = (Path(__file__).parent.parent / page).read_text(encoding="utf-8")
    [snippet] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(snippet, {})
    assert "timm:resnet50" in capsys.readouterr().out

"""Commands import what they need and no more: each runs in a process of its own, which lists its modules at the end."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from medprobe.cache import CacheDraft, EmbeddingSpec
from medprobe.evaluate import Run
from medprobe.manifests import build_folder
from medprobe.probe import evaluate
from PIL import Image

_CODE = """
import atexit, sys
from medprobe.cli.app import main
atexit.register(lambda: open("modules", "w").write("\\n".join(sys.modules)))
main()
"""
_TORCH = {"torch", "torchvision", "timm", "transformers", "openvino"}
_ARRAYS = {"numpy", "pandas", "scipy", "h5py", "pyarrow"}


@pytest.fixture
def imported(tmp_path: Path) -> Callable[..., tuple[set[str], str]]:
    """`imported(*words)`: the modules that a command has imported when it ends, and what it printed."""

    def run(*words: object) -> tuple[set[str], str]:
        command = [sys.executable, "-c", _CODE, *map(str, words)]
        ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        return set((tmp_path / "modules").read_text().split()), ended.stdout + ended.stderr

    return run


@pytest.fixture(scope="session")
def a_run(once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """A run folder."""

    def make(folder: Path) -> None:
        random = np.random.default_rng(0)
        y = np.repeat(["a", "b"], 40)
        run: Run = evaluate(random.normal(size=(80, 4)) + (y == "a")[:, None], y, probes=["knn"], seeds=2)
        run.save(folder)

    return once("run-of-starts", make)


def test_the_help_needs_no_arrays(imported) -> None:
    modules, printed = imported("--help")
    assert "extract" in printed
    assert not modules & (_TORCH | _ARRAYS | {"sklearn", "matplotlib"})


@pytest.mark.parametrize("command", [("extract", "absent.csv"), ("finetune", "absent.csv", "--out", "out")])
def test_a_misspelt_backbone_needs_neither_torch_nor_the_manifest(imported, command) -> None:
    modules, printed = imported(*command, "-b", "dinov2-x")
    assert 'Did you mean "dinov2-s"' in printed
    assert not modules & (_TORCH | _ARRAYS)


def test_doctor_needs_torch_where_there_is_a_gpu_alone(imported) -> None:
    from medprobe.base.hardware import gpu_files

    modules, printed = imported("doctor")
    assert "by default" in printed
    assert bool(modules & _TORCH) == bool(gpu_files())


@pytest.mark.parametrize("normalization", ["model", "dataset"])
def test_where_all_is_embedded_torch_is_not_needed(imported, medprobe, tmp_path, normalization) -> None:
    for number in range(4):
        (tmp_path / "images" / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        Image.new("L", (20, 20), number).save(tmp_path / "images" / "ab"[number % 2] / f"{number}.png")
    build_folder(tmp_path / "images").save(tmp_path / "images.parquet")
    words = ("extract", tmp_path / "images.parquet", "-b", "timm:test_vit@random", "--image-size", "32")
    words += ("--runtime", "torch", "--normalization", normalization)
    assert medprobe(*words, "--workers", "0").status == 0
    for option, expected in (((), "complete before this run"), (("--dry-run",), "To decode: 0 images")):
        modules, printed = imported(*words, *option)
        assert expected in printed
        assert not modules & (_TORCH | {"sklearn", "scipy", "matplotlib"})
    assert "torch" in imported(*words, "--pooling", "mean", "--dry-run")[0], "another spec is not known"


def test_listing_caches_needs_arrays_alone(imported, tmp_path) -> None:
    spec = EmbeddingSpec(
        backbone="net", model="net", weights_digest="0" * 64, transform=None, poolings=("cls",), precision="fp32"
    )
    with CacheDraft.open(tmp_path / "store", "cohort", spec) as draft:
        draft.append(["a"], ["0" * 32], np.arange(1), {"cls": np.ones((1, 4), np.float32)})
        draft.publish(["a"], stamps=np.arange(1))
    modules, printed = imported("cache", "ls", "store")
    assert spec.fingerprint in printed
    assert not modules & (_TORCH | {"pandas", "scipy", "pyarrow", "yaml"})


def test_statistics_of_one_system_need_no_tests_of_scipy(imported, a_run) -> None:
    modules, printed = imported("stats", a_run)
    assert "balanced" in printed or "roc" in printed.lower()
    assert not modules & (_TORCH | {"sklearn", "matplotlib", "lightgbm", "scipy.stats", "scipy.optimize"})


def test_a_report_needs_neither_torch_nor_scikit_learn(imported, a_run, tmp_path) -> None:
    modules, printed = imported("report", a_run, "--out", tmp_path / "report")
    assert "Report:" in printed
    assert not modules & (_TORCH | {"sklearn", "lightgbm", "scipy.stats"})

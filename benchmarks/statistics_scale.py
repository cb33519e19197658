"""Processor seconds and peak memory of `medprobe stats` and `medprobe report` on a large run.

`python benchmarks/statistics_scale.py --seeds 500`: scikit-learn's digits under ten random projections, two probes, so
20 systems; the run itself takes a minute or two.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from medprobe.probe import evaluate
from sklearn.datasets import load_digits


def make_run(folder: Path, seeds: int) -> None:
    """Fits and saves the run."""
    X, y = load_digits(return_X_y=True)
    generator = np.random.default_rng(0)
    projections = {f"projection-{k}": np.tanh(X @ generator.standard_normal((64, 16 + 8 * k)) / 30) for k in range(10)}
    run = evaluate(projections, y, probes=["centroid", "knn:k=5"], seeds=seeds, name="digits")
    print(f"{len(run.predictions):,} rows of predictions")
    run.save(folder)


def measure(command: str, folder: Path) -> None:
    """Prints what a command takes, from start to end."""
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "medprobe.cli", command, str(folder)], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"medprobe {command} failed")
    processor_s, wall_s = used.ru_utime + used.ru_stime, time.perf_counter() - started
    print(f"{command}: {processor_s:.0f} s of processor, {wall_s:.0f} s, peak {used.ru_maxrss / 1e6:.1f} GB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=500)
    with TemporaryDirectory() as folder:
        make_run(Path(folder) / "run", parser.parse_args().seeds)
        for command in ("stats", "report"):
            measure(command, Path(folder) / "run")


if __name__ == "__main__":
    main()

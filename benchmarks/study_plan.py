"""Seconds and peak memory of planning a large study: 10 data sets, 30 backbones, 4 probes, 100 seeds.

`python benchmarks/study_plan.py --rows 20000`
"""

from __future__ import annotations

import argparse
import resource
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from medprobe.extract import catalogue
from medprobe.manifests import DatasetCard, Manifest
from medprobe.study import compile_study, load_study


def make_study(folder: Path, rows: int) -> Path:
    """Manifests without images, and the study file."""
    for number in range(10):
        table = pd.DataFrame(
            {
                "sample_id": [f"scan-{row}" for row in range(rows)],
                "path": [f"{row % 100:02}/scan-{row}.png" for row in range(rows)],
                "label": np.array(["a", "b", "c", "d"])[np.arange(rows) % 4],
                "group_id": [f"patient-{row // 3}" for row in range(rows)],
                "split": np.array(["train", "train", "train", "val", "test"])[np.arange(rows) // 3 % 5],
            }
        )
        card = DatasetCard(name=f"set{number}", task="multiclass", classes=list("abcd"))
        Manifest(table, card).save(folder / f"set{number}.parquet")
    backbones = ", ".join(list(catalogue())[:30])
    sets = ", ".join(f"set{number}.parquet" for number in range(10))
    file = folder / "study.yaml"
    file.write_text(
        f"data: [{sets}]\nextract: {{backbones: [{backbones}]}}\n"
        "probe: {probes: [logreg, knn, gbm, centroid], seeds: 100}\n"
    )
    return file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    with TemporaryDirectory() as folder:
        file = make_study(Path(folder), parser.parse_args().rows)
        started, cpu = time.perf_counter(), time.process_time()
        jobs = compile_study(load_study(file), file.parent)
        wall, cpu = time.perf_counter() - started, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in Counter(job.kind for job in jobs).items())
    longest = max(len(" ".join(job.command)) for job in jobs)
    print(f"{len(jobs):,} jobs ({kinds}) in {wall:.1f} s ({cpu:.1f} s of processor), peak {peak:,.0f} MB")
    print(f"longest command {longest:,} characters; longest job {max(job.needs.minutes for job in jobs):.0f} min")


if __name__ == "__main__":
    main()

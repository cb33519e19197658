"""Processor seconds and peak memory of `medprobe probe` on embeddings as large as memory, one probe after the other.

    python benchmarks/probe_scale.py [--rows 1000000] [--seeds 5] [--probe logreg]

Vectors of 768 made-up features whose variance falls as that of a network's does, in four classes that overlap; the
manifest's split has 98, 1 and 1 % of the rows, about as MIMIC-CXR's has. Each probe is a command of its own in one
process. `matrix` is the peak of memory above that of the same command on 2,000 rows, in units of the matrix in float32.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from medprobe.cache import CacheDraft, EmbeddingSpec, TransformSpec, default_store
from medprobe.manifests import DatasetCard, Manifest

WIDTH, CLASSES = 768, ("a", "b", "c", "d")
_STEP = 10_000


def make(table: Path, rows: int) -> None:
    """The manifest, and a cache of it in bf16, which is float16 on disk."""
    rng = np.random.default_rng(0)
    label, ids = rng.integers(0, len(CLASSES), rows), np.array([f"{row:07d}" for row in range(rows)], object)
    scale = (1 / np.sqrt(1 + np.arange(WIDTH) / 20)).astype(np.float32)
    centres = 0.06 * rng.standard_normal((len(CLASSES), WIDTH), np.float32)
    transform = TransformSpec(
        size=(224, 224), resize="squash", resize_to=(224, 224), interpolation="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3
    )
    spec = EmbeddingSpec(
        backbone="made-up", model="timm:none", weights_digest="0" * 64, transform=transform, poolings=("cls",),
        precision="bf16",
    )  # fmt: skip
    with CacheDraft.open(default_store(table), "large", spec, segment_rows=5 * _STEP) as draft:
        for start in range(0, rows, _STEP):
            number = np.arange(start, min(start + _STEP, rows))
            vectors = rng.standard_normal((len(number), WIDTH), np.float32) + centres[label[number]]
            draft.append(ids[number], [f"{n:032x}" for n in number], number, {"cls": vectors * scale})
        draft.publish(ids, stamps=np.arange(rows))
    split = rng.choice(["train", "val", "test"], rows, p=[0.98, 0.01, 0.01])
    frame = pd.DataFrame({"sample_id": ids, "path": "x.png", "label": np.array(CLASSES)[label], "split": split})
    Manifest(frame, DatasetCard(name="large", task="multiclass", classes=list(CLASSES))).save(table)


def measured(table: Path, probe: str, seeds: int) -> tuple[float, float]:
    """Processor seconds and peak memory in MB of the command."""
    words = ["probe", str(table), "--probe", probe, "--seeds", str(seeds), "--jobs", "1", "--overwrite"]
    command = [sys.executable, "-m", "medprobe.cli", *words, "--out", str(table.parent / "run")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"medprobe probe --probe {probe} failed")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--probe", action="append", help="may be repeated; logreg, knn and gbm by default")
    args = parser.parse_args()
    with TemporaryDirectory() as place:
        tables = {rows: Path(place) / f"{rows}" / "large.parquet" for rows in (2_000, args.rows)}
        for rows, table in tables.items():
            # In processes of their own: a command's peak begins with what its parent had.
            table.parent.mkdir()
            maker = multiprocessing.get_context("spawn").Process(target=make, args=(table, rows))
            maker.start()
            maker.join()
        few, many = tables.values()
        for probe in args.probe or ["logreg", "knn", "gbm"]:
            _, base = measured(few, probe, args.seeds)
            seconds, peak = measured(many, probe, args.seeds)
            matrix = (peak - base) / (4 * args.rows * WIDTH / 2**20)
            print(
                f"{probe} {seconds / args.seeds:.1f} s of processor per seed, {peak:.0f} MB, {matrix:.2f} matrix",
                flush=True,
            )


if __name__ == "__main__":
    main()

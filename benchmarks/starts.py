"""How long commands take that compute little, against the import of a library in the same run: `name ours peer ratio`.

    python benchmarks/starts.py [--images FOLDER] [-b BACKBONE] [--rounds 3] [--caches 2000]

Each command and its peer run in turn, as processes of their own. Medians of their seconds, of the processor (its user
and its system time), on which other programs have less influence, and of the clock. Each has one BLAS thread, since
more wait for each other in busy loops.

The images are a folder of class folders under train/ and test/. `cache-ls` lists a store of small caches of 20 data
sets, each published as `extract` does it, which takes a minute.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from medprobe.cache import CacheDraft, EmbeddingSpec, TransformSpec

_DATA = Path(os.environ.get("MEDPROBE_TEST_DATA", Path(__file__).resolve().parent.parent.parent / "shared" / "data"))
_MEDPROBE = [sys.executable, "-m", "medprobe.cli"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, default=_DATA / "brain-mri")
    parser.add_argument("-b", "--backbone", default="efficientnet-lite0")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--caches", type=int, default=2000)
    args = parser.parse_args()
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        extract = ["extract", "m.parquet", "-b", args.backbone]
        probes = ["--probe", "knn", "--probe", "centroid", "--seeds", "100", "--out", "run"]
        for words in (
            ["manifest", "build", "folder", str(args.images.resolve()), "--out", "m.parquet"],
            extract,
            ["probe", "m.parquet", *probes],
        ):
            _seconds([*_MEDPROBE, *words], folder)
        make_store(folder / "store", args.caches)
        commands = {
            "help": ("torch", ["--help"]),
            "misspelt": ("torch", [*extract[:-1], f"{args.backbone}x"]),
            "finished": ("torch", extract),
            "dry-run": ("torch", [*extract, "--dry-run"]),
            "doctor": ("torch", ["doctor"]),
            "cache-ls": ("sklearn", ["cache", "ls", "store"]),
            "stats": ("sklearn", ["stats", "run"]),
            "report": ("sklearn", ["report", "run"]),
        }
        for name, (peer, words) in commands.items():
            measure(name, peer, [*_MEDPROBE, *words], folder, args.rounds)


def make_store(store: Path, caches: int) -> None:
    """Caches of 20 rows and two poolings."""
    transform = TransformSpec(
        size=(224, 224), resize="squash", resize_to=(224, 224), interpolation="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3
    )
    vectors = np.random.default_rng(0).standard_normal((20, 32), np.float32)
    ids, digests, stamps = [f"{row}" for row in range(20)], [f"{row:032x}" for row in range(20)], np.arange(20)
    for number in range(caches):
        name = f"net-{number // 20}"
        spec = EmbeddingSpec(
            backbone=name, model=name, weights_digest="0" * 64, transform=transform, poolings=("cls", "mean"),
            precision="fp32",
        )  # fmt: skip
        with CacheDraft.open(store, f"set-{number % 20}", spec) as draft:
            draft.append(ids, digests, stamps, {"cls": vectors, "mean": vectors})
            draft.publish(ids, stamps=stamps)


def measure(name: str, peer: str, command: list[str], folder: Path, rounds: int) -> None:
    """Runs both in turn and prints medians."""
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(_seconds(command, folder, check=name != "misspelt"))
        theirs.append(_seconds([sys.executable, "-c", f"import {peer}"], folder))
    for place, clock in enumerate(("processor", "wall clock")):
        own, other = (statistics.median(one[place] for one in times) for times in (ours, theirs))
        print(f"{name:9} {own:6.2f} s, import {peer} {other:5.2f} s, ratio {own / other:.2f} ({clock})", flush=True)


def _seconds(command: list[str], folder: Path, *, check: bool = True) -> tuple[float, float]:
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=check)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return processor, time.perf_counter() - start


if __name__ == "__main__":
    main()

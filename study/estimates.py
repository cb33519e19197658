"""What jobs take, roughly: minutes, memory, cores and disk from rows, columns, classes and seeds.

The rates are those of docs/performance.md (two cores of a server, 2026), in seconds of one core unless stated. Half or
twice the time is usual; what is requested of a cluster is more, and is raised when a job is tried again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from ..extract import Entry
from .jobs import Kind, Needs
from .schema import StudyFile

_START = 0.1
"""Minutes until a command has begun."""
_LIBRARIES_MB, _TORCH_MB = 700, 2500
_CORES = 8
"""Of a job that runs a network; where there are fewer, it gets those."""
_GPU_SPEED = 30
"""A GPU against eight cores."""
_DECODE_S = 0.005
"""Of an image, on one core."""
_TESTED = 0.3
"""Share of the units that one seed predicts."""


class Work(NamedTuple):
    """Seconds of one core."""

    once: float
    """For all seeds."""
    each: float
    """For one seed."""


def columns_of(entry: Entry, poolings: Sequence[str]) -> int:
    """Columns of all vectors of a backbone; 768 for each term of a pooling where the catalogue does not know."""
    terms = sum(len(pooling.split("+")) for pooling in list(poolings) or entry.poolings[:1] or ["cls"])
    return terms * (entry.dim or 768)


def forward_seconds(entry: Entry, image_size: int | None) -> float:
    """Seconds per image of a network on eight cores, in fp32.

    DINOv2-S (384 columns) takes 0.04 s on two cores at 224 pixels and ResNet50 as long; a transformer's time grows
    with the square of its columns, a convolutional network's less, as its columns are those of its last map.
    """
    is_transformer = "cls" in entry.poolings or not entry.poolings
    pixels = ((image_size or entry.image_size or 224) / 224) ** 2
    width = ((entry.dim or 768) / 384) ** 2 if is_transformer else 1
    return 0.04 * 2 / _CORES * width * pixels


def extraction(study: StudyFile, rows: int, networks: list[tuple[float, int]]) -> Needs:
    """Of embedding `rows` images with networks of these seconds per image and columns."""
    on_gpu = bool(_gpus(study, "extract"))
    seconds = rows * (_DECODE_S + sum(each for each, _ in networks) / (_GPU_SPEED if on_gpu else 1))
    columns = sum(columns for _, columns in networks)
    return _needs(
        study,
        "extract",
        minutes=_START + 0.2 * len(networks) + seconds / 60,
        memory_mb=_TORCH_MB + 1000 * len(networks) + rows / 1000,
        cores=_CORES,
        disk_mb=rows * (columns * 4 + 100) / 1e6,
    )


def probe_seconds(family: str, rows: int, columns: int, classes: int, fits: int = 1) -> Work:
    """What a probe takes, of which each seed has `fits`.

    100 seeds of 7,019 rows, 4 classes and 384 + 1,280 columns take two cores 53.9 s (logistic regression), 2.4 s (kNN,
    nearly all of it for the distances of all rows) and about 127 s (boosting, of 192 components whatever the columns).
    """
    cells = rows * columns
    once, each = {
        "logreg": (0.0, 2.3e-8 * cells * classes),
        "knn": (6e-11 * cells * rows, 4e-7 * rows),
        "gbm": (0.0, 4.5e-5 * rows * classes),
        "centroid": (0.0, 2e-9 * cells),
    }.get(family, (0.0, 2e-6 * cells))
    return Work(once, each * fits + 0.01)


def probing(study: StudyFile, work: Work, seeds: int, rows: int, columns: int, classes: int) -> Needs:
    """Of a block of seeds."""
    seconds = work.once + seeds * work.each
    cores = 4 if seconds > 1800 else 1
    return _needs(
        study,
        "probe",
        minutes=_START + seconds / 60 / cores,
        # The matrix, a standardised copy and what the solver keeps; the predictions of every seed.
        memory_mb=_LIBRARIES_MB + (rows * columns * 4 * 3 + rows * seeds * classes * 16) / 1e6,
        cores=cores,
        disk_mb=0.1 + _TESTED * rows * seeds * (classes + 2) * 4 / 1e6,
    )


def finetune_seconds(mode: str, forward: float, rows: int, epochs: int, candidates: int) -> float:
    """Seconds of one training: a backward pass costs twice the forward pass, through one block a sixth of it."""
    kind = mode.partition("+")[2] or mode
    share = 0.01 if kind.startswith(("linear", "mlp", "drop-last")) else 0.5 if kind.startswith("partial") else 3.0
    return rows * (forward + _DECODE_S + candidates * epochs * share * forward)


def finetuning(study: StudyFile, seconds: float, rows: int, seeds: int, classes: int) -> Needs:
    """Of the seeds of one network and mode."""
    on_gpu = bool(_gpus(study, "finetune"))
    return _needs(
        study,
        "finetune",
        minutes=_START + 0.2 + seeds * seconds / 60 / (_GPU_SPEED if on_gpu else 1),
        memory_mb=_TORCH_MB + 4000,
        cores=_CORES,
        disk_mb=0.1 + _TESTED * rows * seeds * (classes + 2) * 4 / 1e6,
    )


def reading(study: StudyFile, kind: Kind, rows: int) -> Needs:
    """Of building or checking a manifest: 7,000 images take 14 s of two cores."""
    return _needs(
        study, kind, minutes=_START + rows * 0.002 / 60, memory_mb=1500 + rows / 100, cores=2, disk_mb=rows / 500
    )


def searching(study: StudyFile, rows: int, columns: int) -> Needs:
    """Of a search for similar images."""
    return _needs(
        study,
        "retrieve",
        minutes=_START + 6e-11 * rows * rows * columns / 60,
        memory_mb=_LIBRARIES_MB + rows * columns * 8 / 1e6,
        cores=1,
        disk_mb=1,
    )


def gathering(study: StudyFile, kind: Kind, rows: int, systems: int, seeds: int, classes: int) -> Needs:
    """Of merging, of statistics and of a report: the predictions of all systems and seeds are in memory.

    A row of them takes 130 bytes besides the probabilities; merging has those of the parts and of the whole.
    """
    predictions = _TESTED * rows * seeds * systems
    copies, seconds_each = {"merge": (2.5, 3e-6), "stats": (1.5, 1e-5)}.get(kind, (1.5, 6e-6))
    return _needs(
        study,
        kind,
        minutes=_START + 0.1 + predictions * seconds_each / 60,
        memory_mb=_LIBRARIES_MB + predictions * (130 + 4 * classes) * copies / 1e6,
        cores=1,
        disk_mb=1 + predictions * (classes + 2) * 4 / 1e6 * (kind == "merge"),
    )


def _gpus(study: StudyFile, kind: Kind) -> int:
    own = study.resources.get(kind)  # pyright: ignore[reportArgumentType]
    if own and own.gpus is not None:
        return own.gpus
    return int(kind in ("extract", "finetune") and study.cluster.gpu_partition is not None)


def _needs(study: StudyFile, kind: Kind, *, minutes: float, memory_mb: float, cores: int, disk_mb: float) -> Needs:
    """The estimate, where the study does not say it."""
    own = study.resources.get(kind)  # pyright: ignore[reportArgumentType]
    return Needs(
        cores=(own and own.cores) or cores,
        memory_mb=math.ceil(own.memory_gb * 1000 if own and own.memory_gb else memory_mb),
        minutes=round(minutes, 2),
        walltime=(own and own.minutes) or max(10, math.ceil(3 * minutes)),  # an estimate may be wrong by a factor
        gpus=_gpus(study, kind),
        disk_mb=math.ceil(disk_mb),
    )

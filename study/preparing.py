"""The jobs before any probe: manifests are built and checked, images are embedded."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from . import estimates
from .arguments import File, image_options, output
from .data_sets import Source
from .jobs import Job, Needs
from .plan import Plan, images_of
from .schema import Images
from .systems import Network

_TOGETHER = 4
"""Backbones that one job embeds with: they are in memory together."""
_MOST_SHARDS = 100
_UNREADABLE = {"unreadable-image", "missing-file"}
"""What a study may allow, and its images are then left out."""


@dataclass(frozen=True)
class Data:
    """A data set with its manifest."""

    source: Source
    manifest: File
    checked: File
    """Is there once the manifest has passed its checks."""
    reads: tuple[str, ...]
    """The files of the manifest."""


@dataclass(frozen=True)
class Embedded:
    """A backbone on a data set."""

    network: Network
    record: File
    """Names the cache."""
    cost: tuple[float, int]
    """Seconds per image, and columns."""


def prepare(plan: Plan, source: Source, jobs: list[Job]) -> Data:
    """Adds to `jobs` those that build and check a manifest."""
    manifest, reads = File(source.manifest, source.key), source.reads
    if source.options:
        manifest, card = _build(plan, source, jobs)
        reads = (manifest.path, card)
    allowed = [word for code in sorted(source.given.allow) for word in ("--allow", code)]
    checked = output(f"checks/{source.label}", "check", allowed, [manifest.key], ".json")
    command = ("medprobe", "manifest", "check", manifest.path, *allowed, "--save", checked.path)
    needs = estimates.reading(plan.study, "check", source.rows)
    jobs.append(Job("check", f"check-{source.label}", command, reads, (checked.path,), needs))
    return Data(source, manifest, checked, reads)


def _build(plan: Plan, source: Source, jobs: list[Job]) -> tuple[File, str]:
    """The manifest and its card."""
    manifest = output(f"manifests/{source.label}", "build", source.options, [source.key], ".parquet")
    card = f"{manifest.path.removesuffix('.parquet')}.yaml"
    command = ["medprobe", "manifest", "build", *source.options]
    if not {"--key", "--keep-ids"} & set(source.options):
        # One key for all versions of the manifest, so that a patient keeps the id, and thereby the resamples.
        command += ["--key", f"manifests/{source.label}.key"]
    command += ["--out", manifest.path, "--overwrite"]
    needs = estimates.reading(plan.study, "build", source.rows)
    outputs = (manifest.path, card)
    jobs.append(Job("build", f"build-{source.label}", tuple(command), source.reads, outputs, needs))
    return manifest, card


def embed(plan: Plan, data: Data, jobs: list[Job]) -> list[Embedded]:
    """Adds to `jobs` those that embed a data set, backbones that see the same images together."""
    found = [_embedded(plan, data, network) for network in plan.networks]
    groups: dict[tuple[Images, bool], list[Embedded]] = {}
    for one in found:
        # Those that are embedded already are apart, so that a further backbone does not run them again.
        is_there = (plan.out / one.record.path).exists()
        groups.setdefault((images_of(plan.study, data.source, one.network), is_there), []).append(one)
    for (images, is_there), group in groups.items():
        for part in _packed(plan, data.source, group):
            _extract(plan, data, images, part, jobs, is_there=is_there)
    return found


def _embedded(plan: Plan, data: Data, network: Network) -> Embedded:
    images = images_of(plan.study, data.source, network)
    settings = [*image_options(images), *_how(plan), network.key, *network.poolings]
    stem = f"embedded/{data.source.label}/{network.label}"
    cost = (
        estimates.forward_seconds(network.entry, images.image_size),
        estimates.columns_of(network.entry, network.poolings),
    )
    return Embedded(network, output(stem, "extract", settings, [data.manifest.key], ".json"), cost)


def _how(plan: Plan) -> list[str]:
    extract = plan.study.extract
    given = {"--precision": extract.precision, "--runtime": extract.runtime}
    return [word for option, value in given.items() if value != "auto" for word in (option, value)]


def _needs(plan: Plan, source: Source, group: Iterable[Embedded], shards: int = 1) -> Needs:
    return estimates.extraction(plan.study, math.ceil(source.rows / shards), [one.cost for one in group])


def _packed(plan: Plan, source: Source, group: Iterable[Embedded]) -> Iterator[list[Embedded]]:
    """Backbones that one job embeds with."""
    part: list[Embedded] = []
    for one in group:
        longer = [*part, one]
        is_long = _needs(plan, source, longer).minutes > plan.study.minutes_per_job
        if part and (is_long or len(longer) > _TOGETHER):
            yield part
            longer = [one]
        part = longer
    yield part


def _extract(plan: Plan, data: Data, images: Images, group: list[Embedded], jobs: list[Job], *, is_there: bool) -> None:
    """One job, or for many images one for each shard and one that publishes."""
    needs = _needs(plan, data.source, group)
    shards = 1 if is_there else min(_MOST_SHARDS, math.ceil(needs.minutes / plan.study.minutes_per_job))
    each = _needs(plan, data.source, group, shards)
    first, others = group[0].network.label, len(group) - 1
    name = f"extract-{data.source.label}-{first}" + (f"-and-{others}-more" if others else "")
    command = ["medprobe", "extract", data.manifest.path]
    command += [word for one in group for word in ("-b", one.network.named())]
    command += [*image_options(images), *_how(plan), "--cache", plan.store, "--workers", "{threads}"]
    command += ["--allow-unreadable"] * bool(_UNREADABLE & set(data.source.given.allow))
    reads = (*data.reads, data.checked.path)
    markers: list[str] = []
    for number in range(1, shards + 1) if shards > 1 else ():
        stem = f"embedded/{data.source.label}/{first}-{number}-of-{shards}"
        marker = output(stem, "shard", [], [one.record.key for one in group], ".done").path
        words = (*command, "--shard", f"{number}/{shards}")
        jobs.append(Job("extract", f"{name}-{number}-of-{shards}", words, reads, (marker,), each))
        markers.append(marker)
    records = tuple(one.record.path for one in group)
    words = (*command, *(word for path in records for word in ("--record", path)))
    # After the shards it only publishes, unless one of them has left something to do.
    last = replace(each, minutes=1.0, disk_mb=0) if markers else needs
    jobs.append(Job("extract", name, words, (*reads, *markers), records, last))

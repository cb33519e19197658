"""From a study to its jobs: which commands, on which files, in blocks of which seeds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from . import estimates
from .arguments import File, blocks, image_options, numbers, output, recipe_options, slug
from .jobs import Job, Kind, Needs
from .plan import Plan
from .preparing import Data, Embedded, embed, prepare
from .schema import FineTuning, Probing, StudyFile
from .systems import Trained

_BLOCKS = (1, 5, 10, 25, 50, 100, 200, 500, 1000)
"""Sizes of blocks of seeds. A size depends on one seed's time alone, so that further seeds are further blocks."""
Block = tuple[int, int]
"""The first seed, and the one after the last."""


def compile_study(study: StudyFile, place: Path) -> list[Job]:
    """The jobs of a study, each after those whose outputs it reads.

    Args:
        study: the study.
        place: the folder that its paths are relative to: that of its file.

    Raises:
        StudyError: names all that is wrong: what does not exist, what does not fit the data.
    """
    plan, jobs = Plan.of(study, place), []
    merged: dict[str, list[File]] = {}
    for source in plan.sources:
        data = prepare(plan, source, jobs)
        embedded = embed(plan, data, jobs)
        for protocol in plan.probing.protocols:
            merged.setdefault(protocol, []).extend(_compare(plan, data, embedded, protocol, jobs))
        if study.retrieve:
            _retrieve(plan, data, embedded, jobs)
    for protocol, runs in merged.items():
        if len(runs) > 1:
            rows, systems = sum(source.rows for source in plan.sources), len(plan.networks) * len(plan.probes)
            needs = estimates.gathering("stats", rows, systems, plan.probing.seeds, 4)
            _stats(plan, f"all-{protocol}", runs, needs, jobs)
    return _with_own_names(jobs)


def _compare(plan: Plan, data: Data, embedded: list[Embedded], protocol: str, jobs: list[Job]) -> Iterator[File]:
    """Adds probes and fine-tuned networks under one protocol, and merges those of equal seeds; gives the main run.

    The main run is that of all seeds of the probes. A run of fewer has the networks that were fine-tuned on these, and
    the probes under the same seeds.
    """
    trainings = [one for one in plan.trainings if not one.given.data or data.source.label in one.given.data]
    probing = plan.study.probe if plan.probes else None
    usual = _Design.of(plan.probing)
    designs = {*(_Design.of(one.given) for one in trainings), *([usual] if probing else [])}
    runs: dict[_Design, list[File]] = {design: [] for design in sorted(designs)}
    cuts = {design.seeds for design in designs}
    for one in embedded if probing else ():
        for text, probe in plan.probes:
            for (_, end), part in _probe(plan, data, one, protocol, text, probe, cuts, jobs):
                for design in runs:
                    # Only runs of the same seeds and low-data curve can become one.
                    runs[design] += [part] * (end <= design.seeds and design[1:] == usual[1:])
    for training in trainings:
        runs[_Design.of(training.given)] += _finetune(plan, data, protocol, training, jobs)
    main = usual if probing else max(designs, default=None)
    for design, parts in runs.items():
        if parts:
            is_curve = design[1:] != usual[1:]
            further = "" if design == main else "-curve" if is_curve else f"-first-{design.seeds}"
            run = _merge(plan, f"{data.source.label}-{protocol}{further}", data, parts, design.seeds, jobs)
            yield from [run] * (design == main)


class _Design(NamedTuple):
    """What runs must have alike to become one."""

    seeds: int
    shots: tuple[int, ...]
    train_fraction: tuple[float, ...]

    @classmethod
    def of(cls, given: Probing | FineTuning) -> _Design:
        return cls(given.seeds, tuple(given.shots), tuple(given.train_fraction))

    def options(self) -> list[str]:
        """As `probe` and `finetune` take them, without seeds."""
        words = ["--shots", numbers(self.shots)] if self.shots else []
        return words + (["--train-fraction", numbers(self.train_fraction)] if self.train_fraction else [])

    @property
    def budgets(self) -> int:
        return 1 + len(self.shots) + len(self.train_fraction)


def _drawing(plan: Plan, protocol: str, design: _Design) -> list[str]:
    """Options of how resamples are drawn, which `probe` and `finetune` share."""
    probing, words = plan.probing, ["--protocol", protocol, *design.options()]
    words += ["--folds", str(probing.folds)] if probing.folds and protocol in ("auto", "kfold") else []
    words += ["--metric", probing.metric] if probing.metric else []
    return words + ["--keep-leaks"] * probing.keep_leaks


def _fits(plan: Plan, protocol: str, design: _Design) -> int:
    """Fits of one seed."""
    has_folds = protocol == "kfold" or (protocol == "auto" and plan.probing.folds)
    return design.budgets * (plan.probing.folds or 5 if has_folds else 1)


def _block_size(plan: Plan, minutes: float) -> int:
    """How many seeds one job takes, each of so many minutes."""
    return max((size for size in _BLOCKS if size * minutes <= plan.study.minutes_per_job), default=1)


def _probe(
    plan: Plan,
    data: Data,
    one: Embedded,
    protocol: str,
    text: str,
    probe: Any,
    cuts: Iterable[int],
    jobs: list[Job],
) -> Iterator[tuple[Block, File]]:
    """Adds one probe on one backbone, in blocks of seeds."""
    source, (_, columns) = data.source, one.cost
    design = _Design.of(plan.probing)
    settings = ["--probe", text, *_drawing(plan, protocol, design)]
    settings += ["--aggregation", plan.probing.aggregation] if plan.probing.aggregation != "mean" else []
    settings += ["--no-refit"] * (not plan.probing.refit)
    command = ["probe", data.manifest.path, "--record", one.record.path, "--cache", plan.store, *settings]
    work = estimates.probe_seconds(probe.family, source.rows, columns, source.classes, _fits(plan, protocol, design))
    for first, end in blocks(plan.probing.seeds, _block_size(plan, work.each / 60), cuts):
        seeds = ["--seeds", f"{first}:{end}"]
        name = f"{one.network.label}--{slug(text)}--{first}-{end}"
        keys = [data.manifest.key, one.record.key]
        part = output(f"parts/{source.label}/{protocol}/{name}", "probe", [*settings, *seeds], keys)
        needs = estimates.probing(plan.study, work, end - first, source.rows, columns, source.classes)
        words = [*command, *seeds, "--jobs", "{threads}"]
        _add(jobs, "probe", f"{source.label}-{protocol}-{name}", words, (*data.reads, one.record.path), part, needs)
        yield (first, end), part


def _finetune(plan: Plan, data: Data, protocol: str, training: Trained, jobs: list[Job]) -> Iterator[File]:
    """Adds the networks and modes of one entry of `finetune`, in blocks of seeds."""
    source, given = data.source, training.given
    design = _Design.of(given)
    settings = [*_drawing(plan, protocol, design), "--recipe", given.recipe, *recipe_options(given.settings)]
    settings += ["--search", given.search] if given.search else []
    settings += ["--augment"] * given.augment + ["--keep-weights"] * given.keep_weights
    for network in training.networks:
        images = plan.images(source, network)
        forward = estimates.forward_seconds(network.entry, images.image_size)
        options = [*image_options(images), *settings]
        for mode, mode_key in training.modes:
            seconds = _fits(plan, protocol, design) * estimates.finetune_seconds(
                mode, forward, source.rows, training.epochs, training.candidates
            )
            each = estimates.finetuning(plan.study, seconds, source.rows, 1, source.classes).minutes
            command = ["finetune", data.manifest.path, "-b", network.named(most=1), "-m", mode, *options]
            for first, end in blocks(given.seeds, _block_size(plan, each)):
                seeds = ["--seeds", f"{first}:{end}"]
                name = f"{network.label}--finetune-{slug(mode)}--{first}-{end}"
                words = [*options, *seeds, network.key, *network.poolings[:1], mode_key]
                part = output(f"parts/{source.label}/{protocol}/{name}", "finetune", words, [data.manifest.key])
                needs = estimates.finetuning(plan.study, seconds, source.rows, end - first, source.classes)
                reads, stem = (*data.reads, data.checked.path), f"{source.label}-{protocol}-{name}"
                _add(jobs, "finetune", stem, [*command, *seeds, "--cache", plan.store], reads, part, needs)
                yield part


def _retrieve(plan: Plan, data: Data, embedded: list[Embedded], jobs: list[Job]) -> None:
    """Adds the search for similar images: a run for each backbone, merged."""
    given, source = plan.study.retrieve, data.source
    assert given is not None
    settings = ["--k", numbers(given.k), "--similarity", given.similarity, *["--same-group"] * given.same_group]
    parts = []
    for one in embedded:
        keys = [data.manifest.key, one.record.key]
        part = output(f"parts/{source.label}/retrieval/{one.network.label}", "retrieve", settings, keys)
        command = ["retrieve", data.manifest.path, "--record", one.record.path, "--cache", plan.store, *settings]
        needs = estimates.searching(plan.study, source.rows, one.cost[1])
        stem, reads = f"{source.label}-{one.network.label}", (*data.reads, one.record.path)
        _add(jobs, "retrieve", stem, command, reads, part, needs)
        parts.append(part)
    _merge(plan, f"{source.label}-retrieval", data, parts, 1, jobs)


def _merge(plan: Plan, stem: str, data: Data, parts: list[File], seeds: int, jobs: list[Job]) -> File:
    """Adds the run of several parts, its statistics and its report."""
    systems = len({part.path.rpartition("/")[2].rsplit("--", 2)[0] for part in parts})
    size = (data.source.rows, systems, seeds, data.source.classes)
    run = output(f"merged/{stem}", "merge", [], [part.key for part in parts])
    paths = [part.path for part in parts]
    _add(jobs, "merge", stem, ["merge", *paths], paths, run, estimates.gathering("merge", *size))
    _stats(plan, stem, [run], estimates.gathering("stats", *size), jobs)
    page = output(f"reports/{stem}", "report", [], [run.key])
    command = ("medprobe", "report", run.path, "--out", page.path)
    needs = estimates.gathering("report", *size)
    jobs.append(Job("report", f"report-{stem}", command, (run.path,), (page.path,), needs))
    return run


def _stats(plan: Plan, stem: str, runs: list[File], needs: Needs, jobs: list[Job]) -> None:
    """Adds the statistics of one run, or over several data sets."""
    given = plan.study.stats
    words = ["--between", given.between, "--interval", given.interval, "--correction", given.correction]
    words += [word for test in given.tests for word in ("--test", test)]
    words += ["--subgroups"] * given.subgroups + ["--calibration"] * given.calibration
    tables = output(f"stats/{stem}", "stats", words, [run.key for run in runs])
    paths = tuple(run.path for run in runs)
    command = ("medprobe", "stats", *paths, *words, "--out", tables.path)
    jobs.append(Job("stats", f"stats-{stem}", command, paths, (tables.path,), needs))


def _add(
    jobs: list[Job], kind: Kind, stem: str, command: Iterable[str], reads: Iterable[str], made: File, needs: Needs
) -> None:
    """Adds a command that makes a run folder."""
    words = ("medprobe", *command, "--out", made.path, "--overwrite")
    jobs.append(Job(kind, f"{kind}-{stem.replace('--', '-')}", words, tuple(reads), (made.path,), needs))


def _with_own_names(jobs: Iterable[Job]) -> list[Job]:
    """Each job with a name of its own: of those with one name the later ones get a number."""
    seen: dict[str, int] = {}
    found = []
    for job in jobs:
        times = seen[job.name] = seen.get(job.name, 0) + 1
        found.append(replace(job, name=f"{job.name}-{times}") if times > 1 else job)
    return found

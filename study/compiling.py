"""From a study to its jobs: which commands, on which files, in blocks of which seeds."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from ..base import fingerprint
from . import estimates
from .arguments import File, blocks, image_options, numbers, output, recipe_options, slug, versions_key
from .jobs import Job, Kind, Needs
from .plan import Plan, images_of
from .preparing import Data, Embedded, embed, prepare
from .schema import FineTuning, Probing, StudyFile
from .systems import Trained

_BLOCKS = (1, 5, 10, 25, 50, 100)
"""Sizes of blocks of seeds. A size depends on one seed's time alone, so that further seeds are further blocks."""
_LONGEST = 200
"""Characters of the name of a job, which with a suffix is that of a file."""
_PART = re.compile(r"(.+--\d+)-(\d+)--[0-9a-f]+")
Block = tuple[int, int]
"""The first seed, and the one after the last."""
Systems = set[tuple[str, str]]
"""Backbones and probes, or modes of fine-tuning with all their settings."""
Ends = Mapping[str, list[int]]
"""Ends of the blocks that are there, by what their folders are called up to the first seed."""


def compile_study(study: StudyFile, place: Path) -> list[Job]:
    r"""The jobs of a study, each after those whose outputs it reads; its paths are relative to `place`.

    Raises:
        StudyError: names all that is wrong: what does not exist, what does not fit the data.

    Examples:
        >>> from medprobe.study import compile_study, load_study
        >>> file = folder / "study.yaml"
        >>> _ = file.write_text("data: [lesions.parquet]\nextract: {backbones: ['timm:test_vit@random']}")
        >>> [job.kind for job in compile_study(load_study(file), folder)]
        ['check', 'extract', 'probe', 'probe', 'probe', 'merge', 'stats', 'report']
    """
    plan, jobs = Plan.of(study, place), []
    merged: dict[str, list[tuple[File, Systems]]] = {}
    for source in plan.sources:
        data = prepare(plan, source, jobs)
        embedded = embed(plan, data, jobs)
        for protocol in plan.probing.protocols:
            merged.setdefault(protocol, []).extend(_compare(plan, data, embedded, protocol, jobs))
        if study.retrieve:
            _retrieve(plan, data, embedded, jobs)
    for protocol, runs in merged.items():
        if len(runs) > 1:
            _rank(f"ranks-{protocol}", runs, jobs)
    return _with_own_names(jobs)


def _compare(
    plan: Plan, data: Data, embedded: list[Embedded], protocol: str, jobs: list[Job]
) -> Iterator[tuple[File, Systems]]:
    """Adds probes and fine-tuned networks under one protocol, and merges those of equal seeds; gives the main run.

    The main run is that of all seeds of the probes. A run of fewer has the networks that were fine-tuned on these, and
    the probes under the same seeds.
    """
    trainings = [one for one in plan.trainings if not one.given.data or data.source.label in one.given.data]
    probing = plan.study.probe if plan.probes else None
    usual = _Design.of(plan.probing)
    designs = {*(_Design.of(one.given) for one in trainings), *([usual] if probing else [])}
    runs: dict[_Design, list[File]] = {design: [] for design in sorted(designs)}
    systems: dict[_Design, Systems] = {design: set() for design in runs}
    there = _parts_there(plan, data, protocol)
    for one in embedded if probing else ():
        for text, probe in plan.probes:
            systems[usual].add((one.network.label, text))
            for (first, _), part in _probe(plan, data, one, protocol, text, probe, there, jobs):
                for design in runs:
                    # Only runs of the same low-data curve can become one.
                    runs[design] += [part] * (first < design.seeds and design[1:] == usual[1:])
    for training in trainings:
        design = _Design.of(training.given)
        runs[design] += _finetune(plan, data, protocol, training, there, jobs)
        how = " ".join([training.given.recipe, *recipe_options(training.given.settings), training.given.search or ""])
        systems[design] |= {(net.label, f"{mode} {how}") for net in training.networks for mode, _ in training.modes}
    main = usual if probing else max(designs, default=None)
    for design, parts in runs.items():
        if parts:
            is_curve = design[1:] != usual[1:]
            further = "" if design == main else "-curve" if is_curve else f"-first-{design.seeds}"
            first = [] if design == main else ["--seeds", str(design.seeds)]
            run = _merge(plan, f"{data.source.label}-{protocol}{further}", data, parts, design.seeds, jobs, first)
            yield from [(run, systems[design])] * (design == main)


class _Design(NamedTuple):
    """What runs must have alike to become one."""

    seeds: int
    shots: tuple[int, ...]
    train_fraction: tuple[float, ...]

    @classmethod
    def of(cls, given: Probing | FineTuning) -> _Design:
        return cls(given.seeds, tuple(given.shots), tuple(given.train_fraction))


def _drawing(plan: Plan, protocol: str, design: _Design) -> list[str]:
    """Options of how resamples are drawn, which `probe` and `finetune` share."""
    probing, words = plan.probing, ["--protocol", protocol]
    words += ["--shots", numbers(design.shots)] if design.shots else []
    words += ["--train-fraction", numbers(design.train_fraction)] if design.train_fraction else []
    words += ["--folds", str(probing.folds)] if probing.folds and protocol in ("auto", "kfold") else []
    words += ["--metric", probing.metric] if probing.metric else []
    return words + ["--keep-leaks"] * probing.keep_leaks


def _fits(plan: Plan, protocol: str, design: _Design) -> int:
    """Fits of one seed."""
    has_folds = protocol == "kfold" or (protocol == "auto" and plan.probing.folds)
    budgets = 1 + len(design.shots) + len(design.train_fraction)
    return budgets * (plan.probing.folds or 5 if has_folds else 1)


def _block_size(plan: Plan, minutes: float) -> int:
    """How many seeds one job takes, of which each takes `minutes`."""
    return max((size for size in _BLOCKS if size * minutes <= plan.study.minutes_per_job), default=1)


def _probe(
    plan: Plan,
    data: Data,
    one: Embedded,
    protocol: str,
    text: str,
    probe: Any,
    there: Ends,
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
    stem, keys = f"{one.network.label}--{slug(text)}", [data.manifest.key, one.record.key, versions_key()]
    keys.append(fingerprint(probe.settings.facts()))  # what a preset stands for may change with the version

    def part_of(first: int, end: int) -> File:
        place = f"parts/{source.label}/{protocol}/{stem}--{first}-{end}"
        return output(place, "probe", [*settings, "--seeds", f"{first}:{end}"], keys)

    wanted = blocks(plan.probing.seeds, _block_size(plan, work.each / 60))
    for (first, end), part in _kept(plan, wanted, stem, there, part_of):
        needs = estimates.probing(plan.study, work, end - first, source.rows, columns, source.classes)
        words = [*command, "--seeds", f"{first}:{end}", "--jobs", "{threads}"]
        name = f"{source.label}-{protocol}-{stem}-{first}-{end}"
        _add(jobs, "probe", name, words, (*data.reads, one.record.path), part, needs)
        yield (first, end), part


def _finetune(plan: Plan, data: Data, protocol: str, training: Trained, there: Ends, jobs: list[Job]) -> Iterator[File]:
    """Adds the networks and modes of one entry of `finetune`, in blocks of seeds."""
    source, given = data.source, training.given
    design = _Design.of(given)
    settings = [*_drawing(plan, protocol, design), "--recipe", given.recipe, *recipe_options(given.settings)]
    settings += ["--search", given.search] if given.search else []
    settings += ["--augment"] * given.augment + ["--keep-weights"] * given.keep_weights
    keys = [data.manifest.key, fingerprint(training.recipe.facts())]  # what a recipe stands for may change, too
    for network in training.networks:
        images = images_of(plan.study, source, network)
        forward = estimates.forward_seconds(network.entry, images.image_size)
        options = [*image_options(images), *settings]
        for mode, mode_key in training.modes:
            seconds = _fits(plan, protocol, design) * estimates.finetune_seconds(
                mode, forward, source.rows, training.recipe.epochs, training.candidates
            )
            each = estimates.finetuning(plan.study, seconds, source.rows, 1, source.classes).minutes
            command = ["finetune", data.manifest.path, "-b", network.named(most=1), "-m", mode, *options]
            stem = f"{network.label}--finetune-{slug(mode)}"
            key = [network.key, *network.poolings[:1], mode_key]

            def part_of(first: int, end: int, stem: str = stem, words: tuple[str, ...] = (*options, *key)) -> File:
                place = f"parts/{source.label}/{protocol}/{stem}--{first}-{end}"
                return output(place, "finetune", [*words, "--seeds", f"{first}:{end}"], keys)

            wanted = blocks(given.seeds, _block_size(plan, each))
            for (first, end), part in _kept(plan, wanted, stem, there, part_of):
                needs = estimates.finetuning(plan.study, seconds, source.rows, end - first, source.classes)
                words = [*command, "--seeds", f"{first}:{end}", "--cache", plan.store, "--workers", "{threads}"]
                name, reads = f"{source.label}-{protocol}-{stem}-{first}-{end}", (*data.reads, data.checked.path)
                _add(jobs, "finetune", name, words, reads, part, needs)
                yield part


def _parts_there(plan: Plan, data: Data, protocol: str) -> Ends:
    """The blocks of seeds that are there already."""
    folder = plan.out / "parts" / data.source.label / protocol
    ends: dict[str, list[int]] = {}
    for path in folder.iterdir() if folder.is_dir() else ():
        if found := _PART.fullmatch(path.name):
            ends.setdefault(found[1], []).append(int(found[2]))
    return ends


def _kept(
    plan: Plan, wanted: Iterable[Block], stem: str, there: Ends, part_of: Callable[[int, int], File]
) -> Iterator[tuple[Block, File]]:
    """The wanted blocks with their parts; one of which the first seeds are there already only has the others new."""
    for first, last in wanted:
        while first < last:
            known = [end for end in there.get(f"{stem}--{first}", ()) if end < last]
            end = max((end for end in known if (plan.out / part_of(first, end).path).is_dir()), default=last)
            end = last if (plan.out / part_of(first, last).path).is_dir() else end
            yield (first, end), part_of(first, end)
            first = end


def _retrieve(plan: Plan, data: Data, embedded: list[Embedded], jobs: list[Job]) -> None:
    """Adds the search for similar images: a run for each backbone, merged."""
    given, source = plan.study.retrieve, data.source
    assert given is not None
    settings = ["--k", numbers(given.k), "--similarity", given.similarity, *["--same-group"] * given.same_group]
    parts = []
    for one in embedded:
        keys = [data.manifest.key, one.record.key, versions_key()]
        part = output(f"parts/{source.label}/retrieval/{one.network.label}", "retrieve", settings, keys)
        command = ["retrieve", data.manifest.path, "--record", one.record.path, "--cache", plan.store, *settings]
        needs = estimates.searching(plan.study, source.rows, one.cost[1])
        stem, reads = f"{source.label}-{one.network.label}", (*data.reads, one.record.path)
        _add(jobs, "retrieve", stem, command, reads, part, needs)
        parts.append(part)
    _merge(plan, f"{source.label}-retrieval", data, parts, 1, jobs, fitted=False)


def _merge(
    plan: Plan,
    stem: str,
    data: Data,
    parts: list[File],
    seeds: int,
    jobs: list[Job],
    options: Sequence[str] = (),
    *,
    fitted: bool = True,
) -> File:
    """Adds the run of several parts, its statistics and its report; of a search, nothing can be calibrated."""
    systems = len({part.path.rsplit("--", 2)[0] for part in parts})
    size = (data.source.rows, systems, seeds, data.source.classes)
    needs = {kind: estimates.gathering(plan.study, kind, *size) for kind in ("merge", "stats", "report")}
    given = plan.study.stats
    run = output(f"merged/{stem}", "merge", options, [part.key for part in parts])
    paths = [part.path for part in parts]
    _add(jobs, "merge", stem, ["merge", *paths, *options], paths, run, needs["merge"])
    words = ["--between", given.between, "--interval", given.interval, "--correction", given.correction]
    words += [word for test in given.tests for word in ("--test", test)]
    words += ["--subgroups"] * given.subgroups + ["--calibration"] * (given.calibration and fitted)
    tables = output(f"stats/{stem}", "stats", words, [run.key])
    command = ("medprobe", "stats", run.path, *words, "--out", tables.path)
    jobs.append(Job("stats", f"stats-{stem}", command, (run.path,), (tables.path,), needs["stats"]))
    page = output(f"reports/{stem}", "report", [], [run.key])
    command = ("medprobe", "report", run.path, "--out", page.path)
    jobs.append(Job("report", f"report-{stem}", command, (run.path,), (page.path,), needs["report"]))
    return run


def _rank(stem: str, runs: list[tuple[File, Systems]], jobs: list[Job]) -> None:
    """Adds the ranks over several data sets, of backbones and of probes, where all have two of them to compare."""
    common = set.intersection(*(systems for _, systems in runs))
    for at, between in enumerate(("backbones", "probes")):
        if max(Counter(system[1 - at] for system in common).values(), default=0) < 2:
            continue
        words = ["--ranks", "--between", between]
        tables = output(f"stats/{stem}-of-{between}", "stats", words, [run.key for run, _ in runs])
        paths = tuple(run.path for run, _ in runs)
        command = ("medprobe", "stats", *paths, *words, "--out", tables.path)
        jobs.append(Job("stats", f"stats-{stem}-of-{between}", command, paths, (tables.path,), Needs()))


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
        name = job.name[:_LONGEST]
        times = seen[name] = seen.get(name, 0) + 1
        found.append(replace(job, name=f"{name}-{times}" if times > 1 else name))
    return found

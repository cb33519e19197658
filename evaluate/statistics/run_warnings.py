"""What a reader must know about a run before relying on it, from its info, its fits and its summary."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

import pandas as pd

from ...base import counted
from ...base.text import lower_first
from ...manifests.validation.diagnostics import CODES, Diagnostic, by_severity, diagnostic
from ..metrics.registry import find_metric
from ..resampling.train_size import FULL_TRAIN
from ..results.commands import NETWORK
from ..results.fit_result import DIVERGED, FAR, far_features
from ..results.run import Run
from ..results.schemas import RESAMPLE, SYSTEM, SystemKey
from ..results.trainings import training_problems
from .pairing import system_labels


def run_warnings(run: Run, summary: pd.DataFrame) -> list[Diagnostic]:
    """The warnings of a run, each once, with how often it holds; the most severe first, and those of one code together.

    `summary` is in any metric.
    """
    kept = [
        # A run of a newer version may have codes that are unknown here.
        diagnostic(code if code in CODES else "run-warning", text)
        for code, text in zip(run.info["warning_codes"], run.warnings, strict=True)
    ]
    found = [*kept, *_on_fits(run), *_on_trainings(run), *_on_scores(run, summary), *_on_summary(run, summary)]
    places = list(CODES)
    return by_severity(sorted({one.message: one for one in found}.values(), key=lambda one: places.index(one.code)))


def warnings_in_words(problems: Sequence[Diagnostic]) -> list[str]:
    """The text of each of `run_warnings`; the last of each code ends with what to do."""
    last = {problem.code: problem for problem in problems}
    return [
        f"{problem}: {CODES[problem.code].remedy}" if problem is last[problem.code] else str(problem)
        for problem in problems
    ]


def _on_fits(run: Run) -> Iterator[Diagnostic]:
    fits = run.scores.drop_duplicates([*SYSTEM, *RESAMPLE])
    yield from _on_features(run, fits)
    for probe, rows in fits.groupby("probe", sort=False):
        name = _label(run, str(probe))
        # Which value is at an edge differs from fit to fit; that one is says the same.
        notes = Counter(
            re.sub(r"=\S+ is at", " is at", note)
            for notes in rows["note"].fillna("")
            for note in notes.split("; ")
            if note
        )
        for note, count in notes.most_common():
            # A search along C is meant to end once nothing more can be gained; features are reported by backbone.
            if note.startswith("path ended") or far_features(note):
                continue
            code = "diverged-training" if note.startswith(DIVERGED) else "fit-note"
            yield diagnostic(code, f"{name}, {count} of {len(rows)} fits: {note}", things=count)
        failed = int((~rows["converged"]).sum())
        if failed and not str(probe).startswith(NETWORK):
            message = f"{name}: {failed} of {len(rows)} chosen fits did not converge"
            yield diagnostic("not-converged", message, things=failed)


def _on_features(run: Run, fits: pd.DataFrame) -> Iterator[Diagnostic]:
    """Backbones whose features a probe standardised by units from which tested ones are far off."""
    systems = SystemKey.of_rows(fits)
    labels = system_labels(systems)
    names = [f"{labels[system]} with {_label(run, system.probe)}" for system in systems]
    far = [max(map(far_features, notes.split("; "))) for notes in fits["note"].fillna("")]
    for name, counts in pd.Series(far).groupby(names, sort=False):
        if most := int(counts.max()):
            message = (
                f"{name}: {(counts > 0).sum()} of {len(counts)} fits tested units that are over {FAR:,} standard"
                f" deviations from train, in up to {counted(most, 'feature')}"
            )
            yield diagnostic("far-features", message, things=most)


def _on_trainings(run: Run) -> Iterator[Diagnostic]:
    """Those that are not among the notes of fits."""
    found = training_problems(run)
    labels = system_labels(SystemKey.of_rows(run.scores.drop_duplicates(list(SYSTEM))))
    for system, problems in found.items():
        budget = "" if system.budget == FULL_TRAIN else f", {system.budget},"
        for problem in problems:
            if problem.code != "diverged-training":
                message = f"{labels[system]} with {lower_first(_label(run, system.probe))}{budget} {problem.text}"
                yield diagnostic(problem.code, message, things=problem.trainings)


def _on_scores(run: Run, summary: pd.DataFrame) -> Iterator[Diagnostic]:
    metric = find_metric(str(summary["metric"].iloc[0]))
    rows = run.scores[(run.scores["split"] == "test") & (run.scores["metric"] == metric.name)]
    reasons = Counter(reason for reason in rows["reason"].fillna("") if reason)
    for reason, count in reasons.most_common():
        message = f"{metric.label}, {count} of {len(rows)} test scores: {reason}"
        yield diagnostic("undefined-score", message, things=count)


def _on_summary(run: Run, summary: pd.DataFrame) -> Iterator[Diagnostic]:
    """The notes of the summary; one that holds for every system is listed once."""
    labels = system_labels(SystemKey.of_rows(summary))
    for note, rows in summary[summary["note"] != ""].groupby("note", sort=False):
        systems = SystemKey.of_rows(rows)
        names = ", ".join(f"{labels[system]} with {_label(run, system.probe)}" for system in systems)
        where = "every system" if len(rows) == len(summary) > 1 else names
        yield diagnostic("summary-note", f"{where}: {note}")


def _label(run: Run, probe: str) -> str:
    return str(run.info["probes"].get(probe, {}).get("label", probe))

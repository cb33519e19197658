"""What a reader must be told of a run before relying on it, from its facts, its fits and its summary."""

from __future__ import annotations

from collections import Counter

import pandas as pd

from ..metrics.registry import find_metric
from ..results.predictions import SystemKey
from ..results.run import Run
from ..results.schemas import RESAMPLE, SYSTEM
from .pairing import system_labels


def remarks(run: Run, summary: pd.DataFrame) -> list[str]:
    """The remarks on a run, each once and with how often it holds.

    Args:
        run: the results.
        summary: as `summarise` gives it, in whichever metric.
    """
    return list(dict.fromkeys([*run.warnings, *_on_fits(run), *_on_scores(run, summary), *_on_summary(run, summary)]))


def _on_fits(run: Run) -> list[str]:
    told = []
    for probe, rows in run.scores.drop_duplicates([*SYSTEM, *RESAMPLE]).groupby("probe", sort=False):
        name = _label(run, str(probe))
        notes = Counter(note for notes in rows["note"].fillna("") for note in notes.split("; ") if _matters(note))
        told += [f"{name}, {count} of {len(rows)} fits: {note}" for note, count in notes.most_common()]
        stuck = int((~rows["converged"]).sum())
        if stuck:
            told.append(f"{name}: {stuck} of {len(rows)} chosen fits did not converge")
    return told


def _matters(note: str) -> bool:
    # That a search along C ended once nothing more was to be gained is how it is meant to end.
    return bool(note) and not note.startswith("path ended")


def _on_scores(run: Run, summary: pd.DataFrame) -> list[str]:
    metric = find_metric(str(summary["metric"].iloc[0]))
    rows = run.scores[(run.scores["split"] == "test") & (run.scores["metric"] == metric.name)]
    reasons = Counter(reason for reason in rows["reason"].fillna("") if reason)
    return [f"{metric.label}, {count} of {len(rows)} test scores: {reason}" for reason, count in reasons.most_common()]


def _on_summary(run: Run, summary: pd.DataFrame) -> list[str]:
    """The notes of the summary; one that is true of every system is said once."""
    labels = system_labels([SystemKey(*row) for row in summary[list(SYSTEM)].itertuples(index=False)])
    told = []
    for note, rows in summary[summary["note"] != ""].groupby("note", sort=False):
        systems = [SystemKey(*row) for row in rows[list(SYSTEM)].itertuples(index=False)]
        names = ", ".join(f"{labels[system]} with {_label(run, system.probe)}" for system in systems)
        told.append(f"every system: {note}" if len(rows) == len(summary) > 1 else f"{names}: {note}")
    return told


def _label(run: Run, probe: str) -> str:
    return str(run.info["probes"].get(probe, {}).get("label", probe))

"""What a reader must be told of a run before relying on it."""

from __future__ import annotations

from collections import Counter

from .findings import Findings
from .words import lower_first


def remarks(findings: Findings) -> list[str]:
    """What a reader must be told, each once."""
    return list(dict.fromkeys([*findings.run.warnings, *_fits(findings), *_missing(findings), *_notes(findings)]))


def _fits(findings: Findings) -> list[str]:
    keys = ["backbone", "fingerprint", "pooling", "probe", "seed"]
    told = []
    for probe, rows in findings.run.scores.drop_duplicates(keys).groupby("probe", sort=False):
        name = findings.probe_label(str(probe))
        notes = Counter(note for notes in rows["note"].fillna("") for note in notes.split("; ") if _matters(note))
        told += [f"{name}, {count} of {len(rows)} fits: {note}" for note, count in notes.most_common()]
        stuck = int((~rows["converged"]).sum())
        if stuck:
            told.append(f"{name}: {stuck} of {len(rows)} chosen fits did not converge")
    return told


def _matters(note: str) -> bool:
    # That a search along C ended once nothing more was to be gained is how it is meant to end.
    return bool(note) and not note.startswith("path ended")


def _missing(findings: Findings) -> list[str]:
    scores = findings.run.scores
    rows = scores[(scores["split"] == "test") & (scores["metric"] == findings.metric.name)]
    reasons = Counter(reason for reason in rows["reason"].fillna("") if reason)
    label = findings.metric.label
    return [f"{label}, {count} of {len(rows)} test scores: {reason}" for reason, count in reasons.most_common()]


def _notes(findings: Findings) -> list[str]:
    rows = findings.summary[findings.summary["note"] != ""]
    same = rows["note"].nunique() == 1 and len(rows) == len(findings.summary) > 1
    if same:
        return [f"every system: {rows['note'].iloc[0]}"]
    return [f"{row['label']} with {lower_first(row['probe_label'])}: {row['note']}" for _, row in rows.iterrows()]

"""What a reader must know first comes first, once, and ends with what to do."""

from __future__ import annotations

from dataclasses import replace

from medprobe.evaluate import summarise
from medprobe.evaluate.statistics.run_warnings import run_warnings, warnings_in_words
from medprobe.manifests import CODES
from medprobe.manifests.validation.diagnostics import SEVERITIES


def _with_notes(run, notes: list[str]):
    scores = run.scores.copy()
    fits = scores.groupby(["backbone", "probe", "budget", "seed", "fold"], sort=False).ngroup()
    scores["note"] = [notes[fit % len(notes)] for fit in fits]
    return replace(run, scores=scores)


def test_warnings_are_sorted_by_severity_and_code_and_each_code_ends_with_what_to_do(tmp_path, study_of) -> None:
    run = study_of(tmp_path, units=60, groups=False).probe(seeds=range(4))
    notes = [f"C={value:g} is at the grid's edge; odd" for value in (1e-4, 1000)]
    run = _with_notes(run, [*notes, "training ended where the loss is nan at step 2 of epoch 2"])
    run = replace(run, scores=run.scores.assign(converged=False))
    problems = run_warnings(run, summarise(run))
    ranks = [(SEVERITIES.index(one.severity), list(CODES).index(one.code)) for one in problems]
    assert ranks == sorted(ranks)
    assert [one.severity for one in problems][-1] == "note"
    assert {"not-converged", "diverged-training", "fit-note"} <= {one.code for one in problems}
    words = warnings_in_words(problems)
    last = {one.code: place for place, one in enumerate(problems)}
    for place, (one, text) in enumerate(zip(problems, words, strict=True)):
        assert text.startswith(one.message)
        assert text.endswith(CODES[one.code].remedy) == (place == last[one.code])


def test_a_run_without_warnings_has_none_in_words() -> None:
    assert warnings_in_words([]) == []


def test_an_edge_of_a_grid_is_one_line_per_probe_whatever_the_value(tmp_path, study_of) -> None:
    run = study_of(tmp_path, units=60).probe(seeds=range(4))
    run = _with_notes(run, [f"C={value:g} is at the grid's edge" for value in (1e-4, 1e-3, 1000)])
    lines = [one.message for one in run_warnings(run, summarise(run)) if one.code == "fit-note"]
    assert len(lines) == run.scores["probe"].nunique()
    assert all("C is at the grid's edge" in line for line in lines)


def test_an_edge_is_not_noted_where_validation_is_perfect(tmp_path, study_of) -> None:
    for signal, noted in ((50.0, False), (0.0, True)):
        run = study_of(tmp_path / str(signal), units=60, signal=(signal,)).probe(
            probes=["logreg:C=[0.001,0.002]"], seeds=range(2)
        )
        assert run.scores["note"].str.contains("grid's edge").any() == noted

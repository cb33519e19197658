"""Settings of probes by name: what they make, how variants are called, and what is wrong with the others."""

from __future__ import annotations

import pytest
from medprobe.base import ProbeError
from medprobe.probe import (
    PROBES,
    find_probes,
)


def test_variants_of_a_probe_stand_side_by_side_under_names_that_tell_them_apart(study) -> None:
    run = study.probe(probes=["knn", "knn:weights=uniform,k=[3,5]", PROBES["gbm"].configured(rounds=5)])
    assert list(dict.fromkeys(run.scores["probe"])) == ["gbm:rounds=5", "knn", "knn:k=3..5x2,weights=uniform"]
    about = run.info["probes"]["knn:k=3..5x2,weights=uniform"]
    assert about["label"] == "k nearest neighbours (k=3..5x2, weights=uniform)"
    assert (about["k"], about["weights"], about["metric"]) == ([3, 5], "uniform", "cosine")
    chosen = run.scores.query("probe == 'knn:k=3..5x2,weights=uniform'")["params"].unique()
    assert set(chosen) <= {'{"k":3}', '{"k":5}'}


@pytest.mark.parametrize(
    ("probe", "told"),
    [
        ("gbm:presett=dense", 'gbm has no setting presett; there are preset, rounds.* Did you mean "preset"'),
        ("gbm:preset=dens", "gbm: preset: Input should be 'dense' or 'lightgbm-defaults' .got 'dens'."),
        ("knn:k", "write settings as knn:name=value"),
        ("knn:k=[0,3]", "knn: k: Input should be greater than 0"),
        ("logreg:C=logspace:1:2", "write logspace:a:b:n"),
        ("logreg:C=[]", "a grid needs at least one value"),
    ],
)
def test_a_setting_that_cannot_be_is_named(study, probe: str, told: str) -> None:
    with pytest.raises(ProbeError, match=told):
        study.probe(probes=[probe])


def test_a_grid_may_be_a_number_a_list_or_evenly_spaced_in_logarithm() -> None:
    assert find_probes(["logreg:C=logspace:-2:1:4"])[0].settings.C == (0.01, 0.1, 1, 10)
    assert find_probes(["logreg:C=2"])[0].settings.C == (2,)
    assert find_probes(["knn:k=[11,5,5]"])[0].settings.k == (5, 11)

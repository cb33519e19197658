"""Settings of probes by name: what they make, how variants are called, and what is wrong with the others."""

from __future__ import annotations

import pytest
from medprobe.base import ProbeError
from medprobe.probe import PROBES, resolve_probes


def test_variants_of_a_probe_stand_side_by_side_under_names_that_tell_them_apart(study) -> None:
    run = study.probe(probes=["knn", "knn:weights=uniform,k=[3,5]", PROBES["gbm"].configured(rounds=5)])
    assert list(dict.fromkeys(run.scores["probe"])) == ["gbm:rounds=5", "knn", "knn:k=3..5x2,weights=uniform"]
    about = run.info["probes"]["knn:k=3..5x2,weights=uniform"]
    assert about["label"] == "k nearest neighbours (k=3..5x2, weights=uniform)"
    assert tuple(about["settings"][name] for name in ("k", "weights", "metric")) == ([3, 5], "uniform", "cosine")
    chosen = run.scores.query("probe == 'knn:k=3..5x2,weights=uniform'")["params"].unique()
    assert set(chosen) <= {'{"k":3}', '{"k":5}'}


@pytest.mark.parametrize(
    ("probe", "message"),
    [
        ("gbm:presett=dense", 'gbm has no setting presett; there are preset, rounds.* Did you mean "preset"'),
        ("gbm:preset=dens", 'gbm: preset must be .*dense.*lightgbm-defaults.*"dens"'),
        ("gbm:rounds=true", "gbm: rounds must be a number, not true"),
        ("gbm:rounds=2.5", "gbm: rounds must be a whole number, not 2.5"),
        ("gbm:", "write settings as gbm:name=value"),
        ("knn:k", "write settings as knn:name=value"),
        ("knn:k=3,k=5", "k is set twice; write one value, or a list"),
        ("knn:k=[0,3]", r"knn: k must be above 0.*, not 0; e.g. k=\[1,5,21\]"),
        ("knn:k=[3,2.5]", "knn: k must be a whole number, not 2.5"),
        ("knn:temperature=inf", "knn: temperature must be finite, not .*inf"),
        ("centroid:temperature=[0.1,inf]", "centroid: temperature must be finite, not .*inf"),
        ("centroid:temperature=.nan", "centroid: temperature must be finite, not .*nan"),
        ("centroid:center=perhaps", "centroid: center must be true or false, not .perhaps."),
        ("logreg:class_weight=balance", 'logreg: class_weight must be .balanced., not "balance"'),
        ("logreg:tol=inf", "logreg: tol must be finite"),
        ("logreg:C=inf", "logreg: C must be finite, not .*inf"),
        ("logreg:C=1e400", "logreg: C must be finite"),
        ("logreg:C=[1,0]", r"logreg: C must be above 0.*, not 0; e.g. C=\[0.01,1,100\], or --C 0.01,1,100"),
        ("logreg:C=many", "logreg: C must be a number, not .many.; e.g. C="),
        ("logreg:C=[[1]]", "C must be a number"),
        ("logreg:C=true", "C must be a number"),
        ("logreg:C=[]", "C has 0 values"),
        ("logreg:C=''", "C has 0 values"),
        ("logreg:C='1,,2'", "C must be a number"),
        ("logreg:C=logspace:1:2", 'C cannot be "logspace:1:2"; write logspace:a:b:n'),
        ("logreg:C=logspace:1:2:0", "write logspace:a:b:n"),
        ("logreg:C=linspace:1:2:3", 'C cannot be "linspace:1:2:3"; write logspace:a:b:n'),
        ("logreg:C=logspace:-4:3:100000", "at most 1,000"),
        (f"knn:k={list(range(1, 1002))}", "k has 1,001 values"),
    ],
)
def test_a_setting_that_cannot_be_is_named(probe: str, message: str) -> None:
    with pytest.raises(ProbeError, match=message):
        resolve_probes([probe])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("ends", ["-400:400", "0:309", "nan:1", "-inf:0"])
def test_a_grid_beyond_all_numbers_is_refused_without_a_warning_of_numpys(ends: str) -> None:
    with pytest.raises(ProbeError, match="a and b from -300 to 300"):
        resolve_probes([f"logreg:C=logspace:{ends}:5"])


def test_a_default_may_be_written_out_as_the_table_of_settings_has_it() -> None:
    for family, kind in PROBES.items():
        written = [(setting.name, setting.default) for setting in kind.described if "values, " not in setting.default]
        assert len(written) >= len(kind.described) - 1
        (again,) = resolve_probes([f"{family}:" + ",".join(f"{name}={default}" for name, default in written)])
        assert again.settings == kind.settings
        assert again.name == family


def test_every_setting_is_described() -> None:
    described = [(kind.family, setting) for kind in PROBES.values() for setting in kind.described]
    assert all(setting.meaning.endswith(".") for _, setting in described)
    assert {(family, setting.name) for family, setting in described} == {
        (kind.family, name) for kind in PROBES.values() for name in type(kind.settings).model_fields
    }
    choices = {(family, setting.name): setting.choices for family, setting in described}
    assert choices["knn", "metric"] == "cosine, euclidean"
    assert choices["knn", "weights"] == "distance, uniform, softmax"
    assert choices["logreg", "class_weight"] == "balanced, none"
    assert choices["centroid", "center"] == "true, false"
    assert choices["logreg", "C"] == ""


def test_a_grid_may_be_a_number_a_list_or_evenly_spaced_in_logarithm() -> None:
    assert resolve_probes(["logreg:C=logspace:-2:1:4"])[0].settings.C == (0.01, 0.1, 1, 10)
    assert resolve_probes(["logreg:C=2"])[0].settings.C == (2,)
    assert resolve_probes(["logreg:C='1,0.5, 1.0'"])[0].settings.C == (0.5, 1)
    assert resolve_probes(["knn:k=[11,5,5]"])[0].settings.k == (5, 11)

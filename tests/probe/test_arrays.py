"""`evaluate`: the scores of `run_probes` from arrays alone, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from medprobe.base import ManifestError, ProbeError
from medprobe.evaluate import Run, merge_runs, subgroup_scores
from medprobe.probe import evaluate, load_embeddings
from medprobe.report import make_report
from scipy.sparse import csr_array
from sklearn.linear_model import LogisticRegression

_QUICK: dict[str, Any] = {"probes": "centroid", "seeds": 2, "n_jobs": 1, "progress": False}


@pytest.mark.parametrize(
    ("task", "split", "options"),
    [
        ("multiclass", False, {"probes": ["logreg", LogisticRegression(max_iter=20)]}),
        ("binary", True, {"probes": ["logreg", "knn"], "shots": 5}),
        ("ordinal", False, {"probes": "knn", "folds": 2}),
        ("multilabel", True, {"probes": ["logreg", "centroid"], "metric": "average_precision"}),
    ],
)
def test_scores_are_the_bits_of_a_run_from_caches(
    task: str, split: bool, options: dict[str, Any], tmp_path: Path, study_of: Callable[..., Any]
) -> None:
    study = study_of(tmp_path, task=task, split=split, units=60)
    options = {"seeds": 2, "n_jobs": 1, "progress": False} | options
    run = study.probe(**options)
    one, other = (load_embeddings(study.table, name) for name in ("net-0", "net-1"))
    about = {"groups": one.groups, "split": one.split, "classes": one.classes, "task": task}
    again = evaluate({"net-0": one.X, "net-1": other.X}, one.y, name=study.manifest.name, **about, **options)
    _require_equal(run, again)


def test_copies_are_tied_as_by_their_pixels(tmp_path: Path, cache_of: Callable[..., Any], study: Any) -> None:
    ids, X = study.manifest.sample_ids, study.caches[0].load("cls")
    copies = np.arange(len(ids)) // 3 % 20  # three exams each, of two patients, and the sixty after them again
    cache = cache_of(tmp_path, study.manifest.name, ids, {"cls": X[copies]}, pixels=copies, backbone="net-0")
    run = study.probe(caches=[cache])
    embeddings = load_embeddings(study.manifest, "net-0", cache=tmp_path)
    about = {"groups": embeddings.groups, "classes": embeddings.classes, "name": study.manifest.name}
    again = evaluate({"net-0": embeddings.X}, embeddings.y, probes="knn", seeds=2, n_jobs=1, progress=False, **about)
    assert run.info["leaks"]["groups_tied"] > 0
    assert run.info["leaks"] == again.info["leaks"]
    _require_equal(run, again)


def _require_equal(run: Run, again: Run) -> None:
    own = ["fingerprint", "pooling"]  # those of a cache, and of arrays
    for name in ("scores", "predictions", "scores_as_published"):
        table, other = getattr(run, name), getattr(again, name)
        assert (table is None) == (other is None)
        if table is not None:
            pd.testing.assert_frame_equal(table.drop(columns=own), other.drop(columns=own), check_exact=True)


def test_labels_in_any_form_are_the_same_run() -> None:
    X, y, _ = _cohort()
    names = np.array(["no", "yes"])[y]
    frame = pd.DataFrame(X, columns=list("abcd"), index=np.arange(100, 160))
    same = [
        evaluate(X, y, classes=["no", "yes"], **_QUICK),
        evaluate(X.tolist(), names, **_QUICK),
        evaluate(frame, pd.Series(names, index=frame.index), **_QUICK),
        evaluate(frame, pd.Categorical(names, ["no", "yes", "maybe"]), **_QUICK),
        evaluate(X, y[:, None].astype(float), classes=["no", "yes"], **_QUICK),
    ]
    assert all(run.classes == ["no", "yes"] for run in same)
    for run in same[1:]:
        pd.testing.assert_frame_equal(run.scores, same[0].scores, check_exact=True)
    assert evaluate(X, y == 1, **_QUICK).classes == ["False", "True"]
    assert evaluate(X, y + 9, **_QUICK).classes == ["9", "10"]
    assert evaluate(X, np.stack([y, 1 - y], axis=1), **_QUICK).task == "multilabel"
    assert evaluate(X, np.arange(60) % 3, task="ordinal", **_QUICK).primary_metric == "quadratic_kappa"


def test_a_run_of_arrays_is_saved_merged_and_scored_by_subgroup(tmp_path: Path) -> None:
    X, y, groups = _cohort()
    about = {"groups": groups, "attributes": pd.DataFrame({"sex": ["f", "m", "m"] * 20}), **_QUICK}
    run, more = (evaluate({"net": X}, y, **about | {"seeds": seeds}) for seeds in ([0, 1], [2]))
    assert Run.load(run.save(tmp_path / "run")).info == run.info
    assert merge_runs([run, more]).info["seeds"] == [0, 1, 2]
    assert set(subgroup_scores(run)[0]["subgroup"]) == {"f", "m"}
    page = make_report(tmp_path / "run").save(tmp_path / "run").read_text()
    assert "medprobe.probe.evaluate" in page
    assert "medprobe probe" not in page
    changed = evaluate({"net": X + 1}, y, **about)
    assert changed.info["caches"][0]["fingerprint"] != run.info["caches"][0]["fingerprint"]
    assert "P001" not in str(run.info)


def _cohort() -> tuple[np.ndarray, np.ndarray, list[str]]:
    """60 rows of 30 patients."""
    rng, y = np.random.default_rng(0), np.arange(60) // 2 % 2
    return rng.standard_normal((60, 4)) + y[:, None], y, [f"P{row // 2:03d}" for row in range(60)]


def _with(values: np.ndarray, place: Any, value: float) -> np.ndarray:
    changed = values.astype(float)
    changed[place] = value
    return changed


_X, _Y, _GROUPS = _cohort()
_FRAME = pd.DataFrame(_X)


@pytest.mark.parametrize(
    ("X", "y", "options", "message"),
    [
        (_X[:-1], _Y, {}, "X has 59 rows and y 60"),
        (_X, _Y, {"groups": _GROUPS[:-2]}, "X has 60 rows and groups 58"),
        ({"a": _X, "b": _X[1:]}, _Y, {}, r'X\["a"\] has 60 rows and X\["b"\] 59'),
        ({}, _Y, {}, "X: give an array"),
        ({1: _X, "1": _X}, _Y, {}, "different names"),
        (_X, _Y, {"groups": 5}, "X has 60 rows and groups 0"),
        (_X, _Y, {"groups": "patient"}, 'groups: is the text "patient"'),
        (_X, pd.Series(_Y), {"groups": pd.Series(_GROUPS).iloc[::-1]}, r"groups.loc\[y.index\]"),
        (_with(_X, (3, 1), np.nan), _Y, {}, r"1 row of 60 .* 3 \(from 0\)"),
        (_with(_X, 5, np.inf), _Y, {}, r"5 \(from 0\)"),
        (_with(_X, 5, 1e30), _Y, {}, r"5 \(from 0\)"),
        (_X.astype(str), _Y, {}, "not numbers"),
        (_X.astype(object), _Y, {}, "not numbers"),
        (_X * 1j, _Y, {}, "not numbers"),
        (_X[:, 0], _Y, {}, r"shape \(60,\)"),
        (_X[:, :0], _Y, {}, r"shape \(60, 0\)"),
        ([[1, 2], [3]], [0, 1], {}, "cannot be made an array"),
        (np.ones((60, 4)), _Y, {}, "all 60 rows are the same"),
        (csr_array(_X), _Y, {}, "toarray"),
        (_FRAME.assign(sex="f", site="a"), _Y, {}, "sex, site"),
        (_FRAME, pd.Series(_Y).iloc[::-1], {}, r"y.loc\[X.index\]"),
        (_X, _Y + 0.5, {}, "pandas.cut"),
        (_X, _with(_Y, 4, np.nan), {}, r"y: missing in 1 row of 60: 4 \(from 0\)"),
        (_X, np.zeros(60), {}, r"one class \(0\)"),
        (_X, _Y, {"classes": ["a", "b"], "groups": [None, *_GROUPS[1:]]}, "groups: missing"),
        (_X, _Y, {"classes": ["a"]}, "0, 1 not among the classes"),
        (_X, np.where(_Y, "low", "high"), {"task": "ordinal"}, "classes="),
        (_X, np.stack([_Y, _Y + 1], axis=1), {}, "0 and 1 alone"),
        (_X, np.stack([_Y, _Y], axis=1), {"classes": ["a"]}, "2 columns, and there are 1 class"),
        (_X, np.stack([_Y, _Y], axis=1), {"task": "binary"}, "multilabel task"),
        (_X, _Y, {"task": "multilabel"}, "0/1 column per class"),
        (_X, _Y, {"groups": np.stack([_Y, _Y], axis=1)}, r"groups: has the shape \(60, 2\)"),
        (_X, _Y, {"seeds": 0}, "at least one seed"),
        (_X, _Y, {"probes": "knm"}, 'Did you mean "knn"'),
    ],
)
def test_unusable_arrays_are_refused(X: Any, y: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ProbeError, match=message):
        evaluate(X, y, **_QUICK | options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": ["train", "tset"] * 30}, 'Did you mean "test"'),
        ({"name": "a/b"}, "data set"),
        ({"attributes": pd.DataFrame({"split": ["a"] * 60})}, "split"),
        ({"task": "regression"}, "regression"),
    ],
)
def test_what_no_manifest_may_hold_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        evaluate(_X, _Y, **_QUICK | options)

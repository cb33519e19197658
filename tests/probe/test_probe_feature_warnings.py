"""Features and vectors that make scores doubtful are reported, with the backbone and how many there are."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from medprobe.evaluate import Run, summarise
from medprobe.evaluate.statistics.run_warnings import run_warnings
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

SCALED = "sklearn:sklearn.linear_model.LogisticRegression:max_iter=1000"


def _messages(run: Run, code: str) -> list[str]:
    return [one.message for one in run_warnings(run, summarise(run)) if one.code == code]


def _numbers(message: str) -> list[int]:
    return [int(number.replace(",", "")) for number in re.findall(r"(?<![\w-])\d[\d,]*\b", message)]


@pytest.fixture(scope="module")
def rare(tmp_path_factory: pytest.TempPathFactory, study_of: Callable, cache_of: Callable) -> Any:
    """Two features that one training image has a little of, and three test images have much."""
    study = study_of(tmp_path_factory.mktemp("rare"), split=True)
    units, X = study.manifest.units(), study.caches[0].load("cls")
    train, test = (np.flatnonzero(units.split == part) for part in ("train", "test"))
    X = np.c_[X, np.zeros((len(X), 2), np.float32)]
    X[train[0], 8:], X[test[:3], 8:] = 1e-4, 1.0
    ids = study.manifest.sample_ids
    cache = cache_of(study.folder / "rare", "cohort", ids, {"cls": X}, backbone="rare")
    return study, [cache, study.caches[1]], X


def test_features_far_beyond_train_are_reported_by_backbone_for_probes_that_standardise(rare) -> None:
    study, caches, X = rare
    run = study.probe(caches=caches, probes=["logreg", "knn", SCALED], seeds=range(6), protocol="official")
    notes = run.scores[run.scores["note"].str.contains("standard deviations", na=False)]
    assert set(notes["backbone"]) == {"rare"}
    assert set(notes["probe"]) == {"logreg", "sklearn.linear_model.LogisticRegression:max_iter=1000"}
    for probe, rows in notes.groupby("probe"):
        drawn = rows["seed"].nunique()
        assert 0 < drawn <= 6
        assert sum(_numbers(one)[:3] == [drawn, 6, 1000] and _numbers(one)[-1] == 2 for one in _far(run)) >= 1, probe
    assert len(_far(run)) == 2
    # scikit-learn's pipeline is as far off, in the same fits.
    units = study.manifest.units()
    learnt, tested = (np.flatnonzero(np.isin(units.split, parts)) for parts in (["train", "val"], ["test"]))
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(X[learnt], units.y[learnt])
    assert (np.abs(pipeline[0].transform(X[tested])).max(axis=0) > 1000).sum() == 2


def _far(run: Run) -> list[str]:
    return _messages(run, "far-features")


def test_what_train_lacks_altogether_or_has_a_little_less_of_is_not_reported(rare, cache_of) -> None:
    study, _, X = rare
    split, ids = study.manifest.units().split, study.manifest.sample_ids
    for place, value in enumerate((0.0, 0.5)):
        other = X.copy()
        other[split != "test", 8:] = 0
        other[np.flatnonzero(split != "test")[0], 8:] = value
        cache = cache_of(study.folder / f"other-{place}", "cohort", ids, {"cls": other}, backbone="other")
        run = study.probe(caches=[cache], probes=["logreg", SCALED], protocol="official")
        assert _far(run) == []
        # A feature that only the test has is constant where a probe learns.
        assert [_numbers(one) for one in _messages(run, "constant-features")] == ([] if value else [[2, 10]])


def test_equal_vectors_of_different_images_are_reported_and_those_of_copies_are_not(
    tmp_path: Path, study_of: Callable, cache_of: Callable
) -> None:
    study = study_of(tmp_path, images=1)
    ids, X = study.manifest.sample_ids, study.caches[0].load("cls").copy()
    X[:4] = 0  # of four images
    X[10:12] = X[10]  # of one image under two ids
    pixels = np.arange(len(ids))
    pixels[11] = pixels[10]
    cache = cache_of(tmp_path / "own", "cohort", ids, {"cls": X}, backbone="dead", pixels=pixels.tolist())
    [message] = _messages(study.probe(caches=[cache, study.caches[1]]), "equal-vectors")
    assert message.startswith("dead, cls: ")
    assert _numbers(message) == [4, 120]


def test_images_of_one_colour_may_have_one_vector(tmp_path: Path, study_of: Callable, cache_of: Callable) -> None:
    study = study_of(tmp_path)
    ids, X = study.manifest.sample_ids, study.caches[0].load("cls").copy()
    X[:4] = X[0]
    blank = int("f" * 24, 16) << 32
    pixels = [blank + place if place < 4 else place for place in range(len(ids))]
    cache = cache_of(tmp_path / "own", "cohort", ids, {"cls": X}, backbone="net", pixels=pixels)
    assert _messages(study.probe(caches=[cache]), "equal-vectors") == []

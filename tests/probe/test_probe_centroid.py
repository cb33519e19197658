"""The nearest class mean as an estimator: parity with scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from made_up_rows import classified, labelled
from medprobe.probe import CentroidProbe
from sklearn.neighbors import NearestCentroid


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("normalize", [True, False])
def test_centroids_call_what_scikit_learns_nearest_centroid_calls(center: bool, normalize: bool) -> None:
    X, y = classified(classes=4)
    train, test = X[:160] - (X[:160].mean(0) if center else 0), X[160:] - (X[:160].mean(0) if center else 0)
    if normalize:
        train, test = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in (train, test))
    theirs = NearestCentroid().fit(train, y[:160])
    ours = CentroidProbe(center=center, normalize=normalize).fit(X[:160], y[:160])
    np.testing.assert_allclose(ours.centroids_, theirs.centroids_, atol=1e-12)
    np.testing.assert_array_equal(ours.predict(X[160:]), theirs.predict(test))


def test_a_temperature_changes_how_sure_centroids_are_and_not_what_they_call() -> None:
    X, y = classified()
    cold, warm = (CentroidProbe(temperature=t).fit(X[:160], y[:160]).predict_proba(X[160:]) for t in (0.01, 1.0))
    np.testing.assert_array_equal(cold.argmax(1), warm.argmax(1))
    assert (cold.max(1) > warm.max(1)).all()


def test_centroids_of_a_label_that_is_always_the_same_are_certain_of_it() -> None:
    X, Y = labelled()
    Y[:, 0], Y[:, 1] = 1, 0
    proba = CentroidProbe().fit(X, Y).predict_proba(X)
    assert (proba[:, 0] == 1).all()
    assert (proba[:, 1] == 0).all()
    assert np.isfinite(proba).all()

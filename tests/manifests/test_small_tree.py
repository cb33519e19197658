from __future__ import annotations

import numpy as np
import pytest
from medprobe.manifests.checks.small_tree import grow
from sklearn.tree import DecisionTreeClassifier


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(("depth", "least"), [(1, 1), (1, 30), (3, 20)])
def test_a_tree_answers_as_that_of_scikit_learn(seed: int, depth: int, least: int) -> None:
    random = np.random.default_rng(seed)
    values = random.normal(size=(300, 4))
    yes = values[:, seed % 4] + 0.5 * values[:, (seed + 1) % 4] ** 2 + random.normal(size=300) > 0.5
    peer = DecisionTreeClassifier(max_depth=depth, min_samples_leaf=least).fit(values[:200], yes[:200])
    ours = grow(values[:200], yes[:200], depth=depth, least=least)
    np.testing.assert_allclose(ours.chances(values), peer.predict_proba(values)[:, 1], rtol=1e-12)


def test_what_cannot_be_divided_is_a_leaf() -> None:
    same, one_kind = np.ones((9, 2)), np.arange(9.0)[:, None]
    assert set(grow(same, np.arange(9) < 3, depth=3, least=1).chances(same)) == {1 / 3}
    assert set(grow(one_kind, np.ones(9, bool), depth=3, least=1).chances(one_kind)) == {1.0}
    assert set(grow(one_kind, np.arange(9) < 3, depth=3, least=5).chances(one_kind)) == {1 / 3}

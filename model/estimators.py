"""What a fitted probe is kept as, arrays, JSON and LightGBM's text, and what it predicts; nothing in it is executed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..base import ProbeError
from ..probe.estimators._prediction import LARGEST, centroid_proba, knn_proba, linear_proba

_Predict = Callable[[np.ndarray], np.ndarray]
"""Probabilities (n, C) for features (n, D)."""


@dataclass(frozen=True, eq=False)
class FittedProbe:
    """What a probe has learnt, and its predictions; those of `gbm` and of Euclidean `knn` need scikit-learn."""

    family: str
    """`logreg`, `knn`, `gbm` or `centroid`."""
    facts: Mapping[str, Any]
    """JSON-like: its parameters, and what else is no array."""
    arrays: Mapping[str, np.ndarray]
    texts: Mapping[str, str] = field(default_factory=dict)
    """Boosters, by the name of a file without its suffix."""
    _predict: _Predict = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_predict", _FORMS[self.family].predictor(self))

    @classmethod
    def of(cls, family: str, estimator: Any) -> FittedProbe:
        """A fitted estimator of a family, whose classes are codes."""
        learnt = {
            "params": estimator.get_params(),
            "features": int(estimator.n_features_in_),
            "classes": len(estimator.classes_),
            "multilabel": bool(estimator.multilabel_),
        }
        facts, arrays, texts = _FORMS[family].apart(estimator)
        return cls(family, {**learnt, **facts}, arrays, texts)

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Probabilities (n, C) float64 for features (n, D); computed in float32 if these are, else in float64.

        Raises:
            ProbeError: D is another than that of the training features, or a value is not finite or too large.
        """
        if X.shape[1] != self.facts["features"]:
            raise ProbeError(
                f"this model takes {self.facts['features']:,} features, and these have {X.shape[1]:,}: they are"
                " embeddings of another backbone, pooling or number of modalities."
            )
        X = X.astype(np.float32 if X.dtype == np.float32 else np.float64, copy=False)
        if X.size and not (X.min() >= -LARGEST and X.max() <= LARGEST):  # false for NaN
            raise ProbeError(f"features hold NaN, infinite values or values beyond {LARGEST:g}, which mean nothing.")
        return np.asarray(self._predict(X), np.float64)


class _Form(NamedTuple):
    """How the probes of a family are kept, and what predicts from that."""

    apart: Callable[[Any], tuple[dict[str, Any], dict[str, np.ndarray], dict[str, str]]]
    """Facts, arrays and texts of an estimator."""
    predictor: Callable[[FittedProbe], _Predict]


def _logreg_apart(probe: Any) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, str]]:
    constant = {str(label): value for label, value in probe._constant.items()}
    arrays = {"center": probe._center, "scale": probe._spread}
    arrays |= {"weights": probe._weights_by_C[0], "intercepts": probe._intercepts_by_C[0]}
    return {"constant": constant}, arrays, {}


def _logreg_predictor(probe: FittedProbe) -> _Predict:
    constant = {int(label): int(value) for label, value in probe.facts["constant"].items()}
    own = {name: probe.arrays[name] for name in ("center", "scale")}
    own |= {name: probe.arrays[name][None] for name in ("weights", "intercepts")}
    return partial(_only_proba, **own, constant=constant, multilabel=probe.facts["multilabel"])


def _only_proba(X: np.ndarray, **learnt: Any) -> np.ndarray:
    return linear_proba(X, **learnt)[0]


def _knn_predictor(probe: FittedProbe) -> _Predict:
    settings, members = dict(probe.facts["params"]), probe.arrays["X"]
    k = min(settings.pop("n_neighbors"), len(members))
    about = {"labels": probe.arrays["y"], "classes": probe.facts["classes"], "k": k}
    return partial(knn_proba, members=members, **about, **settings)


def _centroid_predictor(probe: FittedProbe) -> _Predict:
    settings = {name: probe.facts["params"][name] for name in ("normalize", "temperature")}
    return partial(centroid_proba, **probe.arrays, **settings)


_PCA = ("components", "mean", "explained_variance")


def _gbm_apart(probe: Any) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, str]]:
    constant = {str(n): one for n, one in enumerate(probe.boosters_) if isinstance(one, float)}
    texts = {f"booster-{n}": one.model_to_string() for n, one in enumerate(probe.boosters_) if str(n) not in constant}
    arrays = {} if probe.pca_ is None else {name: getattr(probe.pca_, f"{name}_") for name in _PCA}
    return {"boosters": len(probe.boosters_), "constant": constant, "rounds": probe.rounds_}, arrays, texts


def _gbm_predictor(probe: FittedProbe) -> _Predict:
    import lightgbm as lgb

    from ..probe.estimators.gbm import GBMProbe, pca_of

    facts, constant = probe.facts, probe.facts["constant"]
    made: Any = GBMProbe(**facts["params"])
    made.classes_, made.multilabel_ = np.arange(facts["classes"]), facts["multilabel"]
    made.n_features_in_ = facts["features"]
    made.pca_ = pca_of(**probe.arrays) if probe.arrays else None
    made.boosters_ = [
        float(constant[str(n)]) if str(n) in constant else lgb.Booster(model_str=probe.texts[f"booster-{n}"])
        for n in range(facts["boosters"])
    ]
    return made.predict_proba


_FORMS = {
    "logreg": _Form(_logreg_apart, _logreg_predictor),
    "knn": _Form(lambda probe: ({}, {"X": probe.X_, "y": probe.y_}, {}), _knn_predictor),
    "gbm": _Form(_gbm_apart, _gbm_predictor),
    "centroid": _Form(
        lambda probe: ({}, {"mean": probe.mean_, "centroids": probe.centroids_}, {}), _centroid_predictor
    ),
}
"""By family. A probe that is to be saved needs one line here."""

"""Fitted estimators as arrays, JSON and LightGBM's text, and back; nothing is executed when they are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..probe import CentroidProbe, GBMProbe, KNNProbe, LogisticProbe
from ..probe.estimators.gbm import pca_of


@dataclass(frozen=True)
class Parts:
    """What a fitted estimator is kept as."""

    facts: Mapping[str, Any]
    """JSON-like: its parameters, and what else is no array."""
    arrays: Mapping[str, np.ndarray]
    texts: Mapping[str, str] = field(default_factory=dict)
    """Boosters, by the name of a file without its suffix."""


class _Form(NamedTuple):
    """How one estimator is taken apart and put together."""

    estimator: type
    apart: Callable[[Any], Parts]
    together: Callable[[Any, Parts], Any]
    """Fills in a new estimator with the parameters."""


def _logreg_apart(probe: LogisticProbe) -> Parts:
    constant = dict(zip(map(str, probe._constant.tolist()), np.ravel(probe._constant_value).tolist(), strict=True))
    arrays = {"center": probe._center, "scale": probe._spread}
    arrays |= {"weights": probe._weights_by_C[0], "intercepts": probe._intercepts_by_C[0]}
    return Parts({"constant": constant}, arrays)


def _logreg_together(probe: LogisticProbe, parts: Parts) -> LogisticProbe:
    constant = {int(label): int(value) for label, value in parts.facts["constant"].items()}
    about = {"classes": parts.facts["classes"], "multilabel": parts.facts["multilabel"], "constant": constant}
    return probe.from_solution(**parts.arrays, **about)


def _plain_arrays(*names: str) -> tuple[Callable[[Any], Parts], Callable[[Any, Parts], Any]]:
    """For estimators whose attributes of these names are all that they have learnt."""

    def apart(probe: Any) -> Parts:
        return Parts({}, {name: getattr(probe, f"{name}_") for name in names})

    def together(probe: Any, parts: Parts) -> Any:
        for name in names:
            setattr(probe, f"{name}_", parts.arrays[name])
        return probe

    return apart, together


def _knn_together(probe: KNNProbe, parts: Parts) -> KNNProbe:
    probe.X_, probe.y_ = parts.arrays["X"], parts.arrays["y"]
    probe.n_neighbors_ = min(probe.n_neighbors, len(probe.X_))
    return probe


_PCA = ("components", "mean", "explained_variance")


def _gbm_apart(probe: GBMProbe) -> Parts:
    texts = {f"booster-{n}": one.model_to_string() for n, one in enumerate(probe.boosters_) if not _is_constant(one)}
    constant = {str(n): one for n, one in enumerate(probe.boosters_) if _is_constant(one)}
    arrays = {} if probe.pca_ is None else {name: getattr(probe.pca_, f"{name}_") for name in _PCA}
    return Parts({"boosters": len(probe.boosters_), "constant": constant, "rounds": probe.rounds_}, arrays, texts)


def _is_constant(booster: Any) -> bool:
    return isinstance(booster, float)


def _gbm_together(probe: GBMProbe, parts: Parts) -> GBMProbe:
    import lightgbm as lgb

    probe.pca_ = pca_of(**parts.arrays) if parts.arrays else None
    constant = parts.facts["constant"]
    probe.boosters_ = [
        float(constant[str(n)]) if str(n) in constant else lgb.Booster(model_str=parts.texts[f"booster-{n}"])
        for n in range(parts.facts["boosters"])
    ]
    probe.rounds_ = list(parts.facts["rounds"])
    return probe


_FORMS = {
    "logreg": _Form(LogisticProbe, _logreg_apart, _logreg_together),
    "knn": _Form(KNNProbe, _plain_arrays("X", "y")[0], _knn_together),
    "gbm": _Form(GBMProbe, _gbm_apart, _gbm_together),
    "centroid": _Form(CentroidProbe, *_plain_arrays("mean", "centroids")),
}
"""By family. A probe that is to be saved needs one line here."""


def take_apart(family: str, estimator: Any) -> Parts:
    """A fitted estimator of a family as arrays, JSON and text."""
    parts = _FORMS[family].apart(estimator)
    about = {
        "params": estimator.get_params(),
        "features": int(estimator.n_features_in_),
        "classes": len(estimator.classes_),
        "multilabel": bool(estimator.multilabel_),
    }
    return Parts({**about, **parts.facts}, parts.arrays, parts.texts)


def put_together(family: str, parts: Parts) -> Any:
    """The estimator that `take_apart` was given."""
    form = _FORMS[family]
    probe = form.estimator(**parts.facts["params"])
    probe.classes_, probe.multilabel_ = np.arange(parts.facts["classes"]), parts.facts["multilabel"]
    probe.n_features_in_ = parts.facts["features"]
    return form.together(probe, parts)

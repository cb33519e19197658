"""Logistic regression on frozen embeddings."""

from __future__ import annotations

import copy
import time
import warnings
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import PositiveFloat
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.utils.validation import check_is_fitted, validate_data

from .block import Block, Outcome
from .choosing import Chooser
from .kind import AsGrid, ProbeKind, ProbeSettings, seed_by_seed
from .labels import ConstantLabel, MultilabelMixin, encode_labels
from .resampling import Resample

GRID = tuple(float(f"{C:.6g}") for C in np.logspace(-4, 3, 12))
"""Values of C, from the most to the least regularised."""


class LogisticProbe(MultilabelMixin, ClassifierMixin, BaseEstimator):
    """Multinomial logistic regression with an L2 penalty, on standardised features; one-vs-rest for multilabel.

    scikit-learn's objective, ``C * sum(log-loss) + ||W||^2 / 2`` with a free intercept, and its L-BFGS underneath.

    Parameters
    ----------
    C : float, default=1.0
        Inverse strength of the penalty.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, as in scikit-learn.
    standardize : bool, default=True
        Centre and scale each column by the mean and standard deviation of the training rows. A constant column
        becomes zero.
    tol : float, default=1e-4
        Largest component of the gradient, per sample, at which the solver stops.
    max_iter : int, default=1000
        Most iterations; beyond them `converged_` is False and a ConvergenceWarning is raised.
    warm_start : bool, default=False
        Begin the next `fit` where the last one ended.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,), or of shape (n_labels,) for multilabel
        Class labels; for multilabel the column numbers.
    mean_, scale_ : ndarray of shape (n_features,), float32 or float64
        What was subtracted and divided by.
    models_ : list
        The fitted scikit-learn models: one, or one a label.
    n_iter_ : int
        Most iterations that one of them took.
    converged_ : bool
        Whether all stopped before `max_iter`.
    """  # noqa: D416  (numpydoc, as scikit-learn has it)

    def __init__(
        self,
        C: float = 1.0,
        *,
        class_weight: dict[Any, float] | str | None = None,
        standardize: bool = True,
        tol: float = 1e-4,
        max_iter: int = 1000,
        warm_start: bool = False,
    ) -> None:
        self.C = C
        self.class_weight = class_weight
        self.standardize = standardize
        self.tol = tol
        self.max_iter = max_iter
        self.warm_start = warm_start

    def fit(self, X: Any, y: Any) -> LogisticProbe:
        """Fits to `X` of shape (n_samples, n_features) and `y` of shape (n_samples,) or (n_samples, n_labels)."""
        X, y = validate_data(self, X, y, dtype=(np.float64, np.float32), multi_output=True)
        y, self.classes_, self.multilabel_ = encode_labels(self, y)
        self.mean_, self.scale_ = _moments(X) if self.standardize else (X[0] * 0, X[0] * 0 + 1)
        Z = self._standardized(X)
        targets = list(y.T) if self.multilabel_ else [y]
        before = self._former(len(targets), Z.shape[1])
        self.models_ = [self._fit_one(Z, target, old) for target, old in zip(targets, before, strict=True)]
        self.n_iter_ = max(int(np.max(model.n_iter_)) for model in self.models_)
        self.converged_ = self.n_iter_ < self.max_iter
        return self

    def _former(self, count: int, width: int) -> list[Any]:
        """The models to begin from: those of the last fit if it was of the same problem."""
        models = getattr(self, "models_", []) if self.warm_start else []
        classes = 2 if self.multilabel_ else len(self.classes_)
        shape = (1 if classes == 2 else classes, width)
        fits = len(models) == count and all(getattr(model, "coef_", np.empty(shape)).shape == shape for model in models)
        return models if fits else [None] * count

    def _fit_one(self, Z: np.ndarray, target: np.ndarray, old: Any) -> Any:
        if (target == target[0]).all():
            return ConstantLabel(target[0])
        model = old if isinstance(old, LogisticRegression) else LogisticRegression(warm_start=True)
        model.set_params(C=self.C, class_weight=self._class_weight(), tol=self.tol, max_iter=self.max_iter)
        return model.fit(Z, target)

    def _class_weight(self) -> Any:
        """By code, which is what the inner model sees."""
        if not isinstance(self.class_weight, dict) or self.multilabel_:
            return self.class_weight
        return {code: self.class_weight.get(label, 1.0) for code, label in enumerate(self.classes_.tolist())}

    def _standardized(self, X: np.ndarray) -> np.ndarray:
        return (X - self.mean_) / self.scale_ if self.standardize else X

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of shape (n_samples, n_classes); for multilabel, the chance of each label."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=(np.float64, np.float32), reset=False)
        Z = self._standardized(X)
        if self.multilabel_:
            return np.stack([model.predict_proba(Z)[:, 1] for model in self.models_], axis=1)
        return self.models_[0].predict_proba(Z)


def _moments(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean = X.mean(axis=0, dtype=np.float64)
    spread = X.std(axis=0, dtype=np.float64)
    # A column that is constant but for rounding would otherwise be blown up to noise of size one.
    constant = spread <= 10 * np.finfo(X.dtype).eps * np.abs(mean)
    return mean.astype(X.dtype), np.where(constant, 1, spread).astype(X.dtype)


class LogisticSettings(ProbeSettings):
    """How the probe `logreg` is fitted."""

    C: Annotated[tuple[PositiveFloat, ...], AsGrid] = GRID
    """Grid, chosen from on val."""
    class_weight: Literal["balanced"] | None = None
    """`balanced`: every class weighs the same."""
    stop_path: bool = True
    """Whether the path over C ends once values are worse on val."""


def solve_one(block: Block, settings: LogisticSettings, resample: Resample) -> Outcome:
    """The path over C with each fit begun where the last one ended, the choice on val, and the refit."""
    start = time.perf_counter()
    chooser, stuck = Chooser(block, resample), []
    probe = LogisticProbe(warm_start=True, class_weight=settings.class_weight)
    for C in settings.C:
        _fit_quietly(probe.set_params(C=C), block, resample.train)
        if not probe.converged_:
            stuck.append(C)
        if chooser.consider({"C": C}, probe.predict_proba(block.X[resample.val])):
            chooser.best = copy.deepcopy(probe)
        if settings.stop_path and chooser.exhausted:
            break
    best: LogisticProbe = chooser.best
    if block.refit:
        _fit_quietly(best, block, block.fitted_on(resample))
    fitted = time.perf_counter()
    test_proba = best.predict_proba(block.X[resample.test])
    notes = chooser.notes(len(settings.C))
    if stuck:
        notes.append(f"not converged after {probe.max_iter} iterations at C={', '.join(f'{C:g}' for C in stuck)}")
    if settings.C[-1] > probe.C:
        notes.append(f"path ended at C={probe.C:g}")
    return Outcome(
        seed=resample.seed,
        fold=resample.fold,
        val_proba=chooser.proba,
        test_proba=test_proba,
        params=chooser.params,
        converged=best.converged_,
        notes=notes,
        fit_s=fitted - start,
        predict_s=time.perf_counter() - fitted,
    )


def _fit_quietly(probe: LogisticProbe, block: Block, units: np.ndarray) -> None:
    with warnings.catch_warnings():
        # The table's `converged` and `note` tell it, once per seed.
        warnings.simplefilter("ignore", ConvergenceWarning)
        probe.fit(block.X[units], block.y[units])


LOGREG = ProbeKind("logreg", "Logistic regression", LogisticSettings(), seed_by_seed(solve_one))

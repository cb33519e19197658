"""Logistic regression on frozen embeddings, as scikit-learn estimators."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from ..logistic_solver.path import Predictor
from ..logistic_solver.problems import Problems
from ..logistic_solver.rows import Rows
from ..logistic_solver.solver import Solution, solve
from ._prediction import linear_proba
from ._validation import (
    MultilabelMixin,
    checked_pair,
    checked_rows,
    encode_labels,
    require_flag,
    require_positive,
    require_whole,
)

GRID = tuple(float(f"{C:.6g}") for C in np.logspace(-4, 3, 12))
"""Values of C, from the most to the least regularised."""
TOL = 1e-4
"""Relative gradient at which a fit ends; its objective is then within 1e-6 of the optimum, mostly within 1e-8."""


class _Logistic(MultilabelMixin, ClassifierMixin, BaseEstimator):
    """What one value of C and a path of them have in common."""

    class_weight: Any
    standardize: bool
    tol: float
    max_iter: int

    def _fit_path(self, X: Any, y: Any, Cs: list[float]) -> list[Solution]:
        """Solves for each of `Cs`, which rise, and keeps what predicting needs."""
        self._require_parameters()
        X, y = checked_pair(self, X, y)
        y, self.classes_, self.multilabel_ = encode_labels(self, y)
        classes = 2 if self.multilabel_ else len(self.classes_)
        order = np.arange(len(y)) if classes == 2 else np.argsort(y, kind="stable")
        rows = Rows(X, order)
        problems = Problems.of(
            rows,
            y[order],
            classes,
            np.ones((1, len(y)), bool),
            class_weight=self._weights(classes),
            standardize=self.standardize,
        )
        solutions = _along(problems, Cs, self.tol, self.max_iter)
        constant = np.flatnonzero((y == y[0]).all(axis=0)) if self.multilabel_ else ()
        self._constant: Mapping[int, int] = {int(label): int(y[0, label]) for label in constant}
        weights, intercepts = zip(*(problems.coefficients(solution.points) for solution in solutions), strict=True)
        self._center, self._spread = rows.mean, rows.scale
        self._weights_by_C = np.stack([one.reshape(-1, rows.width) for one in weights])
        self._intercepts_by_C = np.stack([one.ravel() for one in intercepts])
        self.mean_ = rows.mean if self.standardize else np.zeros(rows.width)
        self.scale_ = rows.scale if self.standardize else np.ones(rows.width)
        if not all(solution.converged.all() for solution in solutions):
            warnings.warn(
                f"the solver stopped after {self.max_iter} steps, or where rounding ends it, before `tol` was reached;"
                " raise max_iter, or tol, or give float64",
                ConvergenceWarning,
                stacklevel=3,
            )
        return solutions

    def _require_parameters(self) -> None:
        require_flag("standardize", self.standardize)
        require_positive("tol", self.tol)
        require_whole("max_iter", self.max_iter)
        if isinstance(self.class_weight, dict):
            for label, weight in self.class_weight.items():
                require_positive(f"class_weight[{label!r}]", weight)
        elif self.class_weight is not None and not _is_balanced(self.class_weight):
            raise ValueError(f'class_weight must be None, "balanced" or a dict of weights, got {self.class_weight!r}')

    def _weights(self, classes: int) -> np.ndarray | str | None:
        if not isinstance(self.class_weight, dict):
            return self.class_weight
        labels = list(range(2)) if self.multilabel_ else self.classes_.tolist()
        strangers = [label for label in self.class_weight if label not in labels]
        # A fold may lack a class, whose weight is then unused; if one is missing as well, it is misspelt.
        if strangers and not set(labels) <= set(self.class_weight):
            raise ValueError(f"class_weight has {strangers}, which are not among the classes {labels}")
        return np.array([self.class_weight.get(label, 1.0) for label in labels][:classes], np.float64)

    def _of_features(self) -> tuple[np.ndarray, np.ndarray]:
        """Weights (n_C, outputs, d) of the features as they are given, and intercepts (n_C, outputs)."""
        weights = self._weights_by_C / self._spread
        return weights, self._intercepts_by_C - weights @ self._center

    def _proba(self, X: Any) -> np.ndarray:
        """(n_C, n_samples, n_classes or n_labels)."""
        check_is_fitted(self)
        return linear_proba(
            checked_rows(self, X),
            center=self._center,
            scale=self._spread,
            weights=self._weights_by_C,
            intercepts=self._intercepts_by_C,
            constant=self._constant,
            multilabel=self.multilabel_,
        )


def _is_balanced(class_weight: Any) -> bool:
    return isinstance(class_weight, str) and class_weight == "balanced"


def _require_C(C: Any) -> None:
    require_positive("C", C, instead_of_infinite="for next to no penalty give a large one, such as 1e4")


def _along(problems: Problems, Cs: list[float], tol: float, max_iter: int) -> list[Solution]:
    predictor, solutions = Predictor(problems), []
    for C in Cs:
        solutions.append(solve(problems.at(C), predictor.at(C), tol=tol, max_iter=max_iter))
        predictor.add(C, solutions[-1].points)
    return solutions


class LogisticProbe(_Logistic):
    """Multinomial logistic regression with an L2 penalty; one-vs-rest for multilabel.

    scikit-learn's objective, ``C * sum(log-loss) + ||W||^2 / 2`` with a free intercept, solved to its optimum. So
    ``LogisticProbe(C)`` gives what ``LogisticRegression(C=C)`` gives when that is let run to its optimum, and
    ``LogisticProbe(C, standardize=True)`` what ``make_pipeline(StandardScaler(), LogisticRegression(C=C))`` gives. The
    probe ``logreg`` of a run always standardises.

    Parameters
    ----------
    C : float, default=1.0
        Inverse strength of the penalty.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, as in scikit-learn.
    standardize : bool, default=False
        Centre and scale each column by the mean and standard deviation of the training rows, so that the penalty does
        not depend on the scale of a column. A constant column becomes zero.
    tol : float, default=1e-4
        Relative gradient at which the solver stops: the root of what one more Newton step would gain, as a share of
        the objective.
    max_iter : int, default=1000
        Most steps; beyond them `converged_` is False and a ConvergenceWarning is raised.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,), or of shape (n_labels,) for multilabel
        Class labels; for multilabel the column numbers.
    coef_ : ndarray of shape (1 or n_classes, n_features), or (n_labels, n_features); float64
        Weights of the features as they were given.
    intercept_ : ndarray of shape (1 or n_classes,), or (n_labels,)
    mean_, scale_ : ndarray of shape (n_features,), float64
        What the penalty's features were centred and scaled by.
    gradient_ : float
        The relative gradient where the solver stopped, the largest of all labels.
    n_iter_ : int
        Evaluations of the objective, the most that a label took.
    converged_ : bool
        Whether all stopped at `tol`, measured with curvature that fits the end of the fit. With the default the
        objective is then within 1e-6 of the optimum, as a share of it.

    Examples
    --------
    >>> from sklearn.datasets import make_classification
    >>> from medprobe.probe import LogisticProbe
    >>> X, y = make_classification(random_state=0)
    >>> probe = LogisticProbe(C=0.1, standardize=True).fit(X, y)
    >>> probe.coef_.shape, probe.converged_
    ((1, 20), True)
    """  # noqa: D416  (numpydoc, as scikit-learn has it)

    def __init__(
        self,
        C: float = 1.0,
        *,
        class_weight: dict[Any, float] | str | None = None,
        standardize: bool = False,
        tol: float = TOL,
        max_iter: int = 1000,
    ) -> None:
        self.C = C
        self.class_weight = class_weight
        self.standardize = standardize
        self.tol = tol
        self.max_iter = max_iter

    def fit(self, X: Any, y: Any) -> LogisticProbe:
        """Fits to `X` of shape (n_samples, n_features) and `y` of shape (n_samples,) or (n_samples, n_labels)."""
        _require_C(self.C)
        (solution,) = self._fit_path(X, y, [float(self.C)])
        self.coef_, self.intercept_ = (of_all[0] for of_all in self._of_features())
        self.gradient_ = float(solution.gap.max())
        self.n_iter_ = int(solution.evaluations.max())
        self.converged_ = bool(solution.converged.all())
        return self

    def from_solution(
        self,
        *,
        center: np.ndarray,
        scale: np.ndarray,
        weights: np.ndarray,
        intercepts: np.ndarray,
        classes: int,
        constant: Mapping[int, int],
        multilabel: bool,
    ) -> LogisticProbe:
        """Takes what another fit with these parameters has found instead of fitting.

        Parameters
        ----------
        center, scale : ndarray of shape (n_features,), float64
            What is subtracted from the features, and what they are divided by then.
        weights : ndarray of shape (1 or n_classes, n_features), or (n_labels, n_features); float64
            Of the features so scaled.
        intercepts : ndarray of shape (1 or n_classes,), or (n_labels,); float64
        classes : int
            Number of classes, which are codes, or of labels.
        constant : mapping of int to int
            Labels that were the same in every row, and which.
        multilabel : bool
        """
        self.n_features_in_, self.classes_, self.multilabel_ = len(center), np.arange(classes), multilabel
        self._center, self._spread = center, scale
        self._weights_by_C, self._intercepts_by_C = weights[None], intercepts[None]
        self._constant = constant
        self.coef_, self.intercept_ = (of_all[0] for of_all in self._of_features())
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of shape (n_samples, n_classes); for multilabel, the probability of each label."""
        return self._proba(X)[0]


class LogisticPath(_Logistic):
    """Logistic regression for a whole grid of C, each optimum started from an extrapolation of the last ones.

    Parameters
    ----------
    Cs : sequence of float, default=None
        The grid; twelve values from 1e-4 to 1e3 by default. It is sorted.
    class_weight, standardize, tol, max_iter
        As in `LogisticProbe`.

    Attributes
    ----------
    Cs_ : ndarray of shape (n_C,)
        The grid, ascending.
    classes_ : ndarray of shape (n_classes,), or of shape (n_labels,) for multilabel
    coef_ : ndarray of shape (n_C, 1 or n_classes or n_labels, n_features), float64
    intercept_ : ndarray of shape (n_C, 1 or n_classes or n_labels)
    gradient_ : ndarray of shape (n_C,)
    n_iter_ : ndarray of shape (n_C,)
    converged_ : ndarray of shape (n_C,), bool

    Examples
    --------
    >>> from sklearn.datasets import make_classification
    >>> from medprobe.probe import LogisticPath
    >>> X, y = make_classification(random_state=0)
    >>> path = LogisticPath(Cs=[0.01, 1, 100]).fit(X, y)
    >>> path.coef_.shape, path.converged_.tolist()
    ((3, 1, 20), [True, True, True])
    """  # noqa: D416  (numpydoc, as scikit-learn has it)

    def __init__(
        self,
        Cs: Any = None,
        *,
        class_weight: dict[Any, float] | str | None = None,
        standardize: bool = False,
        tol: float = TOL,
        max_iter: int = 1000,
    ) -> None:
        self.Cs = Cs
        self.class_weight = class_weight
        self.standardize = standardize
        self.tol = tol
        self.max_iter = max_iter

    def fit(self, X: Any, y: Any) -> LogisticPath:
        """Fits to `X` of shape (n_samples, n_features) and `y` of shape (n_samples,) or (n_samples, n_labels)."""
        grid = self._grid()
        solutions = self._fit_path(X, y, grid)
        self.Cs_ = np.array(grid)
        self.coef_, self.intercept_ = self._of_features()
        self.gradient_ = np.array([solution.gap.max() for solution in solutions])
        self.n_iter_ = np.array([solution.evaluations.max() for solution in solutions])
        self.converged_ = np.array([solution.converged.all() for solution in solutions])
        return self

    def _grid(self) -> list[float]:
        if isinstance(self.Cs, str) or not (self.Cs is None or np.iterable(self.Cs)):
            raise TypeError(f"Cs must be a sequence of numbers, such as [0.01, 1, 100], got {self.Cs!r}")
        given = list(GRID if self.Cs is None else self.Cs)
        if not given:
            raise ValueError("Cs is empty; give at least one value of C, or None for the default grid")
        for C in given:
            _require_C(C)
        return sorted({float(C) for C in given})

    def path_proba(self, X: Any) -> np.ndarray:
        """Probabilities for every C: (n_C, n_samples, n_classes or n_labels), in the order of `Cs_`."""
        return self._proba(X)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Those of the largest C, the least regularised model; `path_proba` gives all."""
        return self._proba(X)[-1]

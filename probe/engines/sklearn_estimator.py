"""Any scikit-learn classifier as a probe, resample by resample."""

from __future__ import annotations

import importlib
import inspect
import math
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
from pydantic import ConfigDict
from scipy.special import expit, softmax
from sklearn.base import clone, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import ParameterGrid
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import all_estimators, get_tags

from ...base import ProbeError, did_you_mean, one_of
from ...evaluate.resampling.resample import Resample
from ...evaluate.results.fit_result import FAR, FitResult, far_note
from .model_selection import ModelSelector
from .parallel import Workers
from .settings import MOST_VALUES, ProbeSettings, are_numbers, brief, require_known
from .task import ProbeTask

_SCALERS = {"StandardScaler", "MinMaxScaler", "MaxAbsScaler", "RobustScaler", "Normalizer", "QuantileTransformer"}
_SCALERS |= {"PowerTransformer"}


class EstimatorSettings(ProbeSettings):
    """An unfitted classifier and how it is fitted."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    estimator: Any
    name: str
    """Of the probe, for messages."""
    grid: dict[str, tuple[Any, ...]]
    scale: bool

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def facts(self) -> dict[str, Any]:
        """The class, the parameters that differ from its defaults, the grid and the version of its package."""
        package = type(self.estimator).__module__.partition(".")[0]
        parameters = {**changed_parameters(self.estimator), **self.grid}
        return {
            **{name: as_json(value) for name, value in parameters.items()},
            "estimator": class_path(type(self.estimator)),
            "scale": self.scale,
            "package": f"{package} {getattr(sys.modules.get(package), '__version__', '')}".rstrip(),
        }

    def changed(self) -> dict[str, Any]:
        """Nothing: the name of the probe has it all."""
        return {}


def checked_settings(
    estimator: Any, grid: Mapping[str, Any] | None, scale: bool, name: str | None
) -> EstimatorSettings:
    """Settings of a probe from a classifier; `Probe.from_estimator` documents arguments and errors."""
    path = class_path(estimator if isinstance(estimator, type) else type(estimator))
    if isinstance(estimator, type):
        raise ProbeError(f"{path} is a class; pass an instance of it, as {estimator.__name__}().")
    if not _has_methods(estimator) or not is_classifier(estimator):
        raise ProbeError(f"{path} is not a scikit-learn classifier; pass one, such as sklearn.svm.SVC().")
    parameters = estimator.get_params(deep=True)
    fitted = [part for part, value in parameters.items() if hasattr(value, "get_params") and _is_fitted(value)]
    if fitted:
        raise ProbeError(
            f"{path}: its component {one_of(fitted)} is already fitted and may have seen the test units; pass an"
            " unfitted clone (sklearn.base.clone)."
        )
    if not (hasattr(estimator, "predict_proba") or hasattr(estimator, "decision_function")):
        raise ProbeError(
            f"{path} has neither predict_proba nor decision_function, so it gives no scores; wrap it in"
            " sklearn.calibration.CalibratedClassifierCV, or choose another classifier."
        )
    values = {key: _values(one) for key, one in (grid or {}).items()}
    require_known(path, "parameter", values, parameters)
    for key, value in {**parameters, **values}.items():
        if key.split("__")[-1] == "decision_function_shape" and "ovo" in np.atleast_1d(np.array(value, dtype=object)):
            raise ProbeError(
                f"{path}: {key}=ovo scores pairs of classes and not classes; use {key}=ovr, which fits the same model."
            )
    count = math.prod(map(len, values.values()))
    if not 0 < count <= MOST_VALUES:
        empty = f" (of {one_of(key for key, one in values.items() if not one)} none)" if not count else ""
        raise ProbeError(f"{path}: the grid has {count:,} combinations{empty}; give 1 to {MOST_VALUES:,}.")
    scaled = scale and not any(type(value).__name__ in _SCALERS for value in parameters.values())
    words = [f"{key}={_brief(value)}" for key, value in {**changed_parameters(estimator), **values}.items()]
    words += [] if scale else ["scale=false"]
    name = name or ":".join(filter(None, [path, ",".join(words)]))
    return EstimatorSettings(estimator=clone(estimator), name=name, grid=values, scale=scaled)


def _values(values: Any) -> tuple[Any, ...]:
    if isinstance(values, str) or not np.iterable(values):
        values = [values]
    return tuple(value.item() if isinstance(value, np.generic) else value for value in values)


def _has_methods(estimator: Any) -> bool:
    return all(hasattr(estimator, name) for name in ("fit", "get_params", "set_params"))


def _is_fitted(estimator: Any) -> bool:
    return any(name.endswith("_") and not name.startswith("__") for name in getattr(estimator, "__dict__", {}))


def class_path(cls: type) -> str:
    """The shortest importable path of a class: `sklearn.svm.SVC`, although it is defined in `sklearn.svm._classes`."""
    parts = cls.__module__.split(".")
    modules = [".".join(parts[: end + 1]) for end in range(len(parts))]
    found = [name for name in modules if getattr(sys.modules.get(name), cls.__name__, None) is cls]
    return f"{found[0] if found else cls.__module__}.{cls.__qualname__}"


def changed_parameters(estimator: Any) -> dict[str, Any]:
    """Constructor parameters that differ from the class's defaults, without paths of caches (`memory`)."""
    defaults = {name: one.default for name, one in inspect.signature(type(estimator).__init__).parameters.items()}
    given = estimator.get_params(deep=False)
    return {
        name: value
        for name, value in given.items()
        if name != "memory" and repr(value) != repr(defaults.get(name, inspect.Parameter.empty))
    }


def as_json(value: Any) -> Any:
    """A parameter as JSON has it: numbers, words and lists as they are, objects by their class or name."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, (list, tuple)):
        return [as_json(one) for one in value]
    if isinstance(value, Mapping):
        return {str(key): as_json(one) for key, one in value.items()}
    if hasattr(value, "get_params") and not isinstance(value, type):
        return f"{type(value).__name__}({', '.join(f'{k}={as_json(v)}' for k, v in changed_parameters(value).items())})"
    return getattr(value, "__qualname__", None) or type(value).__name__


def _brief(value: Any) -> str:
    """`0.1..10x3` for a grid of numbers, `linear|rbf` for one of words, `PCA+SVC` for the steps of a pipeline."""
    if isinstance(value, (list, tuple)) and value:
        if are_numbers(value):
            return brief(tuple(value))
        if all(isinstance(one, tuple) and len(one) > 1 and hasattr(one[1], "get_params") for one in value):
            return "+".join(type(one[1]).__name__ for one in value)
        return "|".join(map(_brief, value))
    return type(value).__name__ if hasattr(value, "get_params") else brief(as_json(value))


def parse_estimator(path: str, given: Mapping[str, Any]) -> tuple[Any, dict[str, Any], bool]:
    """A classifier by the `path` of its class, its grid, and whether features are standardised.

    What the command line has `given` are grid values (lists), `scale`, and constructor arguments.

    Raises:
        ProbeError: there is no such class, or it does not take these arguments.
    """
    module, _, name = path.rpartition(".")
    try:
        cls = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError):
        paths = {found: class_path(cls) for found, cls in all_estimators(type_filter="classifier")}
        near = [path for found, path in paths.items() if found in did_you_mean(name, paths)]
        raise ProbeError(
            f"--probe sklearn:{path}: there is no such class in the installed packages; name one such as"
            f" sklearn:{one_of(near or ['sklearn.svm.SVC'])}."
        ) from None
    if not isinstance(cls, type) or not _has_methods(cls):
        raise ProbeError(f"{path} is not a scikit-learn classifier; name one, e.g. sklearn:sklearn.svm.SVC.")
    values = {key: _value(value) for key, value in given.items()}
    known = inspect.signature(cls.__init__).parameters
    scale = values.pop("scale", True) if "scale" not in known else True
    if not isinstance(scale, bool):
        raise ProbeError(f"{path}: scale must be true or false (got {scale}).")
    grid = {key: values.pop(key) for key, value in list(values.items()) if isinstance(value, list)}
    if not any(one.kind is one.VAR_KEYWORD for one in known.values()):
        require_known(path, "parameter", values, [key for key in known if key != "self"])
    try:
        return cls(**values), grid, scale
    except Exception as error:  # noqa: BLE001  (a constructor of any package)
        raise ProbeError(
            f"{path} cannot be made: {error}. In Python, Probe.from_estimator takes any instance."
        ) from None


def _value(value: Any) -> Any:
    """A value from the command line: `1e-3` is a number, `none` is None, a list in a list is a tuple."""
    if isinstance(value, list):
        return [tuple(_value(one)) if isinstance(one, list) else _value(one) for one in value]
    if not isinstance(value, str):
        return value
    try:
        return None if value.lower() == "none" else float(value)
    except ValueError:
        return value


def solve_estimators(task: ProbeTask, workers: Workers, settings: EstimatorSettings) -> Iterator[FitResult]:
    """Every candidate of the grid fitted on train, the best on val fitted again on train and val.

    Raises:
        ProbeError: the estimator fails, or returns no probabilities; names the probe and the seed.
    """
    with _noted_convergence():
        yield from workers.map(partial(_solve_one, task, settings), task.resamples)


_UNCONVERGED: dict[int, list[Any]] = {}
"""Convergence warnings of the resample that each thread is at, by the thread's number."""


@contextmanager
def _noted_convergence() -> Iterator[None]:
    """Convergence warnings go to `_UNCONVERGED`, whatever filters say, which an estimator changes for all threads."""
    warn = warnings.warn

    def note(message: Warning | str, category: type[Warning] | None = None, stacklevel: int = 1, **rest: Any) -> None:
        if issubclass(type(message) if isinstance(message, Warning) else category or UserWarning, ConvergenceWarning):
            own = _UNCONVERGED.get(threading.get_ident())
            # A thread that an estimator started may work for any resample.
            for of_resample in list(_UNCONVERGED.values()) if own is None else [own]:
                of_resample.append(message)
        else:
            warn(message, category, stacklevel + 1, **rest)

    warnings.warn = note
    try:
        yield
    finally:
        warnings.warn = warn


def _solve_one(task: ProbeTask, settings: EstimatorSettings, resample: Resample) -> FitResult:
    unconverged = _UNCONVERGED[threading.get_ident()] = []
    try:
        return _solve(task, settings, resample, unconverged)
    except Exception as error:  # noqa: BLE001  (an estimator of any package)
        what = str(error) if isinstance(error, ProbeError) else f"{type(error).__name__}: {error}"
        raise ProbeError(f"{settings.name}, {resample.words}: {' '.join(what.split())}") from None
    finally:
        del _UNCONVERGED[threading.get_ident()]


def _solve(task: ProbeTask, settings: EstimatorSettings, resample: Resample, unconverged: list[Any]) -> FitResult:
    start = time.perf_counter()
    selector = ModelSelector(task, resample)
    for params in ParameterGrid(settings.grid):
        candidate = _Model(task, settings, params, resample.train, resample.seed)
        if selector.consider(params, candidate.predict_proba(task.X[resample.val])):
            selector.best = candidate
    model = selector.best
    if task.refit:
        model = _Model(task, settings, selector.params, task.fitted_on(resample), resample.seed)
    notes = selector.notes(settings.grid)
    notes += ["no predict_proba: softmax of decision_function, not calibrated"] if model.from_decisions else []
    notes += ["some fits did not converge"] if unconverged else []
    notes += far_note(model.far_features(task.X[resample.test]))
    params = {name: as_json(value) for name, value in selector.params.items()}
    return task.tested(
        resample,
        model.predict_proba,
        start,
        val_proba=selector.proba,
        params=params,
        converged=not unconverged,
        notes=notes,
    )


class _Model:
    """One candidate fitted on some rows; `predict_proba` has a column per class of the task."""

    def __init__(
        self, task: ProbeTask, settings: EstimatorSettings, params: Mapping[str, Any], rows: np.ndarray, seed: int
    ) -> None:
        X, y = task.X[rows], task.y[rows]
        estimator: Any = clone(settings.estimator)
        estimator.set_params(**{k: clone(v, safe=False) for k, v in params.items()})
        parameters = estimator.get_params(deep=True)
        unseeded = [key for key, value in parameters.items() if key.split("__")[-1] == "random_state" and value is None]
        estimator.set_params(**dict.fromkeys(unseeded, int(seed) % 2**32))
        self.wide = task.wide
        # Of labels that do not vary in training, and of classes that it lacks.
        self.fallback = y.mean(axis=0) if task.wide else np.zeros(len(task.classes))
        self.columns = np.flatnonzero((y != y[0]).any(axis=0)) if task.wide else np.unique(y)
        self.several = task.wide and len(self.columns) > 1
        y = y[:, self.columns] if task.wide else y
        tags = get_tags(estimator).classifier_tags
        if self.several and not (tags and tags.multi_label):
            estimator = OneVsRestClassifier(estimator)
        self.model: Any = make_pipeline(StandardScaler() if settings.scale else "passthrough", estimator)
        if len(self.columns):
            self.model.fit(X, y if self.several or not task.wide else y[:, 0])
        self.from_decisions = not hasattr(self.model, "predict_proba")

    def far_features(self, X: np.ndarray) -> int:
        """In how many features some of the rows are beyond `FAR` standard deviations of those that were fitted."""
        scaler = self.model[0]
        if not isinstance(scaler, StandardScaler) or not len(self.columns):
            return 0
        return int((np.abs(scaler.transform(X)).max(axis=0) > FAR).sum())

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """(n, C) float64."""
        out = np.tile(self.fallback.astype(np.float64), (len(X), 1))
        if len(self.columns):
            proba = self._probabilities(X)
            out[:, self.columns] = proba[:, 1:] if self.wide and not self.several else proba
        return out

    def _probabilities(self, X: np.ndarray) -> np.ndarray:
        """(n, columns) of several labels at once; else (n, classes in training)."""
        if self.from_decisions:
            scores = np.asarray(self.model.decision_function(X), np.float64)
            scores = np.stack([np.zeros(len(X)), scores], axis=1) if scores.ndim == 1 else scores
            proba = expit(scores) if self.several else softmax(scores, axis=1)
        else:
            found = self.model.predict_proba(X)  # some return a matrix per label
            proba = np.stack([one[:, 1] for one in found], axis=1) if isinstance(found, list) else np.asarray(found)
        needed = (len(X), 2 if self.wide and not self.several else len(self.columns))
        if proba.shape != needed:
            raise ProbeError(f"it returned scores of shape {proba.shape} where {needed} is needed, a column per class.")
        if not np.isfinite(proba).all():
            raise ProbeError("it returned NaN or infinite probabilities; check its parameters and the features' scale.")
        if proba.min() < -1e-6 or proba.max() > 1 + 1e-6:
            raise ProbeError("its predict_proba returned values outside 0 to 1.")
        return np.clip(proba, 0, 1)


def label_of(settings: EstimatorSettings, name: str | None) -> str:
    """For tables and figures: `SVC (kernel=linear, C=0.1..10x3)`, or the name that was given."""
    path, _, words = settings.name.partition(":")
    return name or path.rpartition(".")[2] + (f" ({words.replace(',', ', ')})" if words else "")

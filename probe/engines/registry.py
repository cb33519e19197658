"""Where probes are listed. A new one is an estimator, an engine in this folder, and one line here."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic

import yaml
from pydantic import ValidationError

from ...base import ProbeError, did_you_mean, one_of
from ...evaluate.resampling.resample import Resample
from ...evaluate.results.fit_result import FitResult
from .centroid import CentroidSettings, fit_centroid
from .gbm import GBMSettings, fit_gbm
from .knn import KNNSettings, fit_knn, solve_knn
from .logreg import LogisticSettings, fit_logreg, solve_task
from .parallel import Workers, one_blas_thread
from .settings import ProbeSettings, Setting, Settings, brief, describe, faults, require_known
from .sklearn_estimator import checked_settings, label_of, parse_estimator, solve_estimators
from .task import Fitted, ProbeTask

Engine = Callable[[ProbeTask, Workers, Settings], Iterator[FitResult]]
"""Yields one fit result per resample, in their order."""


def per_resample(solve_one: Callable[[ProbeTask, Settings, Resample], FitResult]) -> Engine[Settings]:
    """The plain engine: every resample on its own, side by side over the workers."""
    return lambda task, workers, settings: workers.map(partial(solve_one, task, settings), task.resamples)


def _of_fit(fit: Callable[..., Fitted]) -> Engine[Any]:
    """The plain engine of a function that fits: its model is tested."""
    return per_resample(partial(_fit_and_test, fit))


def _fit_and_test(
    fit: Callable[..., Fitted], task: ProbeTask, settings: ProbeSettings, resample: Resample
) -> FitResult:
    start = time.perf_counter()
    fitted = fit(task, settings, resample)
    return task.tested(
        resample,
        fitted.estimator.predict_proba,
        start,
        val_proba=fitted.val_proba,
        params=fitted.params,
        notes=fitted.notes,
    )


@dataclass(frozen=True)
class Probe(Generic[Settings]):
    """A probe as the runner knows it: a name, settings that can be changed, and an engine that solves a task.

    Examples:
        >>> from sklearn.svm import SVC
        >>> from medprobe.probe import Probe
        >>> Probe.from_estimator(SVC(kernel="linear"), grid={"C": [0.1, 1, 10]}).name
        'sklearn.svm.SVC:kernel=linear,C=0.1..10x3'
    """

    family: str
    """What it is called by default settings, e.g. `gbm`."""
    family_label: str
    """For tables and figures."""
    settings: Settings
    engine: Engine[Settings]
    fit_one: Callable[[ProbeTask, Settings, Resample], Fitted] | None = None
    """Gives the model that the engine tests under one resample; None for classifiers of other packages."""

    @classmethod
    def from_estimator(
        cls, estimator: Any, grid: Mapping[str, Any] | None = None, *, scale: bool = True, name: str | None = None
    ) -> Probe[Any]:
        """A probe from any scikit-learn classifier, also a Pipeline; docs/probes.md has examples.

        Args:
            estimator: an unfitted classifier with `predict_proba` or `decision_function`. It is cloned; where its
                `random_state` is None, it is set to the seed.
            grid: lists of values by parameter (`svc__C` for a step of a pipeline), chosen from on val. Of candidates
                that are equal on val the first is taken, so list the simplest first.
            scale: standardise features on the rows that are fitted. Ignored where the estimator contains a scaler.
            name: of the probe in the results; by default its class, parameters and grid.

        Raises:
            ProbeError: it is not a classifier, a component is already fitted, or the grid names no parameter of it.
        """
        settings = checked_settings(estimator, grid, scale, name)
        return Probe(settings.name, label_of(settings, name), settings, solve_estimators)

    @property
    def name(self) -> str:
        """The family and its changed settings, as given to `--probe`."""
        changes = ",".join(f"{name}={brief(value)}" for name, value in self.settings.changed().items())
        return f"{self.family}:{changes}" if changes else self.family

    @property
    def label(self) -> str:
        """For tables and figures: `Gradient boosting (preset=lightgbm-defaults)`."""
        changed = self.name.removeprefix(self.family).removeprefix(":").replace(",", ", ")
        return f"{self.family_label} ({changed})" if changed else self.family_label

    @property
    def described(self) -> list[Setting]:
        """What can be set, with the defaults."""
        return describe(type(self.settings))

    def solve(self, task: ProbeTask, workers: Workers) -> Iterator[FitResult]:
        """One result per resample of the task, in their order."""
        with one_blas_thread():  # also what an engine does before and between its workers' items
            yield from self.engine(task, workers, self.settings)

    def fit(self, task: ProbeTask) -> Fitted:
        """The model that `solve` tests under the first resample of the task.

        Raises:
            ProbeError: it is a classifier of another package, which only pickle could keep.
        """
        if self.fit_one is None:
            raise ProbeError(
                f"{self.name} cannot be saved without pickle, which runs code when it is loaded; choose one of"
                f" {one_of(PROBES)}."
            )
        with one_blas_thread():
            return self.fit_one(task, self.settings, task.resamples[0])

    def configured(self, **changes: Any) -> Probe[Settings]:
        """This probe with other settings.

        Raises:
            ProbeError: there is no such setting (names the near ones), or it cannot have that value.
        """
        known = type(self.settings).model_fields
        require_known(self.family, "setting", changes, known)
        try:
            # Only what was set, so that `model_fields_set` still tells it from the defaults.
            own = {name: getattr(self.settings, name) for name in self.settings.model_fields_set}
            settings = type(self.settings).model_validate({**own, **changes})
        except ValidationError as error:
            raise ProbeError(f"{self.family}: {faults(error, known)}") from None
        return replace(self, settings=settings)


_BUILT_IN = (
    Probe("logreg", "Logistic regression", LogisticSettings(), solve_task, fit_logreg),
    Probe("knn", "k nearest neighbours", KNNSettings(), solve_knn, fit_knn),
    Probe("gbm", "Gradient boosting", GBMSettings(), _of_fit(fit_gbm), fit_gbm),
    Probe(
        "centroid",
        "Nearest class mean",
        CentroidSettings(),
        _of_fit(fit_centroid),
        fit_centroid,
    ),
)
PROBES: Mapping[str, Probe[Any]] = {probe.family: probe for probe in _BUILT_IN}


def resolve_probes(wanted: Any) -> list[Probe[Any]]:
    """The requested probes, each once, in the order given.

    Args:
        wanted: one or several: names such as `gbm`, names with settings such as `gbm:preset=lightgbm-defaults` or
            `knn:k=[5,11],weights=uniform`, `sklearn:CLASS` with settings, configured probes, or scikit-learn
            classifiers.

    Raises:
        ProbeError: none is named, one is unknown (all such are named, with the near ones), or a setting is wrong.

    Examples:
        >>> from medprobe.probe import resolve_probes
        >>> [probe.name for probe in resolve_probes(["logreg", "knn:k=[5,11],weights=uniform"])]
        ['logreg', 'knn:k=5..11x2,weights=uniform']
    """
    if isinstance(wanted, (str, Probe)) or hasattr(wanted, "fit") or not isinstance(wanted, Iterable):
        wanted = [wanted]
    given: list[Any] = list(wanted)
    families = [name.partition(":")[0] for name in given if isinstance(name, str)]
    unknown = [name for name in families if name not in PROBES and name != "sklearn" and "." not in name]
    if unknown or not given:
        what = f"unknown probe {one_of(unknown)}" if unknown else "no probe is named"
        near = "".join(did_you_mean(family, PROBES) for family in unknown)
        raise ProbeError(f"{what}; there are {one_of(PROBES)} and sklearn:CLASS.{near}")
    by_text = {text: _configured(text) for text in given if isinstance(text, str)}
    probes = [by_text[one] if isinstance(one, str) else one for one in given]
    probes = list(dict.fromkeys(one if isinstance(one, Probe) else Probe.from_estimator(one) for one in probes))
    twice = _repeated(probe.name for probe in probes)
    if twice:
        raise ProbeError(
            f"two probes would both be called {one_of(twice)}; give them different settings, or names by"
            " Probe.from_estimator(..., name=...)."
        )
    return probes


def _repeated(names: Iterable[str]) -> list[str]:
    return [name for name, times in Counter(names).items() if times > 1]


def set_params(probes: Iterable[Probe[Any]], family: str, given: Mapping[str, Any]) -> list[Probe[Any]]:
    """`probes`, with the settings `given` for every one of `family`.

    Raises:
        ProbeError: no probe is of the family, one of them was configured otherwise, two become the same, or a setting
            is wrong.

    Examples:
        >>> from medprobe.probe import resolve_probes, set_params
        >>> [probe.name for probe in set_params(resolve_probes(["gbm", "knn"]), "knn", {"weights": "uniform"})]
        ['gbm', 'knn:weights=uniform']
    """
    probes = list(probes)
    if all(probe.family != family for probe in probes):
        raise ProbeError(
            f"{one_of(given)}: set for {family}, which is not among the probes; add it, or leave that out."
        )
    configured = [probe.configured(**given) if probe.family == family else probe for probe in probes]
    for before, after in zip(probes, configured, strict=True):
        for setting in before.settings.model_fields_set.intersection(given) if after is not before else ():
            own, common = getattr(before.settings, setting), getattr(after.settings, setting)
            if own != common:
                raise ProbeError(
                    f"{family}: {setting} is set twice, to {own} for the probe itself and to {common} for every"
                    f" {family}; leave one of them out."
                )
    same = _repeated(probe.name for probe in configured)
    if same:
        raise ProbeError(f"several probes become the same, {one_of(same)}; name it once, or set each apart.")
    return configured


def _configured(text: str) -> Probe[Any]:
    family, has_settings, settings = text.partition(":")
    if family in PROBES:
        return PROBES[family].configured(**_changes(text, family, settings)) if has_settings else PROBES[family]
    path, has_settings, settings = (settings if family == "sklearn" else text).partition(":")
    changes = _changes(text, f"sklearn:{path}", settings) if has_settings else {}
    estimator, grid, scale = parse_estimator(path, changes)
    return Probe.from_estimator(estimator, grid, scale=scale)


def _changes(text: str, probe: str, settings: str) -> dict[str, Any]:
    """Values by setting."""
    try:
        flow = "{" + settings.replace("=", ": ") + "}"
        changes, node = yaml.safe_load(flow), yaml.compose(flow)
    except (yaml.YAMLError, ValueError, RecursionError):  # the latter of a date or a number that cannot be
        changes, node = None, None
    if not isinstance(node, yaml.MappingNode) or not changes or None in changes.values():
        raise ProbeError(f'--probe "{text}": write settings as {probe}:name=value,name=[value,value].')
    twice = _repeated(key.value for key, _ in node.value)
    if twice:
        raise ProbeError(
            f'--probe "{text}": {one_of(twice)} is set twice; write one value, or a list as [value,value].'
        )
    return {str(name): value for name, value in changes.items()}

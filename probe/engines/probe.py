"""A probe as the runner sees it: a name, settings that can be changed, and an engine that solves a task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic

from pydantic import ValidationError

from ...base import ProbeError
from ...evaluate.results.fit_result import FitResult
from .params import Setting, Settings, brief, describe, faults, require_known
from .sklearn_estimator import checked_settings, label_of, solve_one
from .task import Engine, ProbeTask, Workers, per_resample


@dataclass(frozen=True)
class Probe(Generic[Settings]):
    """A probe as the runner knows it. A faster engine takes the place of `engine`; nothing else changes.

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
        return Probe(settings.name, label_of(settings, name), settings, per_resample(solve_one))

    @property
    def name(self) -> str:
        """The family and its changed settings, as given to `--probe`."""
        changes = self.settings.changed()
        return self.family + (":" if changes else "") + ",".join(f"{k}={brief(v)}" for k, v in changes.items())

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
        return self.engine(task, workers, self.settings)

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

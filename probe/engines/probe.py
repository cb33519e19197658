"""What a probe is to the runner: a name, settings that can be changed, and an engine that solves a whole block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, ValidationInfo, field_validator

from ...base import ProbeError, did_you_mean, one_of
from ...evaluate.resampling.resample import Resample
from ...evaluate.results.fit_result import FitResult
from .params import Setting, describe, faults, read_grid
from .task import ProbeTask, Workers


class ProbeSettings(BaseModel):
    """Grid and fixed settings of a probe; each field of a subclass can be changed by `--probe NAME:field=value`.

    What stands below a field is what `medprobe probe --settings` says of it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)

    @field_validator("*", mode="before")
    @classmethod
    def _none_by_name(cls, value: Any, info: ValidationInfo) -> Any:
        """`none` where it is the default, as the table of settings writes it."""
        return None if value == "none" and cls.model_fields[str(info.field_name)].default is None else value

    @field_validator("*", mode="before")
    @classmethod
    def _yes_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuses `true` where Python would count it as 1."""
        wanted = cls.model_fields[str(info.field_name)].annotation
        if isinstance(value, bool) and wanted is not bool and get_origin(wanted) is not tuple:  # grids look themselves
            raise ValueError(f"cannot be {str(value).lower()}")
        return value

    def facts(self) -> dict[str, Any]:
        """What run.json says of them, JSON-like."""
        return self.model_dump(mode="json")

    def changed(self) -> dict[str, Any]:
        """The fields that differ from the defaults."""
        usual = type(self)()
        return {name: value for name, value in self if value != getattr(usual, name)}


Settings = TypeVar("Settings", bound=ProbeSettings)
Engine = Callable[[ProbeTask, Workers, Settings], Iterator[FitResult]]
"""Yields one outcome per resample, in their order."""


@dataclass(frozen=True)
class Probe(Generic[Settings]):
    """A probe as the runner knows it. A faster engine takes the place of `engine`; nothing else changes."""

    family: str
    """What it is called by default settings, e.g. `gbm`."""
    family_label: str
    """For tables and figures."""
    settings: Settings
    engine: Engine[Settings]

    @property
    def name(self) -> str:
        """The family, and the settings that were changed: `gbm:preset=lightgbm-defaults`."""
        changes = self.settings.changed()
        return (
            ":".join([self.family, ",".join(f"{k}={_brief(v)}" for k, v in changes.items())])
            if changes
            else self.family
        )

    @property
    def label(self) -> str:
        """For tables and figures: `Gradient boosting (preset=lightgbm-defaults)`."""
        changed = self.name.partition(":")[2].replace(",", ", ")
        return f"{self.family_label} ({changed})" if changed else self.family_label

    @property
    def described(self) -> list[Setting]:
        """What can be set, with the defaults."""
        return describe(type(self.settings))

    def solve(self, block: ProbeTask, workers: Workers) -> Iterator[FitResult]:
        """One outcome per resample of the block, in their order."""
        return self.engine(block, workers, self.settings)

    def configured(self, **changes: Any) -> Probe[Settings]:
        """This probe with other settings.

        Raises:
            ProbeError: there is no such setting (names the near ones), or it cannot have that value.
        """
        known = type(self.settings).model_fields
        unknown = [name for name in changes if name not in known]
        if unknown:
            near = "".join(did_you_mean(name, known) for name in unknown)
            raise ProbeError(f"{self.family} has no setting {one_of(unknown)}; there are {one_of(known)}.{near}")
        try:
            # Only what was set, so that `model_fields_set` still tells it from the defaults.
            own = {name: getattr(self.settings, name) for name in self.settings.model_fields_set}
            settings = type(self.settings).model_validate({**own, **changes})
        except ValidationError as error:
            raise ProbeError(f"{self.family}: {faults(error, known)}") from None
        return replace(self, settings=settings)


def per_resample(solve_one: Callable[[ProbeTask, Settings, Resample], FitResult]) -> Engine[Settings]:
    """The plain engine: every resample on its own, side by side over the workers."""

    def solve(block: ProbeTask, workers: Workers, settings: Settings) -> Iterator[FitResult]:
        return workers.map(_Unpacked(solve_one), (block, settings), block.resamples)

    return solve


@dataclass(frozen=True)
class _Unpacked:
    """A class rather than a closure, which a process could not be sent."""

    solve_one: Callable[[ProbeTask, Any, Resample], FitResult]

    def __call__(self, shared: tuple[ProbeTask, Any], resample: Resample) -> FitResult:
        return self.solve_one(*shared, resample)


AsGrid = BeforeValidator(read_grid)
"""Annotation of a field that is a grid: ascending, each value once."""


def _brief(value: Any) -> str:
    if not isinstance(value, tuple):
        return f"{value:g}" if isinstance(value, float) else str(value)
    if len(value) == 1:
        return f"{value[0]:g}"
    return f"{value[0]:g}..{value[-1]:g}x{len(value)}"

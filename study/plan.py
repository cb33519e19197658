"""What a study names, found and checked before anything runs; all that is wrong is reported together."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from ..base import MedprobeError
from ..base.errors import StudyError
from ..evaluate.metrics.registry import find_metric
from .data_sets import Missing, Source, find_source, label_of, relative
from .schema import Images, Probing, StudyFile
from .systems import Network, Trained, read_network, read_probes, read_training

_Value = TypeVar("_Value")


def results_folder(study: StudyFile, place: Path) -> Path:
    """The folder of the results. `place` is that which paths of the study are relative to."""
    return place / (study.out or f"studies/{study.name or 'study'}")


def store_folder(study: StudyFile, place: Path) -> Path:
    """The folder of the caches."""
    return place / study.store if study.store else results_folder(study, place) / "embeddings"


def missing_data(study: StudyFile, place: Path) -> list[Missing]:
    """The data sets that are left out because what they are built from is not there.

    Raises:
        StudyError: as `compile_study`.
    """
    return Plan.of(study, place).missing


class Plan(NamedTuple):
    """What the study names, found and checked."""

    study: StudyFile
    place: Path
    out: Path
    sources: list[Source]
    missing: list[Missing]
    networks: list[Network]
    probes: list[tuple[str, Any]]
    trainings: list[Trained]

    @classmethod
    def of(cls, study: StudyFile, place: Path) -> Plan:
        """Finds all that the study names.

        Raises:
            StudyError: names all that is wrong.
        """
        out = results_folder(study, place)
        faults = _Faults(study)
        found = [faults.checked(("data", at), find_source, study, at, place, out) for at in range(len(study.data))]
        networks = [
            faults.checked(("extract", "backbones", at), read_network, one, place, out)
            for at, one in enumerate(study.extract.backbones)
        ]
        probing = study.probe
        probes = faults.checked(("probe", "probes"), read_probes, probing.probes) if probing else []
        trainings = [
            faults.checked(("finetune", at), read_training, one, study.extract.backbones, place, out)
            for at, one in enumerate(study.finetune)
        ]
        faults.require_distinct(("data",), map(label_of, study.data), "name")
        faults.require_distinct(("extract", "backbones"), (one.label for one in networks if one), "label")
        sources = [one for one in found if isinstance(one, Source)]
        _check_design(study, sources, faults)
        faults.refuse()
        return cls(
            study,
            place,
            out,
            sources,
            [one for one in found if isinstance(one, Missing)],
            [one for one in networks if one],
            probes or [],
            [one for one in trainings if one],
        )

    @property
    def probing(self) -> Probing:
        """How resamples are drawn, for fine-tuning too where nothing is probed."""
        return self.study.probe or Probing()

    @property
    def store(self) -> str:
        """The folder of the caches, from the folder of the results."""
        return relative(store_folder(self.study, self.place), self.out)

    def images(self, source: Source, network: Network) -> Images:
        """What a network sees of a data set."""
        return network.images or source.given.images or self.study.extract.images


class _Faults:
    """Collects what is wrong with a study, so that all of it is named together."""

    def __init__(self, study: StudyFile) -> None:
        self._study = study
        self._found: list[str] = []

    def note(self, place: tuple[str | int, ...], message: str) -> None:
        self._found.append(f"{self._study.origin(*place)}: {message}")

    def checked(self, place: tuple[str | int, ...], check: Callable[..., _Value], *arguments: Any) -> _Value | None:
        try:
            return check(*arguments)
        except MedprobeError as error:
            self.note(place, str(error))
            return None

    def require_distinct(self, place: tuple[str | int, ...], labels: Iterable[str], key: str) -> None:
        seen: set[str] = set()
        for label in labels:
            if label in seen:
                self.note(place, f'two would be called "{label}"; give each a `{key}`.')
            seen.add(label)

    def refuse(self) -> None:
        if len(self._found) == 1:
            raise StudyError(f"study {self._study.name}, {self._found[0]}")
        if self._found:
            listed = "".join(f"\n  {fault}" for fault in self._found)
            raise StudyError(f"study {self._study.name}: {len(self._found)} errors:{listed}")


def _check_design(study: StudyFile, sources: Iterable[Source], faults: _Faults) -> None:
    """Protocols and the metric against the data that is there, and numbers of seeds against each other."""
    probing = study.probe or Probing()
    metric = faults.checked(("probe", "metric"), find_metric, probing.metric) if probing.metric else None
    for source in sources:
        if source.loaded is None:
            continue
        task = source.loaded.card.task
        if metric and task not in metric.tasks:
            faults.note(("probe", "metric"), f"{metric.name} is not defined for {source.label}, which is {task}.")
        parts = set(source.loaded.table["split"].unique()) if "split" in source.loaded.table else set()
        if "official" in probing.protocols and not parts >= {"train", "test"}:
            faults.note(
                ("probe", "protocols"),
                f"official needs a manifest that names train and test, which {source.label} does not; use holdout.",
            )
    for at, one in enumerate(study.finetune):
        if study.probe and one.seeds > study.probe.seeds:
            faults.note(
                ("finetune", at, "seeds"),
                f"{one.seeds} are more than the {study.probe.seeds} of the probes, which it is compared with.",
            )

"""What a study names, found and checked before anything runs; all that is wrong is reported together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from ..base import MedprobeError, no_such, one_of
from ..base.errors import StudyError
from ..evaluate.metrics.registry import find_metric
from ..manifests import Manifest
from ..probe.retrieval import check_searchable
from .data_sets import (
    AbsentError,
    Missing,
    Source,
    data_folder,
    find_source,
    label_of,
    located,
    relative,
    results_folder,
    store_folder,
)
from .schema import Cluster, Images, Place, Probing, StudyFile
from .systems import Network, Trained, read_mode, read_network, read_probes, read_training

_NEEDED = {"official": ("train", "test"), "fixed": ("train", "val", "test")}
"""Parts that a manifest must name for a protocol."""
_Value = TypeVar("_Value")


def plan_notes(study: StudyFile) -> list[str]:
    """What a reader should know of a study: its own notes, and what its settings leave to the machines."""
    own = study.extract
    automatic = [name for name in ("precision", "runtime") if getattr(own, name) == "auto"]
    if not automatic or study.cluster == Cluster():
        return study.notes
    note = (
        "auto stands for other values on other machines (bf16 on a GPU, mostly fp32 on a CPU, OpenVINO where it is"
        " installed); name one if jobs of this study may run on several, so that backbones are compared in the same."
    )
    return [*study.notes, f"{one_of(f'extract.{name}' for name in automatic)}: {note}"]


def missing_data(study: StudyFile, place: Path) -> list[Missing]:
    """The data sets and backbones that are left out because their files are not there.

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
        out, faults = results_folder(study, place), _Faults(study)
        weights = data_folder(study, place)
        trainings: list[Trained] = []
        sources = faults.each(("data",), partial(find_source, study), study.data, place, out)
        networks = faults.each(("extract", "backbones"), read_network, study.extract.backbones, weights, out)
        probing = study.probe
        probes = faults.checked(("probe", "probes"), read_probes, probing.probes) if probing and probing.probes else []
        for at, one in enumerate(study.finetune):
            own = faults.each(("finetune", at, "backbones"), read_network, one.backbones, weights, out)
            modes = faults.each(("finetune", at, "modes"), read_mode, one.modes, weights, out)
            read = faults.checked(("finetune", at), read_training, one, own if one.backbones else networks, modes)
            trainings += [read] if read else []
        _check_folders(study, place, faults)
        _check_names(study, sources, faults)
        _check_networks(study, sources, ("extract", "backbones"), networks, faults)
        for at, training in enumerate(trainings):
            if training.given.backbones:
                _check_networks(study, sources, ("finetune", at, "backbones"), training.networks, faults, most=1)
        _check_design(study, sources, faults)
        _check_retrieval(study, place, sources, faults)
        faults.refuse()
        missing = list(dict.fromkeys(faults.missing))
        return cls(study, place, out, sources, missing, networks, probes or [], trainings)

    @property
    def probing(self) -> Probing:
        """How resamples are drawn, for fine-tuning too where nothing is probed."""
        return self.study.probe or Probing()

    @property
    def store(self) -> str:
        """The folder of the caches, from the folder of the results."""
        return relative(store_folder(self.study, self.place), self.out)


def images_of(study: StudyFile, source: Source, network: Network) -> Images:
    """What a network sees of a data set."""
    return network.images or source.given.images or study.extract.images


class _Faults:
    """Collects what is wrong with a study, so that all of it is named together, and what is left out."""

    def __init__(self, study: StudyFile) -> None:
        self._study = study
        self._found: list[str] = []
        self.missing: list[Missing] = []

    def note(self, place: Place, message: str) -> None:
        self._found.append(f"{self._study.origin(*place)}: {message}")

    def checked(self, place: Place, check: Callable[..., _Value], *arguments: Any) -> _Value | None:
        try:
            return check(*arguments)
        except AbsentError as error:
            self.missing.append(error.missing)
        except MedprobeError as error:
            self.note(place, str(error))
        return None

    def each(self, place: Place, check: Callable[..., _Value], several: Iterable[Any], *arguments: Any) -> list[_Value]:
        found = [self.checked((*place, at), check, one, *arguments) for at, one in enumerate(several)]
        return [one for one in found if one is not None]

    def require_distinct(self, place: Place, labels: Iterable[str], key: str) -> None:
        seen: set[str] = set()
        for label in labels:
            if label in seen:
                self.note(place, f'two would be called "{label}"; give each a `{key}`.')
            seen.add(label)

    def refuse(self) -> None:
        if len(self._found) == 1:
            raise StudyError(f"{self._study.file}, {self._found[0]}")
        if self._found:
            listed = "".join(f"\n  {fault}" for fault in self._found)
            raise StudyError(f"{self._study.file}: {len(self._found)} errors:{listed}")


def _check_folders(study: StudyFile, place: Path, faults: _Faults) -> None:
    """Refuses files in the place of the folders that are written to."""
    for key, folder in (("out", results_folder(study, place)), ("store", store_folder(study, place))):
        there = next(path for path in (folder, *folder.parents) if path.exists())
        if getattr(study, key) and not there.is_dir():
            faults.note((key,), f"{there} is a file; name a folder.")


def _check_networks(
    study: StudyFile,
    sources: Sequence[Source],
    place: Place,
    networks: Sequence[Network],
    faults: _Faults,
    *,
    most: int | None = None,
) -> None:
    """Refuses one label for two networks, and two labels for the same vectors, by the first `most` poolings of each.

    A network whose normalisation is not known is refused too, unless the study says it.
    """
    faults.require_distinct(place, (one.label for one in networks), "label")
    for one in networks:
        own = {images_of(study, source, one).normalization for source in sources}
        if one.lacks_normalization and "model" in own:
            faults.note(
                place,
                f"{one.entry.name}: how its images are normalised is not known; add images: {{normalization:"
                " MEAN/STD}, such as 0.485,0.456,0.406/0.229,0.224,0.225, which is ImageNet's.",
            )

    def are_equal(one: Network, other: Network) -> bool:
        poolings, others = ((each.poolings or each.entry.poolings[:1])[:most] for each in (one, other))
        same_images = any(images_of(study, source, one) == images_of(study, source, other) for source in sources)
        return one.key == other.key and {*poolings} == {*others} and same_images

    for one, other in combinations(networks, 2):
        if are_equal(one, other):
            names = f'"{one.label}" and "{other.label}"'
            faults.note(place, f"{names} are one backbone with the same poolings and images; leave one out.")


def _check_names(study: StudyFile, sources: Iterable[Source], faults: _Faults) -> None:
    """Refuses two data sets of one name in the study, or in their cards, by which caches and tables know them."""
    faults.require_distinct(("data",), map(label_of, study.data), "name")
    seen: dict[str, str] = {}
    for source in sources:
        other = seen.setdefault(source.name, source.label)
        if other != source.label:
            faults.note(
                ("data",),
                f'the cards of "{other}" and "{source.label}" have one name, {source.name}, by which caches and tables'
                " know them; change `name` in one of the cards.",
            )


def _check_retrieval(study: StudyFile, place: Path, sources: Iterable[Source], faults: _Faults) -> None:
    """Whether the manifests that are there can be searched."""
    given = study.retrieve
    for source in sources if given else ():
        if given and source.given.manifest:
            manifest = Manifest.load(located(place, source.given.manifest))
            faults.checked(("retrieve",), partial(check_searchable, same_group=given.same_group), manifest, given.k)


def _check_design(study: StudyFile, sources: Iterable[Source], faults: _Faults) -> None:
    """Protocols and the metric against the data that is there, and numbers of seeds against each other."""
    probing = study.probe or Probing()
    metric = faults.checked(("probe", "metric"), find_metric, probing.metric) if probing.metric else None
    for source in sources:
        if source.facts is None:
            continue
        task, parts = source.facts.task, source.facts.parts
        if metric and task not in metric.tasks:
            faults.note(("probe", "metric"), f"{metric.name} is not defined for {source.label}, which is {task}.")
        for protocol in probing.protocols:
            absent = [part for part in _NEEDED.get(protocol, ()) if part not in parts]
            if absent:
                needed = f"a manifest that names {one_of(_NEEDED[protocol])}; {source.label} has no {one_of(absent)}"
                faults.note(("probe", "protocols"), f"{protocol} needs {needed}. Use holdout, or another split.")
    labels = [label_of(one) for one in study.data]
    for at, one in enumerate(study.finetune):
        for name in one.data:
            if name not in labels:
                faults.note(("finetune", at, "data"), no_such("data set", name, labels))
        if study.probe and study.probe.probes and one.seeds > study.probe.seeds:
            faults.note(
                ("finetune", at, "seeds"),
                f"{one.seeds} are more than the {study.probe.seeds} of the probes, which it is compared with.",
            )

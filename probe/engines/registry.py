"""Where probes are listed. A new one is an estimator, an engine in this folder, and one line here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from ...base import ProbeError, did_you_mean, one_of
from .centroid import CENTROID
from .gbm import GBM
from .knn import KNN
from .logreg import LOGREG
from .probe import Probe
from .sklearn_estimator import is_estimator, parse_estimator

PROBES: Mapping[str, Probe[Any]] = {probe.family: probe for probe in (LOGREG, KNN, GBM, CENTROID)}


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
    single = isinstance(wanted, (str, Probe)) or is_estimator(wanted) or not isinstance(wanted, Iterable)
    given: list[Any] = [wanted]
    if not single:
        given = list(wanted)  # pyright: ignore[reportArgumentType]
    families = [name.partition(":")[0] for name in given if isinstance(name, str)]
    unknown = [name for name in families if name not in PROBES and name != "sklearn" and "." not in name]
    if unknown:
        near = "".join(did_you_mean(family, PROBES) for family in unknown)
        raise ProbeError(f"unknown probe {one_of(unknown)}; there are {one_of(PROBES)} and sklearn:CLASS.{near}")
    if not given:
        raise ProbeError(f"no probe is named; there are {one_of(PROBES)} and sklearn:CLASS.")
    texts = dict.fromkeys(one for one in given if isinstance(one, str))
    by_text = {text: _configured(text) for text in texts}
    probes = [by_text[one] if isinstance(one, str) else one for one in given]
    probes = list(dict.fromkeys(one if isinstance(one, Probe) else Probe.from_estimator(one) for one in probes))
    twice = [name for name, times in Counter(probe.name for probe in probes).items() if times > 1]
    if twice:
        raise ProbeError(
            f"two probes would both be called {one_of(twice)}; give them different settings, or names by"
            " Probe.from_estimator(..., name=...)."
        )
    return probes


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
    configured = [_agreeing(probe, given) if probe.family == family else probe for probe in probes]
    for probe, times in Counter(configured).items():
        if times > 1:
            same = [before.name for before, after in zip(probes, configured, strict=True) if after == probe]
            raise ProbeError(f"{one_of(same)} become the same probe, {probe.name}; name it once, or set each apart.")
    return configured


def _agreeing(probe: Probe[Any], given: Mapping[str, Any]) -> Probe[Any]:
    after = probe.configured(**given)
    for setting in probe.settings.model_fields_set.intersection(given):
        own, common = (getattr(settings, setting) for settings in (probe.settings, after.settings))
        if own != common:
            raise ProbeError(
                f"{probe.family}: {setting} is set twice, to {own} for the probe itself and to {common}"
                f" for every {probe.family}; leave one of them out."
            )
    return after


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
    except yaml.YAMLError:
        changes, node = None, None
    if not isinstance(node, yaml.MappingNode) or not changes or None in changes.values():
        raise ProbeError(f'--probe "{text}": write settings as {probe}:name=value,name=[value,value].')
    twice = [name for name, times in Counter(key.value for key, _ in node.value).items() if times > 1]
    if twice:
        raise ProbeError(
            f'--probe "{text}": {one_of(twice)} is set twice; write one value, or a list as [value,value].'
        )
    return {str(name): value for name, value in changes.items()}

"""Where probes are listed. A new probe is one file beside this one and one line here."""

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

PROBES: Mapping[str, Probe[Any]] = {kind.family: kind for kind in (LOGREG, KNN, GBM, CENTROID)}


def resolve_probes(wanted: str | Probe[Any] | Iterable[str | Probe[Any]]) -> list[Probe[Any]]:
    """The probes that are meant, each once, in the order given.

    Args:
        wanted: one or several: names such as `gbm`, names with settings such as `gbm:preset=lightgbm-defaults` or
            `knn:k=[5,11],weights=uniform`, or configured probes.

    Raises:
        ProbeError: none is named, one is unknown (all such are named, with the near ones), or a setting is wrong.
    """
    given = list(dict.fromkeys([wanted] if isinstance(wanted, (str, Probe)) else wanted))
    families = [name.partition(":")[0] for name in given if isinstance(name, str)]
    unknown = [family for family in families if family not in PROBES]
    if unknown:
        near = "".join(did_you_mean(family, PROBES) for family in unknown)
        raise ProbeError(f"unknown probe {one_of(unknown)}; there are {one_of(PROBES)}.{near}")
    if not given:
        raise ProbeError(f"no probe is named; there are {one_of(PROBES)}.")
    kinds = list(dict.fromkeys(_configured(one) if isinstance(one, str) else one for one in given))
    twice = [name for name, times in Counter(kind.name for kind in kinds).items() if times > 1]
    if twice:
        raise ProbeError(f"two probes would both be called {one_of(twice)}; give them settings that can be told apart.")
    return kinds


def set_params(kinds: Iterable[Probe[Any]], family: str, given: Mapping[str, Any]) -> list[Probe[Any]]:
    """`kinds`, with the settings `given` for every one of `family`.

    Raises:
        ProbeError: no kind is of the family, one of them was configured otherwise, two become the same, or a setting
            is wrong.
    """
    kinds = list(kinds)
    if all(kind.family != family for kind in kinds):
        raise ProbeError(
            f"{one_of(given)}: set for {family}, which is not among the probes; add it, or leave that out."
        )
    configured = [_agreeing(kind, given) if kind.family == family else kind for kind in kinds]
    for kind, times in Counter(configured).items():
        if times > 1:
            same = [before.name for before, after in zip(kinds, configured, strict=True) if after == kind]
            raise ProbeError(f"{one_of(same)} become the same probe, {kind.name}; name it once, or set each apart.")
    return configured


def _agreeing(kind: Probe[Any], given: Mapping[str, Any]) -> Probe[Any]:
    after = kind.configured(**given)
    for setting in kind.settings.model_fields_set.intersection(given):
        own, asked = (getattr(settings, setting) for settings in (kind.settings, after.settings))
        if own != asked:
            raise ProbeError(
                f"{kind.family}: {setting} is set twice and not the same, to {own} for the probe itself and to {asked}"
                f" for every {kind.family}; leave one of them out."
            )
    return after


def _configured(text: str) -> Probe[Any]:
    family, asked, settings = text.partition(":")
    if not asked:
        return PROBES[family]
    try:
        flow = "{" + settings.replace("=", ": ") + "}"
        changes, node = yaml.safe_load(flow), yaml.compose(flow)
    except yaml.YAMLError:
        changes, node = None, None
    if not isinstance(node, yaml.MappingNode) or not changes or None in changes.values():
        raise ProbeError(f'--probe "{text}": write settings as {family}:name=value,name=[value,value].')
    twice = [name for name, times in Counter(key.value for key, _ in node.value).items() if times > 1]
    if twice:
        raise ProbeError(
            f'--probe "{text}": {one_of(twice)} is set twice; write one value, or a list as [value,value].'
        )
    return PROBES[family].configured(**{str(name): value for name, value in changes.items()})

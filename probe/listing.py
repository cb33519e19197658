"""Where probes are listed. A new probe is one file beside this one and one line here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..base import ProbeError, did_you_mean, one_of
from .block import ProbeKind
from .centroid import CENTROID
from .gbm import GBM
from .knn import KNN
from .logistic import LOGREG

PROBES: Mapping[str, ProbeKind] = {kind.name: kind for kind in (LOGREG, KNN, GBM, CENTROID)}


def find_probes(names: Iterable[str]) -> list[ProbeKind]:
    """The probes called so, each once, in the order given.

    Raises:
        ProbeError: none is named, or one is unknown (all such are named, with the near ones).
    """
    wanted = list(dict.fromkeys(names))
    unknown = [name for name in wanted if name not in PROBES]
    if unknown:
        near = "".join(did_you_mean(name, PROBES) for name in unknown)
        raise ProbeError(f"unknown probe {one_of(unknown)}; there are {one_of(PROBES)}.{near}")
    if not wanted:
        raise ProbeError(f"no probe is named; there are {one_of(PROBES)}.")
    return [PROBES[name] for name in wanted]

"""Random cohorts for property tests of resampling, as small as a counterexample may be."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import strategies as st
from medprobe.manifests import Units


def units_of(y: np.ndarray, group: np.ndarray, split: np.ndarray | None = None) -> Units:
    """Units as a manifest gives them: sorted, with groups by name."""
    names, codes = np.unique([f"patient {g:03d}" for g in group], return_inverse=True)
    return Units(
        unit_id=np.array([f"u{i:05d}" for i in range(len(y))], dtype=object),
        group=codes.astype(np.int64),
        group_id=names.astype(object),
        split=split,
        y=y,
        sample_unit=np.arange(len(y)),
        attributes=pd.DataFrame(index=range(len(y))),
        modality=None,
    )


@st.composite
def cohorts(draw: st.DrawFn, *, multilabel: bool | None = None) -> tuple[Units, list[str]]:
    """Cohorts of 1 to 4 classes whose patients have one exam or several, of one class or of several."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    classes = draw(st.integers(2, 4))
    units = draw(st.integers(6, 90))
    group = rng.integers(0, draw(st.integers(3, units)), units)
    skew = rng.dirichlet(np.full(classes, draw(st.sampled_from([0.3, 1.0, 10.0]))))
    pure = draw(st.booleans())
    y = rng.choice(classes, max(units, group.max() + 1), p=skew)
    y = y[group] if pure else y[:units]
    if draw(st.booleans()) if multilabel is None else multilabel:
        y = (rng.random((units, classes)) < 0.4).astype(np.int8)
    return units_of(y.astype(np.int64) if y.ndim == 1 else y, group), [f"class {c}" for c in range(classes)]


def groups_with(units: Units, chosen: np.ndarray | slice = slice(None)) -> np.ndarray:
    """(G, C) bool: which classes each group has among the chosen units."""
    truth = units.y == 1 if units.y.ndim == 2 else units.y[:, None] == np.arange(units.y.max() + 1)
    has = np.zeros((len(units.group_id), truth.shape[1]), bool)
    np.logical_or.at(has, units.group[chosen], truth[chosen])
    return has


def classes_in(units: Units, part: np.ndarray) -> set[int]:
    return set(np.flatnonzero(groups_with(units, part).any(axis=0)))

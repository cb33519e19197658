"""Which images are wrong: the test units of a run, joined to their files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..base import ReportError, counted, percent
from ..cache import EmbeddingCache
from ..evaluate import Run, SystemKey
from ..evaluate.statistics.summary import systems_by_score
from ..manifests import Manifest
from ..manifests.schema.labels import has_class
from ..probe.data.probe_data import ProbeData
from .files import files_of_units
from .judged import Judged, judge, manifests_of_run
from .label_errors import suspected_labels
from .neighbours import aggregation_of, nearest_training_units

_JUDGED_ALL = {
    "holdout": "A unit was tested in those seeds that drew it for the test; its probabilities are the mean over them.",
    "kfold": "Every seed tests every unit once, in one fold; probabilities are the mean over seeds.",
}


@dataclass(frozen=True, eq=False)
class Errors:
    """The tested units of a run, as one system predicted them: suspected label errors first, then by the probability
    of their label.

    Examples:
        >>> from medprobe.explore import find_errors
        >>> found = find_errors(run, manifest, caches, neighbours=1)
        >>> found.system.backbone, found.system.probe
        ('timm:resnet50', 'centroid')
        >>> found.table.columns[:6].tolist()
        ['unit_id', 'images', 'path', 'label', 'predicted', 'wrong']
    """

    table: pd.DataFrame
    """One row per tested unit, of a multilabel task per unit and label; docs/errors-and-maps.md has the columns."""
    system: SystemKey
    manifests: tuple[Manifest, ...]
    """That of the run; and the external one, where it was tested on one."""
    images: np.ndarray
    """(n, 1 + k): for each row of the table an image of the unit and one of each neighbour, the one in the middle of
    each, as a position among the rows of all `manifests`."""
    remarks: list[str]
    """What was judged, and what was not."""

    @property
    def has_suspects(self) -> bool:
        """Whether label errors were looked for."""
        return "suspect" in self.table

    @property
    def worth_a_look(self) -> np.ndarray:
        """(n,) bool: rows of units that were wrong at least once, or whose label is suspected."""
        wrong = (self.table["wrong"] > 0).to_numpy()
        return wrong | self.table["suspect"].to_numpy(bool) if self.has_suspects else wrong

    @property
    def headline(self) -> str:
        """How many there are of what, in a sentence."""
        table, thing = self.table, "label of a unit" if "finding" in self.table else "unit"
        things = "labels of units" if "finding" in self.table else None
        ever, always = (table["wrong"] > 0).sum(), (table["wrong"] == table["tested"]).sum()
        text = f"{counted(len(table), thing, things)} tested: {ever:,} wrong at least once, {always:,} always"
        if self.has_suspects:
            suspects = int(table["suspect"].sum())
            text += f"; {counted(suspects, 'label')} suspected to be wrong ({percent(suspects / len(table))})"
        return text


def find_errors(
    run: Run,
    manifest: Manifest,
    caches: Sequence[EmbeddingCache] = (),
    *,
    external: tuple[Manifest, Sequence[EmbeddingCache]] | None = None,
    backbone: str | None = None,
    pooling: str | None = None,
    probe: str | None = None,
    neighbours: int = 3,
) -> Errors:
    """Finds the test units that a run got wrong, what lies near them, and labels that may be wrong.

    Label errors are found by confident learning (Northcutt et al. 2021, arXiv 1911.00068; cleanlab), which needs
    probabilities from models that were not fitted on the unit: the mean over the resamples in which it was tested.

    Args:
        run: of probes, of fine-tuned networks, or of a search.
        manifest: that the run was made with.
        caches: of it, among them that of the system; needed for neighbours alone.
        external: the manifest that the run was tested on, and its caches, where the protocol is `external`.
        backbone: only systems of this one. Of those left the best on test is shown; all by default.
        pooling: likewise.
        probe: likewise.
        neighbours: how many of the nearest training units are given.

    Raises:
        ReportError: the run is of another manifest.
        CacheError: the system's cache is not among `caches`, or cannot be used.
        ProbeError: the run has no such system, or a tested unit has no training unit of another group.

    Examples:
        >>> from medprobe.explore import find_errors
        >>> found = find_errors(run, manifest, caches, probe="knn", neighbours=2)
        >>> found.system.probe, [name for name in found.table if name.startswith("neighbour_2")]
        ('knn', ['neighbour_2', 'neighbour_2_label', 'neighbour_2_similarity'])
    """
    manifests = manifests_of_run(run, manifest, None if external is None else external[0])
    system = systems_by_score(run, backbone=backbone, pooling=pooling, probe=probe)[0]
    problems, files = judge(run, system), files_of_units(manifests)
    unit = next(iter(problems.values())).unit  # of every problem: all labels of a unit are tested together
    near, similarity = np.empty((len(unit), 0), np.int64), np.empty((len(unit), 0))
    if neighbours:
        data = _data(run, system, manifest, caches, external)
        near, similarity = nearest_training_units(run, data, system.pooling, unit, neighbours)
    codes = np.concatenate([one.units().y for one in manifests])
    parts = []
    for k, (name, judged) in enumerate(problems.items()):
        named = files.loc[unit, ["unit_id", "images", "path", *({"frame"} & set(files))]].reset_index(drop=True)
        label = has_class(codes, k).astype(np.int64) if name else codes
        about = [_judgement(judged, name), _neighbours(files, near, similarity, label, judged.classes)]
        parts.append(pd.concat([named, *about], axis=1))
    table = pd.concat(parts, ignore_index=True)
    keys = [name for name in ("suspect", "label_probability", "unit_id", "finding") if name in table]
    order = table.sort_values(keys, ascending=[name != "suspect" for name in keys], kind="stable").index.to_numpy()
    starts = np.cumsum([0, *(len(one) for one in manifests)])
    middle = starts[files["part"]] + files["row"].to_numpy()
    images = np.tile(middle[np.column_stack([unit, near])], (len(problems), 1))
    remarks = _remarks(run, len(unit))
    return Errors(table.loc[order].reset_index(drop=True), system, manifests, images[order], remarks)


def _data(
    run: Run,
    system: SystemKey,
    manifest: Manifest,
    caches: Sequence[EmbeddingCache],
    external: tuple[Manifest, Sequence[EmbeddingCache]] | None,
) -> ProbeData:
    """The units of the run with the cache of the system.

    Raises:
        ReportError: it is not among the caches.
    """

    def of_system(given: Sequence[EmbeddingCache], name: str) -> list[EmbeddingCache]:
        found = [cache for cache in given if cache.spec.fingerprint == system.fingerprint]
        if not found:
            raise ReportError(
                f"{name}: neighbours need the cache of {system.backbone} (spec {system.fingerprint}), which is not"
                " among the caches. Give it, or leave the neighbours out (neighbours=0, --neighbours 0)."
            )
        return found[:1]

    data = ProbeData.of(manifest, of_system(caches, manifest.name), aggregation_of(run, system.probe))
    return data if external is None else data.tested_on(external[0], of_system(external[1], external[0].name))


def _judgement(judged: Judged, name: str) -> pd.DataFrame:
    """Label, prediction, and how often and how surely it was wrong; `name` is that of a label of a multilabel task."""
    classes, suspects = np.array(judged.classes, dtype=object), suspected_labels(judged)
    columns = {
        **({"finding": name} if name else {}),
        "label": classes[judged.y],
        "predicted": classes[judged.predicted],
        "wrong": judged.wrong,
        "tested": judged.tested,
        "label_probability": judged.proba[np.arange(len(judged.y)), judged.y],
        **({} if suspects is None else {"suspect": suspects}),
        **{f"p_{name}": judged.proba[:, k] for k, name in enumerate(judged.classes)},
    }
    return pd.DataFrame(columns)


def _neighbours(
    files: pd.DataFrame, near: np.ndarray, similarity: np.ndarray, label: np.ndarray, classes: Sequence[str]
) -> pd.DataFrame:
    """The nearest training units (n, k) with their similarities; `label` (U,) is the position of each unit's class."""
    columns = {}
    for place, (unit, alike) in enumerate(zip(near.T, similarity.T, strict=True), 1):
        columns[f"neighbour_{place}"] = files["path"].to_numpy()[unit]
        columns[f"neighbour_{place}_label"] = np.array(classes, dtype=object)[label[unit]]
        columns[f"neighbour_{place}_similarity"] = alike.astype(np.float64)
    return pd.DataFrame(columns)


def _remarks(run: Run, judged: int) -> list[str]:
    """Which units are judged under the protocol of the run, and which are not."""
    protocol, about = run.info["protocol"], run.info["external"] or run.info["dataset"]
    if protocol in _JUDGED_ALL:
        untested = about["units"] - judged
        rest = [f"{counted(untested, 'unit')} in no test are not in the table."] if untested else []
        return [_JUDGED_ALL[protocol], *rest]
    what = f"all of {about['name']}" if protocol == "external" else "the test part of the split"
    text = (
        f"Under the protocol {protocol} only {what} is predicted by models that were not fitted on it, so only it is"
        f" judged ({judged:,} of {about['units']:,} units)."
    )
    return [text if protocol == "external" else f"{text} `medprobe probe --protocol kfold` judges every unit."]

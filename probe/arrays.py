"""Probes on arrays: what `run_probes` does, without a manifest and caches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import DTypeLike

from ..base import ProbeError
from ..cache import EmbeddingCache, ImportedSpec
from ..cache.index import Index
from ..evaluate.results.run import Run
from ..manifests import DatasetCard, Manifest
from ..manifests.schema.card import Task
from .data.array_input import column, feature_matrix, labels, require_same_rows
from .engines.registry import Probe
from .runner import run_probes

_POOLING = "features"


def evaluate(
    X: Any,
    y: Any,
    *,
    groups: Any = None,
    split: Any = None,
    attributes: pd.DataFrame | None = None,
    classes: Sequence[Any] | None = None,
    task: Task | None = None,
    probes: str | Probe[Any] | Sequence[str | Probe[Any]] = ("logreg", "knn", "gbm"),
    seeds: int | Sequence[int] = 20,
    name: str = "data",
    **options: Any,
) -> Run:
    """Fits every probe on arrays over every seed and scores the test rows: `run_probes` without any file.

    Resamples, probes and statistics are those of `run_probes`; with what `load_embeddings` gives, the scores are the
    same bits, except where units of several images share some of them, which rows do not show. Rows with the same
    features are taken for copies of one image, which are never in both train and test.

    Args:
        X: (N, D) numbers, an array or a data frame; several, to be compared, by the name of their backbone.
        y: (N,) class names or whole numbers; for a multilabel task (N, C) of 0 and 1.
        groups: (N,) what must never be in both train and test, such as the patient. Each row by default.
        split: (N,) of `train`, `val` and `test`: a fixed test part.
        attributes: N rows, a column per attribute such as `sex` or `site`: for scores of subgroups.
        classes: their names in order, where `y` holds these names or positions among them. Sorted by default. Of two
            the second is the positive one; for an ordinal task the order counts.
        task: `binary`, `multiclass`, `ordinal` or `multilabel`; ordinal is the one that `y` does not show.
        probes: as in `run_probes`: names, or scikit-learn classifiers.
        seeds: how many, or which; one resample each.
        name: of the data set, in the results.
        options: further arguments of `run_probes`: `protocol`, `metric`, `fractions`, `folds`, `shots`,
            `train_fraction`, `refit`, `keep_leaks`, `n_jobs`, `progress`.

    Raises:
        ProbeError: X or y cannot be used (names the rows or columns), lengths differ, or the protocol is impossible.
        ManifestError: the name, a class or an attribute cannot be called so.

    Examples:
        >>> from sklearn.datasets import load_breast_cancer
        >>> from medprobe.probe import evaluate
        >>> X, y = load_breast_cancer(return_X_y=True, as_frame=True)
        >>> two = {"means": X.filter(like="mean"), "errors": X.filter(like="error")}
        >>> run = evaluate(two, y, classes=["malignant", "benign"], probes="knn", seeds=2, n_jobs=1, progress=False)
        >>> run.table()[["backbone", "metric", "n_seeds"]]
          backbone   metric  n_seeds
        0    means  roc_auc        2
        1   errors  roc_auc        2
    """
    several = X if isinstance(X, Mapping) else {"X": X}
    given = {f'X["{key}"]' if isinstance(X, Mapping) else "X": one for key, one in several.items()}
    if len(given) < len(several) or not given:
        raise ProbeError('X: give an array, or several under different names as {"name": array}.')
    attributes = None if attributes is None else pd.DataFrame(attributes).rename(columns=str)
    about = {"y": y, "groups": groups, "split": split, "attributes": attributes}
    about = {key: one for key, one in about.items() if one is not None or key == "y"}
    matrices = [feature_matrix(one, key) for key, one in given.items()]
    require_same_rows({**given, **about})
    manifest = _manifest(name, labels(y, classes, task), about)
    caches = _caches(manifest, dict(zip(map(str, several), matrices, strict=True)))
    return run_probes(manifest, caches, probes=probes, seeds=seeds, **options)


def _manifest(name: str, labelled: tuple[Task, list[str], dict[str, Any]], about: Mapping[str, Any]) -> Manifest:
    """A manifest of rows, in their order."""
    task, classes, columns = labelled
    rows = len(next(iter(columns.values())))
    ids = [f"{row:0{len(str(rows))}}" for row in range(rows)]
    attributes = about.get("attributes", pd.DataFrame())
    card = DatasetCard.of(f'data set "{name}"', name=name, task=task, classes=classes, attributes=list(attributes))
    columns = {**{key: attributes[key].to_numpy() for key in attributes}, **columns}
    if "groups" in about:
        columns["group_id"] = column(about["groups"], "groups").astype(str)
    if "split" in about:
        columns["split"] = column(about["split"], "split")
    return Manifest(pd.DataFrame({"sample_id": ids, "path": ids, **columns}), card)


def _spec(name: str, X: np.ndarray) -> ImportedSpec:
    digest = blake2b(X.data, digest_size=32).hexdigest()
    try:
        return ImportedSpec(backbone=name, dims={_POOLING: X.shape[1]}, digest=digest)
    except ValueError as error:
        raise ProbeError(f"X: {error}.") from error


def _caches(manifest: Manifest, matrices: Mapping[str, np.ndarray]) -> list[ArrayCache]:
    """A cache in memory for each matrix; rows that are equal in all of them have one content digest."""
    rows = zip(*matrices.values(), strict=True)
    digests = b"".join(blake2b(b"".join(part.tobytes() for part in row), digest_size=16).digest() for row in rows)
    digest = np.frombuffer(digests, np.uint8).reshape(len(manifest), 16)
    index = Index(sample_id=manifest.sample_ids, digest=digest)
    info = {"rows": len(manifest), "device": "", "versions": {}, "quarantined": 0, "imported": {}}
    return [
        ArrayCache(
            path=Path(name),
            spec=_spec(name, X),
            dataset=manifest.name,
            dims={_POOLING: X.shape[1]},
            info=info,
            matrices={_POOLING: X},
            index=index,
        )
        for name, X in matrices.items()
    ]


@dataclass(frozen=True)
class ArrayCache(EmbeddingCache):
    """What reads like an `EmbeddingCache` and has no file."""

    matrices: Mapping[str, np.ndarray] = field(compare=False)
    """(N, D) float32 by pooling."""
    index: Index = field(compare=False)
    """The ids and content digests of the N rows."""

    @cached_property
    def _index(self) -> Index:
        return self.index

    def load(
        self,
        pooling: str,
        dtype: DTypeLike = np.float32,
        *,
        rows: np.ndarray | None = None,
        out: np.ndarray | None = None,
    ) -> np.ndarray:
        """The matrix of a pooling; arguments and errors are those of `EmbeddingCache.load`."""
        self.dim(pooling)
        matrix = self.matrices[pooling]
        if out is None:
            return matrix.astype(dtype) if rows is None else matrix[rows].astype(dtype, copy=False)
        np.take(matrix, np.arange(len(matrix)) if rows is None else rows, axis=0, out=out)
        return out

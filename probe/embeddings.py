"""The embeddings of a cache as arrays, for models of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..base import ProbeError, one_of
from ..cache import EmbeddingCache, default_store, find_caches
from ..manifests import Manifest
from .data.features import PREDICTIONS, choose_poolings
from .data.probe_data import ProbeData

if TYPE_CHECKING:
    from torch.utils.data import TensorDataset


@dataclass(frozen=True, eq=False)
class Embeddings:
    """The vectors of one backbone with what the manifest has about them; R rows, D features.

    Examples:
        >>> from sklearn.linear_model import LogisticRegression
        >>> from medprobe.probe import load_embeddings
        >>> embeddings = load_embeddings("lesions.parquet", "timm:resnet50")
        >>> half = embeddings.at(slice(0, None, 2))
        >>> LogisticRegression().fit(half.X, half.y).score(embeddings.X, embeddings.y) > 0.9
        True
    """

    X: np.ndarray
    """(R, D) float32."""
    y: np.ndarray
    """(R,) int64, position in `classes`, -1 if the data set is unlabelled; for a multilabel task (R, C) int8 of 0 and
    1."""
    classes: list[str]
    """In the order of the dataset card; of a binary task the second is the positive one."""
    groups: np.ndarray | None
    """(R,) object array of str: the patient, or whatever never is in both train and test; None if there are none."""
    split: np.ndarray | None
    """(R,) of `train`, `val` and `test`; None if the manifest has no such column."""
    ids: np.ndarray
    """(R,) object array of str: the unit of each row; without aggregation, its sample."""
    units: np.ndarray
    """(R,) object array of str: the unit of each row, which several rows have only without aggregation."""
    backbone: str
    pooling: str

    def __len__(self) -> int:
        return len(self.X)

    def __repr__(self) -> str:
        return f"Embeddings({self.backbone}, {self.pooling}: {self.X.shape[0]:,} x {self.X.shape[1]:,})"

    def at(self, rows: np.ndarray | Sequence[int] | slice) -> Embeddings:
        """The rows of a mask, of positions or of a slice, as in `embeddings.at(embeddings.split == "train")`."""
        columns = {name: getattr(self, name) for name in ("X", "y", "groups", "split", "ids", "units")}
        return replace(self, **{name: column[rows] for name, column in columns.items() if column is not None})

    def to_pandas(self) -> pd.DataFrame:
        """One row per vector, by `ids`: `label` (multilabel: a column per class), `group_id` and `split`, where there
        are some, and the features as `0`, `1`, and so on.
        """
        if self.y.ndim == 2:
            about = dict(zip(self.classes, self.y.T, strict=True))
        elif not self.classes:
            about = {}
        else:
            about = {"label": pd.Categorical.from_codes(self.y.tolist(), dtype=pd.CategoricalDtype(self.classes))}
        about |= {} if self.groups is None else {"group_id": self.groups}
        about |= {} if self.split is None else {"split": self.split}
        index = pd.Index(self.ids, name="id")
        features = pd.DataFrame(self.X, index=index, columns=[str(place) for place in range(self.X.shape[1])])
        return pd.concat([pd.DataFrame(about, index=index), features], axis=1)

    def to_torch(self) -> TensorDataset:
        """A `torch.utils.data.Dataset` of (vector, label): float32, and int64; multilabel: float32, as losses want it.

        Raises:
            ProbeError: torch is not installed.
        """
        try:
            from torch import from_numpy
            from torch.utils.data import TensorDataset
        except ModuleNotFoundError as error:
            raise ProbeError(f"{error.name} is not installed: pip install torch.") from error
        y = self.y.astype(np.float32) if self.y.ndim == 2 else self.y.copy()
        return TensorDataset(from_numpy(self.X.copy()), from_numpy(y))


def load_embeddings(
    manifest: Manifest | Path | str,
    backbone: str | None = None,
    *,
    pooling: str | None = None,
    aggregation: str | None = "mean",
    cache: Path | str | None = None,
) -> Embeddings:
    """The embeddings of a data set by one backbone, as arrays: what `medprobe probe` fits, row by row.

    Rows are sorted by id. Images that could not be embedded are left out.

    Args:
        manifest: the data set, or its table.
        backbone: as given to `medprobe extract`, or `NAME@FINGERPRINT`; may be left out if there is one cache.
        pooling: the first of the cache by default.
        aggregation: how the vectors of a unit with several images are combined: `mean`, `max` or `concat` (by
            modality); None for a row per image.
        cache: folder of the caches; `embeddings` next to the manifest by default.

    Raises:
        ManifestError: the manifest cannot be read or is not sound.
        CacheError: there is no such cache, it is damaged, or lacks samples; says what to run.
        ProbeError: there are several caches to choose from, or no such pooling or aggregation.

    Examples:
        >>> from medprobe.probe import load_embeddings
        >>> embeddings = load_embeddings("lesions.parquet", "timm:resnet50")
        >>> embeddings.X.shape, embeddings.y.shape, embeddings.classes, embeddings.groups[:2].tolist()
        ((60, 16), (60,), ['benign', 'malignant'], ['P00', 'P00'])
    """
    samples = manifest if isinstance(manifest, Manifest) else Manifest.load(manifest)
    chosen = _only_cache(samples, backbone, cache)
    data = ProbeData.of(samples, [chosen], PREDICTIONS if aggregation is None else aggregation)
    pooling = choose_poolings([chosen], pooling)[0][1]
    units, unit = data.units, data.row_units
    return Embeddings(
        X=data.load(chosen, pooling),
        y=units.y[unit],
        classes=list(samples.card.classes),
        groups=units.group_id[units.group[unit]] if {"group_id", "unit_id"} & set(samples.table) else None,
        split=None if units.split is None else units.split[unit],
        ids=data.sample_ids if aggregation is None else units.unit_id[unit],
        units=units.unit_id[unit],
        backbone=chosen.spec.backbone,
        pooling=pooling,
    )


def _only_cache(manifest: Manifest, backbone: str | None, store: Path | str | None) -> EmbeddingCache:
    if store is None and manifest.path is None:
        raise ProbeError(
            f"{manifest.name}: the manifest is not saved, so it has no folder of caches next to it; give cache=."
        )
    folder = default_store(manifest.path) if store is None and manifest.path else Path(store or "")
    found = find_caches(folder, manifest.name, None if backbone is None else [backbone], manifest=manifest)
    if len(found) > 1:
        names = [cache.spec.backbone if backbone is None else f"{backbone}@{cache.spec.fingerprint}" for cache in found]
        raise ProbeError(f"{manifest.name}: there are several caches; name one as backbone: {one_of(names)}.")
    return found[0]

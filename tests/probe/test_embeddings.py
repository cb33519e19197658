"""What `load_embeddings` gives: the rows that a probe is fitted on, as arrays, pandas and torch have them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from medprobe.base import CacheError, ProbeError
from medprobe.manifests import DatasetCard, Manifest
from medprobe.probe import load_embeddings


def test_rows_are_those_that_the_manifest_has(study: Any) -> None:
    shuffled = Manifest(study.manifest.table.sample(frac=1, random_state=0), study.manifest.card, study.table)
    embeddings = load_embeddings(shuffled, "net-1")
    by_unit = study.manifest.table.set_index("unit_id").loc[embeddings.ids]
    vectors = study.caches[1].load("cls", rows=study.caches[1].rows_of(by_unit["sample_id"].tolist()))
    assert np.array_equal(embeddings.X, vectors)
    assert np.array(embeddings.classes)[embeddings.y].tolist() == by_unit["label"].tolist()
    assert embeddings.groups.tolist() == by_unit["group_id"].tolist()
    assert embeddings.split is None
    assert (embeddings.backbone, embeddings.pooling, len(embeddings)) == ("net-1", "cls", 120)


def test_a_unit_of_several_images_is_one_row_or_one_row_per_image(tmp_path: Path, study_of: Callable[..., Any]) -> None:
    study = study_of(tmp_path, units=40, images=3, signal=(1.0,), task="binary", split=True)
    units, images = load_embeddings(study.table), load_embeddings(study.table, aggregation=None)
    assert (len(units), len(images)) == (40, 120)
    assert images.ids.tolist() == sorted(study.manifest.table["sample_id"])
    mean = images.to_pandas().groupby(images.units)[["0", "7"]].mean()
    assert np.allclose(mean, units.X[:, [0, 7]], atol=1e-6)
    assert set(images.split[images.groups == images.groups[0]]) == {"test"}


def test_pandas_and_torch_have_the_same_rows(tmp_path: Path, study_of: Callable[..., Any]) -> None:
    embeddings = load_embeddings(study_of(tmp_path, units=40, split=True, signal=(1.0,)).table)
    part = embeddings.at(embeddings.split == "train")
    frame, dataset = part.to_pandas(), part.to_torch()
    assert frame.columns[:4].tolist() == ["label", "group_id", "split", "0"]
    assert frame.index.tolist() == part.ids.tolist()
    assert np.array_equal(frame.iloc[:, 3:], part.X)
    vectors, labels = dataset[:]
    assert np.array_equal(vectors.numpy(), part.X)
    assert np.array_equal(labels.numpy(), frame["label"].cat.codes)
    vectors += 1  # in place, as a training may do
    assert np.array_equal(frame.iloc[:, 3:], part.X)


def test_labels_of_a_multilabel_task_are_columns(tmp_path: Path, study_of: Callable[..., Any]) -> None:
    study = study_of(tmp_path, units=40, task="multilabel", signal=(1.0,))
    embeddings = load_embeddings(study.table)
    by_unit = study.manifest.table.set_index("unit_id").loc[embeddings.ids]
    frame = embeddings.to_pandas()
    assert np.array_equal(frame[embeddings.classes], by_unit[embeddings.classes])
    assert embeddings.to_torch()[0][1].dtype.is_floating_point


def test_an_unlabelled_data_set_has_vectors_alone(study: Any) -> None:
    table, card = study.manifest.table.drop(columns="label"), DatasetCard(name=study.manifest.name)
    embeddings = load_embeddings(Manifest(table, card, study.table), "net-0")
    assert set(embeddings.y) == {-1}
    assert embeddings.to_pandas().columns[:2].tolist() == ["group_id", "0"]


def test_what_cannot_be_chosen_is_refused(study: Any) -> None:
    with pytest.raises(ProbeError, match="net-0, net-1"):
        load_embeddings(study.table)
    with pytest.raises(CacheError, match='Did you mean "net-1"'):
        load_embeddings(study.table, "net1")
    with pytest.raises(ProbeError, match="cls"):
        load_embeddings(study.table, "net-0", pooling="mean")
    with pytest.raises(ProbeError, match="predictions"):
        load_embeddings(study.table, "net-0", aggregation="median")
    unsaved = Manifest(study.manifest.table, DatasetCard(**study.manifest.card.model_dump()))
    with pytest.raises(ProbeError, match="cache="):
        load_embeddings(unsaved, "net-0")


def test_without_torch_the_data_set_alone_is_refused(study: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    embeddings = load_embeddings(study.table, "net-0")
    assert embeddings.to_pandas().shape == (120, 10)
    with pytest.raises(ProbeError, match="pip install torch"):
        embeddings.to_torch()

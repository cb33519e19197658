"""What an encoder has learnt from travels with its vectors, and a run that tests on it says so."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from medprobe.base import WeightsError
from medprobe.cache import EmbeddingCache, find_caches
from medprobe.extract import extract, load_backbone
from medprobe.finetune import Recipe, run_finetune
from medprobe.manifests import Manifest
from medprobe.model import fit_model, load_model, predict_manifest
from medprobe.probe import run_probes
from pets import TINY, make_pets

_CODE = "fine-tuned-on-test"


@dataclass(frozen=True)
class Tuned:
    """Sixty images of thirty patients with a published split, and networks that were trained on them."""

    folder: Path
    manifest: Manifest

    def train(self, name: str, mode: str = "partial:1", backbone: str = TINY, **options: Any) -> Path:
        """The folder of the kept network."""
        out = self.folder / name
        if not out.exists():
            run_finetune(
                self.manifest,
                {"name": backbone, "image_size": 32},
                mode,
                store=self.folder / "embeddings",
                recipe=Recipe.named("default").changed(epochs=2),
                out=out,
                keep_weights=True,
                device="cpu",
                workers=0,
                progress=False,
                **{"seeds": 1, "protocol": "holdout", **options},
            )
        [kept] = (out / "weights").iterdir()
        return kept

    def embed(self, kept: Path, manifest: Manifest | None = None) -> EmbeddingCache:
        backbone = load_backbone(f"timm:test_vit@{kept}", device="cpu", runtime="torch")
        chosen = manifest or self.manifest
        return extract(chosen, [backbone], self.folder / "of-tuned", workers=0, show_progress=False)[0]


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Tuned:
    folder = tmp_path_factory.mktemp("tuned")
    made = make_pets(folder)
    table = made.table
    number = table["path"].str.extract(r"(\d+)\.png")[0].astype(int)
    patient = number // 4 * 2 + number % 2
    table = table.assign(group_id=patient.astype(str), split=np.where(patient % 5 == 0, "test", "train"))
    return Tuned(folder, Manifest(table, made.card, made.path))


def _codes(manifest: Manifest, cache: EmbeddingCache, **options: Any) -> list[str]:
    """Codes of warnings of a run on these vectors."""
    return run_probes(manifest, cache, probes="centroid", n_jobs=1, progress=False, **options).info["warning_codes"]


def test_a_probe_that_tests_on_images_of_the_training_warns_under_any_name_of_the_data(tuned: Tuned) -> None:
    cache = tuned.embed(tuned.train("holdout"))
    assert cache.info["trained_on"]["rows"] == cache.trained_on.sum() == 48
    assert _CODE not in _codes(tuned.manifest, cache, protocol="holdout", seeds=[0])
    assert _CODE in _codes(tuned.manifest, cache, protocol="holdout", seeds=[0, 1])
    assert _CODE in _codes(tuned.manifest, cache, protocol="kfold", seeds=1)
    card = tuned.manifest.card.model_copy(update={"name": "other"})
    some = Manifest(tuned.manifest.table[10:], card, tuned.manifest.path)
    assert _CODE in _codes(some, tuned.embed(tuned.train("holdout"), some), protocol="holdout", seeds=[1])


def test_a_fixed_test_that_the_network_was_not_trained_on_gives_no_warning(tuned: Tuned) -> None:
    cache = tuned.embed(tuned.train("official", protocol="official"))
    assert cache.trained_on.any()
    assert _CODE not in _codes(tuned.manifest, cache, protocol="official", seeds=3)
    assert _CODE in _codes(tuned.manifest, cache, protocol="holdout", seeds=3)
    seen = tuned.embed(tuned.train("holdout"))
    assert _CODE in _codes(tuned.manifest, seen, protocol="official", seeds=1)


def test_an_encoder_that_stays_as_it_was_has_learnt_what_it_had_learnt_before(tuned: Tuned) -> None:
    assert not tuned.embed(tuned.train("linear", "linear")).trained_on.any()
    kept = tuned.train("holdout")
    known = tuned.embed(kept).trained_on
    for mode, count in (("linear", known.sum()), ("partial:1", len(known))):
        again = tuned.train(f"again-{mode[:6]}", mode, f"timm:test_vit@{kept}", seeds=[3])
        assert tuned.embed(again).trained_on[known].all()
        assert tuned.embed(again).trained_on.sum() == count


def test_logits_are_learnt_from_more_images_than_the_vectors_of_a_frozen_backbone(tuned: Tuned, tmp_path) -> None:
    kept = tuned.train("linear", "linear")
    model = load_model(kept, device="cpu")
    predict_manifest(model, tuned.manifest, tmp_path, workers=0, show_progress=False)
    [logits] = find_caches(tmp_path, tuned.manifest.name)
    assert (logits.trained_on.sum(), tuned.embed(kept).trained_on.sum()) == (48, 0)
    assert _CODE in _codes(tuned.manifest, logits, protocol="holdout", seeds=[1])


def test_a_model_on_such_vectors_says_what_its_network_knows(tuned: Tuned) -> None:
    kept = tuned.train("holdout")
    cache = tuned.embed(kept)
    model = fit_model(tuned.manifest, cache, probe="centroid", progress=False)
    assert any("fine-tuned on" in note for note in model.facts.fitted_on["notes"])
    model = replace(model, backbone_name=f"timm:test_vit@{kept}", device="cpu")
    table = predict_manifest(model, tuned.manifest, tuned.folder / "of-tuned", workers=0, show_progress=False)
    marked = dict(zip(table["sample_id"], table["trained_on"], strict=True))
    rows = tuned.manifest.table["split"].eq("train") | cache.trained_on[cache.rows_of(tuned.manifest.sample_ids)]
    assert marked == dict(zip(tuned.manifest.sample_ids, rows, strict=True))
    assert not all(marked.values())


def test_weights_whose_list_of_images_is_lost_and_those_of_another_version_are_refused(tuned: Tuned, tmp_path) -> None:
    kept = shutil.copytree(tuned.train("holdout"), tmp_path / "kept")
    (kept / "trained_on.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"trained_on\.safetensors: .* it is missing.*Copy the whole folder"):
        tuned.embed(kept)
    network = json.loads((kept / "network.json").read_text())
    for version in (1, network["schema"] + 1):
        (kept / "network.json").write_text(json.dumps({**network, "schema": version}))
        with pytest.raises(WeightsError, match=f"of version {version}.*--keep-weights"):
            tuned.embed(kept)

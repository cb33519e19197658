"""The spec that is remembered is that of the weights, libraries and machine as they are, or none."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from medprobe.extract import load_backbone
from medprobe.extract.weights import known_spec
from medprobe.extract.weights.known_spec import KnownSpec
from medprobe.manifests import IntensityPolicy
from safetensors.torch import save_file

_LONG_AGO_S = 1_000_000_000


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict:
    """Asks for a tiny network with weights from a file, which has not changed for long."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(known_spec, "_SETTLED_S", 0.0)  # ctime cannot be set back
    write(tmp_path / "own.safetensors", seed=1)
    return {"name": f"timm:test_vit@{tmp_path / 'own.safetensors'}", "runtime": "torch", "reading": IntensityPolicy()}


def write(path: Path, seed: int) -> None:
    network = load_backbone("timm:test_vit@random", device="cpu", runtime="torch").network
    torch.manual_seed(seed)
    save_file({name: torch.rand(value.shape) for name, value in network.state_dict().items()}, path)
    os.utime(path, (_LONG_AGO_S, _LONG_AGO_S))


def remembered(recipe: dict):
    known = KnownSpec.of(recipe, "cpu")
    spec = load_backbone(**recipe, device="cpu").spec
    known.remember(spec)
    return spec


def test_the_spec_is_known_until_the_request_is_another(recipe) -> None:
    assert KnownSpec.of(recipe, "cpu").recall() is None
    spec = remembered(recipe)
    assert KnownSpec.of(recipe, "cpu").recall() == spec
    assert KnownSpec.of(recipe, "auto").recall() is None
    assert KnownSpec.of({**recipe, "image_size": 96}, "cpu").recall() is None
    assert KnownSpec.of({**recipe, "poolings": ["mean"]}, "cpu").recall() is None
    assert KnownSpec.of({**recipe, "reading": IntensityPolicy(window=(0, 100))}, "cpu").recall() is None


@pytest.mark.parametrize("way", ["replaced", "written in place"])
def test_other_weights_of_the_same_size_and_time_are_noticed(recipe, tmp_path, way) -> None:
    remembered(recipe)
    file, other = tmp_path / "own.safetensors", tmp_path / "other.safetensors"
    write(other, seed=2)
    assert other.stat().st_size == file.stat().st_size
    if way == "replaced":
        other.replace(file)
    else:
        file.write_bytes(other.read_bytes())
    os.utime(file, (_LONG_AGO_S, _LONG_AGO_S))
    assert KnownSpec.of(recipe, "cpu").recall() is None


def test_a_description_that_appears_beside_the_weights_is_noticed(recipe, tmp_path) -> None:
    remembered(recipe)
    (tmp_path / "config.json").write_text("{}")
    assert KnownSpec.of(recipe, "cpu").recall() is None


def test_another_version_of_a_library_is_noticed(recipe, monkeypatch) -> None:
    remembered(recipe)
    monkeypatch.setattr(known_spec, "version", lambda name: "0.0.0")
    assert KnownSpec.of(recipe, "cpu").recall() is None


def test_weights_that_change_while_they_are_loaded_are_not_remembered(recipe, tmp_path) -> None:
    known = KnownSpec.of(recipe, "cpu")
    spec = load_backbone(**recipe, device="cpu").spec
    write(tmp_path / "own.safetensors", seed=3)
    known.remember(spec)
    assert KnownSpec.of(recipe, "cpu").recall() is None


def test_weights_that_have_just_changed_are_not_remembered(recipe, monkeypatch) -> None:
    monkeypatch.setattr(known_spec, "_SETTLED_S", 60.0)
    remembered(recipe)
    assert KnownSpec.of(recipe, "cpu").recall() is None
    known = replace(KnownSpec.of(recipe, "cpu"), since=time.time() + 120)  # as if they had been read in two minutes
    known.remember(load_backbone(**recipe, device="cpu").spec)
    assert KnownSpec.of(recipe, "cpu").recall() is not None


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"state": 1}', "\0", None])
def test_a_damaged_entry_counts_for_nothing(recipe, content) -> None:
    spec = remembered(recipe)
    known = KnownSpec.of(recipe, "cpu")
    altered = known.place.read_text().replace(spec.weights_digest, "0" * 64)
    known.place.write_text(altered if content is None else content)
    assert known.recall() is None
    remembered(recipe)
    assert known.recall() == spec


def test_code_of_the_users_own_is_never_remembered(recipe, tmp_path) -> None:
    known = KnownSpec.of({**recipe, "name": "python:own:make"}, "cpu")
    assert not known.state
    known.remember(remembered(recipe))
    assert not known.place.exists()


def test_of_a_hub_the_files_on_this_machine_count(recipe, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    wanted = {**recipe, "name": "timm:resnet18.a1_in1k"}
    folder = tmp_path / "hub" / "models--timm--resnet18.a1_in1k"
    (folder / "snapshots" / "0a").mkdir(parents=True)
    (folder / "snapshots" / "0a" / "config.json").write_text("{}")
    assert not KnownSpec.of(wanted, "cpu").state, "there are no weights yet"
    (folder / "snapshots" / "0a" / "model.safetensors").write_bytes(b"weights")
    before = KnownSpec.of(wanted, "cpu").state
    assert before == KnownSpec.of(wanted, "cpu").state
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0b")
    assert KnownSpec.of(wanted, "cpu").state not in ("", before)

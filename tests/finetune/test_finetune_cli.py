"""`medprobe finetune`, as a user meets it, faults included."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from medprobe.cache import find_caches
from medprobe.evaluate import Run, merge_runs
from medprobe.extract import device, resolve
from medprobe.finetune import describe_modes
from medprobe.manifests import DatasetCard, Manifest, build_folder
from medprobe.probe import run_probes
from pets import TINY, make_pets

_KINDS = ("tiny-vit", "tiny-cnn", "tiny-swin", "tiny-sam", "tiny-clip", "tiny-blip")
_TINY = ("-b", TINY, "--image-size", 32, "--workers", 0, "--device", "cpu")


@pytest.fixture(autouse=True)
def _auto_is_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Saves the seconds of a conversion."""
    monkeypatch.setattr(device, "openvino_is_installed", lambda: False)


@pytest.fixture(scope="module")
def pets(once) -> Path:
    """60 images of two classes; the caches of one test serve the next."""
    return once("pets-of-the-command", make_pets) / "pets.parquet"


def _params(run: Path) -> pd.DataFrame:
    """What each system was fitted with, once per system."""
    scores = pd.read_parquet(run / "scores.parquet").drop_duplicates(["backbone", "probe"])
    return scores[["backbone", "probe"]].assign(params=[json.loads(text) for text in scores["params"]])


@pytest.mark.parametrize(
    "name", [name if name == "tiny-vit" else pytest.param(name, marks=pytest.mark.slow) for name in _KINDS]
)
def test_every_mode_trains_a_network_of_each_kind_with_the_parameters_that_are_listed(
    medprobe, pets, tmp_path, name
) -> None:
    modes = ("mlp", "lora:8", "bitfit", "partial:2", "drop-last:2+full", "tokens-deit@timm:test_vit@random")
    chosen = [word for mode in modes for word in ("-m", mode)]
    # The class tokens of a new BLIP are all the same.
    backbone = f"{name}@random[mean]" if name == "tiny-blip" else f"{name}@random"
    small = ("--epochs", 2, "--seeds", 1, "--workers", 0, "--device", "cpu")
    ended = medprobe("finetune", pets, "-b", backbone, *chosen, *small, "--out", tmp_path / "run")
    assert ended.status == 0, ended.err
    pooling = "mean" if name == "tiny-blip" else None
    listed = {cost.mode: cost.trained for cost in describe_modes(resolve(f"{name}@random"), 2, pooling=pooling)[1]}
    found = _params(tmp_path / "run")
    trained = {
        probe.removeprefix("finetune:").removesuffix(":epochs=2"): params["trained_parameters"]
        for probe, params in zip(found["probe"], found["params"], strict=True)
    }
    assert trained.keys() == {"mlp:256", *modes[1:]}
    same = trained.keys() & listed.keys()
    assert len(same) >= 4
    assert {mode: trained[mode] for mode in same} == {mode: listed[mode] for mode in same}


def test_a_run_says_what_it_trains_where_it_went_and_what_is_next(medprobe, pets, tmp_path) -> None:
    out = tmp_path / "run"
    words = ("finetune", pets, *_TINY, "-m", "partial:1", "--epochs", 2, "--seeds", 2, "--lr", "1e-4", "--out", out)
    ended = medprobe(*words, columns=160)
    assert ended.status == 0, ended.err
    assert "partial:1: trains 41,986 of 300,226 parameters" in ended.err
    assert "runs once for each image" in ended.err
    assert "finetune:partial:1:epochs=2,lr=0.0001" in ended.out
    assert f"medprobe report {out}" in ended.out
    run = Run.load(out)
    assert run.info["probes"]["finetune:partial:1:epochs=2,lr=0.0001"]["frozen"] is False
    assert run.epochs is not None
    assert run.epochs.groupby("seed")["chosen"].sum().tolist() == [1, 1]
    assert run.timings["peak_bytes"].gt(0).all()
    again = medprobe(*words)
    assert (again.status, "a run is there already" in again.notes) == (1, True)


def test_frozen_and_fine_tuned_systems_of_one_backbone_are_rows_of_one_run(medprobe, pets, tmp_path) -> None:
    words = ("-m", "linear", "-m", "full", "--epochs", 2, "--seeds", 2, "--out", tmp_path / "tuned")
    assert medprobe("finetune", pets, *_TINY, *words).status == 0
    manifest = Manifest.load(pets)
    caches = find_caches(pets.parent / "embeddings", manifest.name, [TINY])
    frozen = run_probes(manifest, caches, probes=["centroid"], seeds=2, n_jobs=1, progress=False)
    merged = merge_runs([frozen, Run.load(tmp_path / "tuned")])
    systems = merged.scores[["backbone", "fingerprint", "probe"]].drop_duplicates()
    assert len(systems) == 3
    assert systems["fingerprint"].nunique() == 1
    merged.save(tmp_path / "all")
    ended = medprobe("report", tmp_path / "all")
    assert ended.status == 0, ended.err


@pytest.mark.slow
def test_a_search_chooses_on_val_and_says_what(medprobe, pets, tmp_path) -> None:
    words = ("-m", "linear", "--search", "lr=1e-5,1e-2", "--epochs", 2, "--seeds", 2, "--out", tmp_path / "run")
    ended = medprobe("finetune", pets, *_TINY, *words)
    assert ended.status == 0, ended.err
    [found] = _params(tmp_path / "run")["params"]
    assert found["lr"] in (1e-5, 1e-2)


def test_kept_weights_are_a_backbone(medprobe, pets, tmp_path) -> None:
    words = ("-m", "partial:1", "--epochs", 1, "--seeds", 2, "--keep-weights", "--out", tmp_path / "run")
    assert medprobe("finetune", pets, *_TINY, *words).status == 0
    kept = sorted(path.name for path in (tmp_path / "run" / "weights").iterdir())
    assert kept == [f"timm_test_vit@random-partial_1_epochs=1-seed-{seed}" for seed in (0, 1)]
    backbone = f"timm:test_vit@{tmp_path / 'run' / 'weights' / kept[0]}"
    ended = medprobe("extract", pets, "-b", backbone, "--workers", 0, "--cache", tmp_path / "embeddings")
    assert ended.status == 0, ended.err
    assert medprobe("report", tmp_path / "run").status == 0
    assert Run.load(tmp_path / "run").scores["value"].notna().any()


def test_augmented_views_are_drawn_for_each_seed(medprobe, pets, tmp_path) -> None:
    words = ("-m", "partial:1", "--augment", "--views", 2, "--epochs", 2, "--seeds", 1, "--out", tmp_path / "run")
    ended = medprobe("finetune", pets, *_TINY, *words)
    assert ended.status == 0, ended.err
    assert "each of 2 views" in ended.notes


def test_where_no_training_comes_to_a_good_epoch_nothing_is_published_and_nothing_stays(
    medprobe, pets, tmp_path
) -> None:
    words = ("-m", "linear", "--lr", "1e30", "--set", "optimizer=sgd", "--set", "clip_grad=none", "--seeds", 2)
    ended = medprobe("finetune", pets, *_TINY, *words, "--epochs", 2, "--out", tmp_path / "run")
    assert ended.status == 1
    assert "no training came to a good epoch" in ended.notes
    assert "lower learning rate" in ended.notes
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("-m", "partal:2"), ['no mode "partal:2"', "partial"]),
        (("-m", "partial:7"), ["partial:7 needs 7 blocks, but this network has 6"]),
        (("--recipe", "huix"), ['unknown recipe "huix"', 'Did you mean "huix2024"']),
        (("--set", "lr=1", "--lr", "2"), ["lr: set by --set and by an option"]),
        (("--search", "lr=a"), ["lr must be a number"]),
        (("--set", "loss=corn"), ["loss=corn is not for binary tasks"]),
        (("--device", "tpu"), ["is not a device"]),
        (("--seeds", "no"), ["--seeds"]),
        (("--folds", "1"), ["1 folds"]),
        (("--metric", "fscore"), ["fscore"]),
        (("-b", f"{TINY}[cls,mean]"), ["name one pooling"]),
        (("-b", "timm:nothing"), ["timm has no model"]),
        (("--recipe", "probe-first", "-m", "linear", "-m", "mlp"), ["head_init=probe"]),
        (("--views", "2"), ["views=2 needs random augmentation"]),
    ],
)
def test_bad_input_ends_in_one_message(medprobe, pets, tmp_path, words, parts) -> None:
    ended = medprobe("finetune", pets, *_TINY, "--epochs", 1, *words, "--out", tmp_path / "run")
    assert ended.status == 1
    assert ended.out == ""
    assert "Traceback" not in ended.err
    for word in parts:
        assert word in ended.notes
    assert list(tmp_path.iterdir()) == []


def test_a_class_of_one_image_is_named(medprobe, tmp_path) -> None:
    make_pets(tmp_path, 6)
    for number in (2, 4):
        (tmp_path / "pets" / "cat" / f"{number:02d}.png").unlink()
    build_folder(tmp_path / "pets").save(tmp_path / "few.parquet")
    ended = medprobe("finetune", tmp_path / "few.parquet", *_TINY, "--out", tmp_path / "run")
    assert ended.status == 1
    assert "too few groups" in ended.notes
    assert '"cat" (1)' in ended.notes


def test_the_list_of_modes_has_the_head_of_the_manifest(medprobe, tmp_path) -> None:
    classes = pd.DataFrame({"sample_id": list("abc"), "path": list("abc"), "label": list("xyz")})
    manifest = Manifest(classes, DatasetCard(name="three", task="multiclass", classes=list("xyz"), root="."))
    manifest.save(tmp_path / "three.csv")
    for words, linear in (((), 130), ((tmp_path / "three.csv",), 195)):
        for order in ((*words, "--modes", TINY), ("--modes", TINY, *words)):
            listed = medprobe("finetune", *order)
            assert listed.status == 0, listed.err
            assert next(line.split()[1] for line in listed.out.splitlines() if "linear" in line) == str(linear)
    assert medprobe("finetune", "-b", TINY, "--out", tmp_path / "run").status == 2


def test_lists_of_modes_and_recipes_need_nothing_else(medprobe) -> None:
    modes = medprobe("finetune", "--modes", TINY)
    assert modes.status == 0, modes.err
    assert "partial:2" in modes.out
    assert "6 of 6" in modes.out
    recipes = medprobe("finetune", "--recipes")
    assert recipes.status == 0
    assert "huix2024" in recipes.out
    assert "layer_decay" in recipes.out


def test_without_torch_one_message_says_how_to_install_it(pets, without_torch, tmp_path) -> None:
    words = ["medprobe", "finetune", str(pets), "-b", TINY, "--out", str(tmp_path / "run")]
    code = f"{without_torch}\nsys.argv = {words}\nfrom medprobe.cli.app import main\nmain()"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "is not installed" in ended.stderr
    assert "pip install" in ended.stderr
    assert "peft" in ended.stderr
    assert "Traceback" not in ended.stderr

"""Interrupted and killed trainings end as undisturbed ones; states that do not belong are not used."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from medprobe.base import OutputError
from medprobe.finetune.training.checkpoint import Checkpoint, Interrupted
from medprobe.finetune.training.recipe import Recipe
from small_training import ImagesInMemory, TinyClassifier, facts, small_task, train

_RECIPE = Recipe.named("default").changed(epochs=4, batch_size=8, precision="fp32", lr=1e-2)


def _train(checkpoint: Path | None, *, recipe: Recipe = _RECIPE, seed: int = 0, stop_after: int = 0):
    images, task, resample = small_task()
    steps = 0

    def should_stop() -> bool:
        nonlocal steps
        steps += 1
        return steps == stop_after

    seen = []
    inputs = ImagesInMemory(images)
    trained = train(
        TinyClassifier(3),
        inputs,
        task,
        resample,
        recipe,
        seed=seed,
        checkpoint=checkpoint,
        should_stop=should_stop,
        on_epoch=seen.append,
    )
    return facts(trained), len(seen)


@pytest.mark.slow
def test_a_training_that_is_killed_again_and_again_ends_as_an_undisturbed_one(tmp_path) -> None:
    script = [sys.executable, str(Path(__file__).with_name("killed_training.py")), str(tmp_path)]
    kills = ["2", "0", "9"]
    output = subprocess.run([*script, *kills], capture_output=True, text=True, check=True).stdout
    killed, undisturbed = output.splitlines()
    assert killed == undisturbed
    assert {path.name for path in tmp_path.iterdir()} == {"state.pt", "undisturbed.pt"}


def test_an_interrupted_training_continues_from_its_last_epoch(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("medprobe.finetune.training.checkpoint._SHARE", torch.inf)  # write every epoch
    expected, _ = _train(None)
    with pytest.raises(Interrupted):
        _train(tmp_path / "state.pt", stop_after=11)  # of the four steps of the third epoch the third
    found, epochs = _train(tmp_path / "state.pt")
    assert found == expected
    assert epochs == 2
    again, epochs = _train(tmp_path / "state.pt")
    assert again == expected
    assert epochs == 0


@pytest.mark.parametrize(
    "other",
    [{"recipe": _RECIPE.changed(lr=2e-2)}, {"seed": 1}],
    ids=["recipe", "seed"],
)
def test_the_state_of_another_training_is_not_used(tmp_path, other) -> None:
    _train(tmp_path / "state.pt", **other)
    found, epochs = _train(tmp_path / "state.pt")
    assert epochs == 4
    assert found == _train(None)[0]


def test_a_damaged_state_is_not_used(tmp_path) -> None:
    path = tmp_path / "state.pt"
    expected, _ = _train(path)
    whole = path.read_bytes()
    for content in (b"", b"no state", whole[:-100], whole[: len(whole) // 2], whole[:200] + b"\0" * 200 + whole[400:]):
        path.write_bytes(content)
        assert Checkpoint(path, "any").read() is None
    found, epochs = _train(path)
    assert epochs == 4
    assert found == expected


def test_a_state_under_the_name_of_another_training_is_not_used(tmp_path) -> None:
    Checkpoint(tmp_path / "one", "key").write({})
    shutil.copy(tmp_path / "one", tmp_path / "two")
    assert Checkpoint(tmp_path / "one", "key").read() == {}
    assert Checkpoint(tmp_path / "two", "key").read() is None


def test_a_state_that_the_disk_does_not_hold_is_one_error(tmp_path, monkeypatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 1520768 vs 1520656")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OutputError):
        Checkpoint(tmp_path / "one", "key").write({})
    assert list(tmp_path.iterdir()) == []


def test_nothing_of_a_state_is_executed(tmp_path) -> None:
    path = tmp_path / "state.pt"
    torch.save({"schema": 1, "key": "", "state": {"curves": Path("/")}}, path)
    assert Checkpoint(path, "").read() is None

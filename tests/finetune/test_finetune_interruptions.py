"""A fine-tuning that was killed, stopped or divided among processes ends as one that was left alone."""

from __future__ import annotations

import math
import multiprocessing
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from medprobe.base import OutputError, WorkerError
from medprobe.evaluate import Run
from medprobe.extract import extract, load_backbone
from medprobe.finetune import Interrupted, Recipe, run_finetune
from medprobe.finetune.work_folder import WorkFolder
from medprobe.manifests import Manifest
from pets import TINY, make_pets, sealed

_RECIPE = Recipe.named("default").changed(epochs=3, batch_size=16)
_MODES = ("linear", "partial:1")


@pytest.fixture(scope="module")
def pets(once) -> Manifest:
    """60 images, embedded, so that no process has to start OpenVINO."""

    def make(folder: Path) -> None:
        backbone = load_backbone(TINY, image_size=32, runtime="torch", precision="fp32", device="cpu")
        extract(make_pets(folder), [backbone], folder / "embeddings", workers=0, show_progress=False)

    return Manifest.load(once("pets", make) / "pets.parquet")


@pytest.fixture(scope="module")
def fine_tuned(pets: Manifest) -> Callable[..., Run]:
    """`fine_tuned(out, ...)`: two modes and two seeds, unless other arguments are given."""
    assert pets.path is not None
    store = pets.path.parent / "embeddings"

    def run(out: Path, modes: Any = _MODES, **changes: Any) -> Run:
        how = {"recipe": _RECIPE, "seeds": 2, "device": "cpu", "workers": 0, "progress": False, **changes}
        return run_finetune(pets, {"name": TINY, "image_size": 32}, modes, store=store, out=out, **how)

    return run


@pytest.fixture(scope="module")
def undisturbed(fine_tuned, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a run that nothing happened to has written."""
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    fine_tuned(out)
    return sealed(out)


@pytest.fixture(scope="module")
def three_seeds(fine_tuned, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The same of `linear` under three seeds."""
    out = tmp_path_factory.mktemp("three-seeds") / "run"
    fine_tuned(out, "linear", seeds=3)
    return sealed(out)


def _stop(fine_tuned: Callable[..., Run], steps: int, *arguments: Any, **how: Any) -> None:
    """Begins a run that is to stop after that number of steps."""
    left = iter(range(steps))
    with pytest.raises(Interrupted):
        fine_tuned(*arguments, should_stop=lambda: next(left, None) is None, **how)


@pytest.mark.slow
def test_the_same_call_twice_gives_the_same_bytes_and_leaves_no_work(fine_tuned, undisturbed, tmp_path) -> None:
    fine_tuned(tmp_path / "run")
    assert sealed(tmp_path / "run") == undisturbed
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.slow
def test_a_run_that_is_killed_at_any_step_ends_as_an_undisturbed_one(fine_tuned, tmp_path, killed_at_each_step) -> None:
    out = tmp_path / "runs" / "run"
    fine_tuned(tmp_path / "expected", "partial:1", seeds=1)
    for _ in killed_at_each_step(out.parent, out.parent.mkdir, lambda: fine_tuned(out, "partial:1", seeds=1)):
        published = out.exists()  # killed between the publication and the end of the work
        with pytest.raises(OutputError, match="is there already") if published else nullcontext():
            fine_tuned(out, "partial:1", seeds=1)
        assert [path.name for path in out.parent.iterdir()] == ["run"]
        assert sealed(out) == sealed(tmp_path / "expected")


def test_a_run_that_is_to_stop_stops_after_the_step_and_goes_on_from_there(
    fine_tuned, undisturbed, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr("medprobe.finetune.training.checkpoint._SHARE", math.inf)  # write every epoch
    for steps in (5, 21):
        _stop(fine_tuned, steps, tmp_path / "run")
        assert not (tmp_path / "run").exists()
    messages: list[str] = []
    fine_tuned(tmp_path / "run", notice=messages.append)
    assert sealed(tmp_path / "run") == undisturbed
    assert "2 of 4 trainings are finished" in messages
    assert [text.rpartition(" ")[2] for text in messages if "partial:1" in text and "goes on" in text] == ["2"]


def test_work_that_a_kill_has_left_beside_its_published_run_is_removed(fine_tuned, tmp_path, monkeypatch) -> None:
    def die(_: WorkFolder) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(WorkFolder, "remove", die)
    with pytest.raises(KeyboardInterrupt):
        fine_tuned(tmp_path / "run", "linear", seeds=1)
    assert {path.name for path in tmp_path.iterdir()} == {"run", "run.partial"}
    monkeypatch.undo()
    with pytest.raises(OutputError, match="a run is there already"):
        fine_tuned(tmp_path / "run", "linear", seeds=1)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_weights_are_kept_of_the_seeds_that_were_requested_last(fine_tuned, tmp_path) -> None:
    _stop(fine_tuned, 12, tmp_path / "run", "linear", keep_weights=True)
    assert list((tmp_path / "run.partial").glob("weights/*seed-0"))
    fine_tuned(tmp_path / "run", "linear", keep_weights=True, seeds=[1])
    [kept] = (tmp_path / "run" / "weights").iterdir()
    assert kept.name.endswith("seed-1")


def test_more_seeds_are_added_to_unfinished_work(fine_tuned, three_seeds, tmp_path) -> None:
    _stop(fine_tuned, 12, tmp_path / "run", "linear")
    assert list((tmp_path / "run.partial").glob("*.npz"))
    fine_tuned(tmp_path / "run", "linear", seeds=3)
    assert sealed(tmp_path / "run") == three_seeds


def test_work_of_another_configuration_is_refused_and_removed_on_request(fine_tuned, tmp_path) -> None:
    _stop(fine_tuned, 6, tmp_path / "run", "linear")
    other = {"recipe": _RECIPE.changed(epochs=1), "protocol": "kfold", "folds": 2, "seeds": 1}
    for name, word in (("recipe", "modes and recipes"), ("protocol", "protocol")):
        with pytest.raises(OutputError, match=rf"run\.partial: .* differs in .*{word}.*--overwrite"):
            fine_tuned(tmp_path / "run", "linear", **{name: other[name]})
    fine_tuned(tmp_path / "run", "linear", overwrite=True, **other)
    assert (tmp_path / "run" / "run.json").exists()


def test_a_folder_that_holds_something_else_is_not_touched(fine_tuned, tmp_path) -> None:
    (tmp_path / "run.partial").mkdir()
    (tmp_path / "run.partial" / "thesis.tex").write_text("x")
    with pytest.raises(OutputError, match="something else"):
        fine_tuned(tmp_path / "run", overwrite=True)
    assert (tmp_path / "run.partial" / "thesis.tex").exists()


def test_two_commands_do_not_work_in_one_folder(pets, fine_tuned, tmp_path) -> None:
    _stop(fine_tuned, 6, tmp_path / "run", "linear")
    code = (
        "import fcntl, sys; file = open(sys.argv[1], 'r+'); fcntl.lockf(file, fcntl.LOCK_EX); print(flush=True);"
        "sys.stdin.read()"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "run.partial" / "lock")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(OutputError, match="another command is at work"):
            fine_tuned(tmp_path / "run", "linear")
        other.communicate()


def test_a_damaged_result_is_made_again(fine_tuned, three_seeds, tmp_path) -> None:
    _stop(fine_tuned, 12, tmp_path / "run", "linear")
    [first, *_] = (tmp_path / "run.partial").glob("*.npz")
    first.write_bytes(first.read_bytes()[:100])
    fine_tuned(tmp_path / "run", "linear", seeds=3)
    assert sealed(tmp_path / "run") == three_seeds


def test_results_under_each_others_names_are_made_again(fine_tuned, three_seeds, tmp_path) -> None:
    _stop(fine_tuned, 20, tmp_path / "run", "linear", seeds=3)
    one, two = (tmp_path / "run.partial").glob("*.npz")
    one.rename(tmp_path / "x")
    two.rename(one)
    (tmp_path / "x").rename(two)
    fine_tuned(tmp_path / "run", "linear", seeds=3)
    assert sealed(tmp_path / "run") == three_seeds


def _command(pets: Manifest, out: Path, *options: object) -> list[str]:
    words = ["finetune", pets.path, "-b", TINY, "--image-size", 32, "-m", "linear", "-m", "partial:1"]
    words += ["--epochs", 3, "--batch-size", 16, "--seeds", 2, "--workers", 0, "--device", "cpu", "--out", out]
    return [str(word) for word in (*words, *options)]


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGUSR1, marks=pytest.mark.slow)])
def test_a_signal_of_the_scheduler_ends_with_status_75_and_the_command_to_go_on(
    medprobe, pets, undisturbed, tmp_path, number
) -> None:
    out = tmp_path / "run"
    # A process of its own: after `torch.export` in this one, a signal may crash Python 3.11.
    words = [sys.executable, "-m", "medprobe.cli", *_command(pets, out, "--epochs", 500)]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not list(tmp_path.glob("run.partial/*.checkpoint")):
            time.sleep(0.01)
        process.send_signal(number)
        _, printed = process.communicate()
    assert process.returncode == 75
    assert "run.partial" in printed
    assert "the same command continues" in " ".join(printed.split())
    assert not out.exists()
    shutil.rmtree(tmp_path / "run.partial")
    assert medprobe(*_command(pets, out)).status == 0
    assert sealed(out) == undisturbed


@pytest.mark.slow
def test_a_device_that_disappears_costs_its_share_alone(fine_tuned, undisturbed, tmp_path) -> None:
    def kill_one() -> bool:
        if not killed:
            killed.extend(multiprocessing.active_children()[:1])
            killed[0].kill()
        return False

    killed: list[multiprocessing.process.BaseProcess] = []
    with pytest.raises(WorkerError, match=r"cpu: its process was ended by SIGKILL.*\n.*same command again"):
        fine_tuned(tmp_path / "run", device="cpu,cpu", should_stop=kill_one)
    assert len(list((tmp_path / "run.partial").glob("*.npz"))) == 2
    fine_tuned(tmp_path / "run")
    assert sealed(tmp_path / "run") == undisturbed


@pytest.mark.slow
def test_processes_that_share_the_seeds_give_the_bytes_of_one(pets, undisturbed, tmp_path) -> None:
    command = [sys.executable, "-m", "medprobe.cli", *_command(pets, tmp_path / "run", "--device", "cpu,cpu")]
    subprocess.run(command, check=True, capture_output=True)
    assert sealed(tmp_path / "run") == undisturbed


@pytest.mark.slow
def test_the_command_killed_at_any_moment_goes_on_to_the_same_bytes(pets, undisturbed, tmp_path) -> None:
    command = [sys.executable, "-m", "medprobe.cli", *_command(pets, tmp_path / "run")]
    moments = random.Random(0)
    for _ in range(3):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        while process.poll() is None and not (tmp_path / "run.partial" / "config.json").exists():
            time.sleep(0.01)
        try:
            process.wait(moments.uniform(0, 2))
        except subprocess.TimeoutExpired:
            process.kill()
        process.wait()
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0 or "is there already" in ended.stderr
    assert sealed(tmp_path / "run") == undisturbed

"""Trains in child processes that are killed, each going on from the checkpoint of the last, and once undisturbed.

Prints what came out of both.

The parent forks before torch has computed anything, so that a child starts as a fresh process would.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import torch
from medprobe.finetune.training.recipe import Recipe
from small_training import ImagesInMemory, TinyClassifier, facts, small_task, train

RECIPE = {"epochs": 6, "batch_size": 7, "precision": "fp32", "ema": 0.9, "mixup": 0.3, "patience": 4, "lr": 1e-2}


def main(folder: Path, kills: list[int]) -> None:
    for steps in kills:
        child = os.fork()
        if not child:
            _train(folder / "state.pt", steps)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.WTERMSIG(status) == signal.SIGKILL, status
    print(_train(folder / "state.pt", None))
    print(_train(folder / "undisturbed.pt", None))


def _train(checkpoint: Path, steps: int | None) -> str:
    """Kills this process after that number of steps; for zero, in the middle of writing the first checkpoint."""
    torch.set_num_threads(1)
    images, task, resample = small_task()
    taken = 0

    def count() -> bool:
        nonlocal taken
        taken += 1
        if taken == steps:
            os.kill(os.getpid(), signal.SIGKILL)
        return False

    def write_half(_: object, path: Path) -> None:
        path.write_bytes(b"half a checkpoint")
        os.kill(os.getpid(), signal.SIGKILL)

    if steps == 0:
        torch.save = write_half
    trained = train(
        TinyClassifier(3, dropout=0.2),
        ImagesInMemory(images),
        task,
        resample,
        Recipe.named("default").changed(**RECIPE),
        seed=3,
        checkpoint=checkpoint,
        should_stop=count,
    )
    return facts(trained)


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(steps) for steps in sys.argv[2:]])

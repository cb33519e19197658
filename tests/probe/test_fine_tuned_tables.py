"""What a system that learns in epochs adds to the tables of a run; a probe adds nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from medprobe.base import ReportError
from medprobe.evaluate import FitResult, Run, draw_resamples, summarise
from medprobe.evaluate.results.fit_result import DIVERGED
from medprobe.evaluate.results.recorder import Recorder
from medprobe.evaluate.results.schemas import SystemKey
from medprobe.evaluate.results.trainings import training_problems
from medprobe.evaluate.statistics.run_warnings import run_warnings


def _curve(epochs: int, best: int) -> list[dict[str, Any]]:
    return [
        {
            "epoch": epoch,
            "train_loss": 1 / (1 + epoch),
            "val_loss": 1.5 / (1 + epoch),
            "val_metric": 0.5,
            "lr": 1e-4,
            "chosen": epoch == best,
            "seconds": 2.0,
        }
        for epoch in range(1, epochs + 1)
    ]


@pytest.fixture
def learnt(study: Any, run: Run) -> Run:
    """Two seeds of two systems beside the facts of `run`; recorded in no particular order."""
    units, card = study.manifest.units(), study.manifest.card
    recorder = Recorder(card, "holdout", units)
    for resample in reversed(draw_resamples(units, 2, classes=card.classes)):
        for mode, epochs in (("partial:2", 3), ("full", 4)):
            val, test = (np.full((len(part), 3), 1 / 3, np.float32) for part in (resample.val, resample.test))
            result = FitResult(
                resample, val_proba=val, test_proba=test, params={}, curves=_curve(epochs, 2), peak_bytes=5 * 2**30 + 1
            )
            recorder.add(SystemKey(card.name, "net-0", "0" * 12, "cls", f"finetune:{mode}"), result)
    tables = recorder.scores(), recorder.predictions(), recorder.timings()
    return Run(*tables, run.units, run.info, epochs=recorder.epochs())


@pytest.mark.parametrize(
    ("settings", "params", "lr", "best", "metric", "note", "code"),
    [
        ({"warmup_epochs": 3}, {}, [1, 2, 3], 2, 0.5, "", "warm-up-only"),
        ({"warmup_epochs": 2}, {}, [1, 2, 1], 2, 0.5, "", None),
        ({"warmup_epochs": 2}, {"warmup_epochs": 3}, [1, 2, 3], 2, 0.5, "", "warm-up-only"),
        ({"warmup_epochs": 3, "warmup_steps": 9}, {}, [1, 2, 3], 2, 0.5, "", "warm-up-only"),
        ({"warmup_epochs": 3, "warmup_steps": 9}, {}, [1, 2, 2], 2, 0.5, "", None),
        ({"warmup_epochs": 1}, {}, [1, 2, 1], 3, 0.5, "", "best-epoch-last"),
        ({"warmup_epochs": 1}, {}, [1, 2, 1], 3, 1.0, "", None),
        ({"warmup_epochs": 1}, {}, [1, 2, 1], 2, 0.5, f"{DIVERGED} the loss is nan", "diverged-training"),
        ({"warmup_epochs": 1}, {}, [], 0, 0.5, "the memory of cuda is too small", "failed-training"),
    ],
)
def test_trainings_that_say_little_are_warnings(
    study: Any, run: Run, settings, params, lr, best, metric, note, code
) -> None:
    units, card = study.manifest.units(), study.manifest.card
    recorder = Recorder(card, "holdout", units)
    for resample in draw_resamples(units, 2, classes=card.classes):
        val, test = (np.full((len(part), 3), 1 / 3, np.float32) for part in (resample.val, resample.test))
        epochs = zip(_curve(len(lr), best), lr, strict=True)
        curves = [{**one, "lr": rate, "val_metric": metric} for one, rate in epochs]
        kept = {"params": params, "curves": curves, "converged": bool(lr), "notes": [note] * bool(note)}
        found = FitResult(resample, val_proba=val, test_proba=test, **kept)
        recorder.add(SystemKey(card.name, "net-0", "0" * 12, "cls", "finetune:full"), found)
    info = {**run.info, "probes": {"finetune:full": {"label": "Fine-tuning (full)", "settings": settings}}}
    tables = recorder.scores(), recorder.predictions(), recorder.timings()
    trained = Run(*tables, run.units, info, epochs=recorder.epochs())
    problems = [(one.code, one.trainings) for some in training_problems(trained).values() for one in some]
    assert problems == ([] if code is None else [(code, 2)])
    codes = {one.code for one in run_warnings(trained, summarise(trained))}
    network = {"warm-up-only", "best-epoch-last", "diverged-training", "failed-training"}
    assert codes & network == ({code} if code else set())


def test_curves_and_memory_are_kept_in_one_order(learnt: Run, tmp_path: Path) -> None:
    folder = learnt.save(tmp_path / "run")
    read = Run.load(folder)
    assert read.epochs is not None
    assert read.epochs["epoch"].tolist() == 2 * [1, 2, 3, 4] + 2 * [1, 2, 3]
    assert read.epochs["probe"].tolist() == 8 * ["finetune:full"] + 6 * ["finetune:partial:2"]
    assert read.epochs.query("chosen")["epoch"].tolist() == 4 * [2]
    assert read.timings["peak_bytes"].tolist() == 4 * [5 * 2**30 + 1]
    docs = (Path(__file__).resolve().parents[2] / "docs" / "results.md").read_text()
    documented = docs.split("## epochs.parquet")[1].split("\n## ")[0]
    for field in pq.read_schema(folder / "epochs.parquet"):
        assert any(f"`{field.name}`" in line and f"| {field.type} |" in line for line in documented.splitlines())


def test_a_run_of_probes_has_no_curves_and_no_memory(run: Run, tmp_path: Path) -> None:
    folder = run.save(tmp_path / "run")
    assert not (folder / "epochs.parquet").exists()
    assert pq.read_table(folder / "timings.parquet")["peak_bytes"].null_count == len(run.timings)


def test_curves_of_another_run_are_noticed(learnt: Run, tmp_path: Path) -> None:
    assert learnt.epochs is not None
    folder = learnt.save(tmp_path / "run")
    other = replace(learnt, epochs=learnt.epochs.assign(val_metric=0.9)).save(tmp_path / "other")
    (other / "epochs.parquet").replace(folder / "epochs.parquet")
    with pytest.raises(ReportError, match=r"epochs and run\.json are not of one run"):
        Run.load(folder)

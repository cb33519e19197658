"""One system under one resample: from a backbone, a mode and a recipe to a `FitResult`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from ..base.errors import TrainingError
from ..cache.spec import safe_name
from ..evaluate.resampling.resample import Resample
from ..evaluate.resampling.train_size import FULL_TRAIN
from ..evaluate.results.fit_result import FitResult
from ..evaluate.results.schemas import CURVE, SystemKey
from ..extract import Backbone
from ..probe.engines.task import ProbeTask
from ..probe.experiment import Experiment
from .embeddings import load_trainable
from .inputs.sources import Inputs, choose_inputs
from .inputs.views import Images
from .network.classifier import Classifier
from .network.saved import save_weights
from .systems import FineTuning, network_name
from .training.loop import Trained
from .training.recipe import Recipe
from .training.search import fit_best
from .training.start import make_start
from .training.stepper import enough_memory, training_precision
from .work_folder import Fits

OnEpoch = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, eq=False)
class Cell:
    """One system under one resample."""

    key: SystemKey
    backbone: int
    """Its position among those of the plan."""
    how: FineTuning
    resample: Resample
    """In units."""

    @property
    def name(self) -> str:
        """For people: `dinov2-s, partial:2, seed 0`."""
        budget = "" if self.key.budget == FULL_TRAIN else f", {self.key.budget}"
        return f"{self.key.backbone}, {self.key.probe.removeprefix('finetune:')}{budget}, {self.resample.words}"

    @property
    def folder(self) -> str:
        """For files: `dinov2-s-partial_2-seed-0`."""
        fold = f"-fold-{self.resample.fold}" if self.resample.fold else ""
        return f"{network_name(self.key)}-seed-{self.resample.seed}{fold}"


@dataclass(frozen=True, eq=False)
class Plan:
    """What every process is given: the experiment, and how its cells are fitted."""

    experiment: Experiment
    loading: Sequence[Mapping[str, Any]]
    """Of each backbone, the arguments of `load_backbone`; its cache has the same position in the experiment's data."""
    store: Path
    activations_gb: float | None
    workers: int
    fits: Fits | None
    """Where finished and unfinished fits are kept; None keeps none."""
    keep_weights: bool
    tensorboard: Path | None

    def finished(self, cell: Cell) -> FitResult | None:
        """The result of a cell that an earlier process has finished."""
        if self.fits is None or (self.keep_weights and not self.fits.weights(cell.folder).is_dir()):
            return None
        return self.fits.read(cell.key, cell.resample)


class CellFitter:
    """Fits cells on one device; the backbone of the cell before is used again."""

    def __init__(self, plan: Plan, device: str, notice: Callable[[str], None]) -> None:
        self.plan, self.device, self.notice = plan, device, notice
        self._loaded: tuple[int, Backbone, np.ndarray] | None = None
        self._inputs_by_key: dict[tuple[Any, ...], Inputs] = {}
        """The last ones."""
        self._noted: set[str] = set()

    def fit(self, cell: Cell, *, on_epoch: OnEpoch, should_stop: Callable[[], bool]) -> FitResult:
        """Trains one network, from where an earlier process was ended if one was, and keeps the result.

        Raises:
            Interrupted: `should_stop` was true after a step; the last epoch's state is kept.
            MedprobeError: the network cannot be trained as requested.
        """
        backbone, X = self._backbone(cell)
        task = self.plan.experiment.task(X, [cell.resample], refit=False)
        try:
            result = self._trained(cell, backbone, task, on_epoch, should_stop)
        except TrainingError as error:
            self.notice(f"{cell.name}: {error}")
            result = _of_class_shares(task, str(error))
        if self.plan.fits is not None:
            self.plan.fits.write(cell.key, cell.resample, result)
        return result

    def _backbone(self, cell: Cell) -> tuple[Backbone, np.ndarray]:
        """The backbone on the device, and its vectors of all rows."""
        if self._loaded is None or self._loaded[0] != cell.backbone:
            self._loaded, self._inputs_by_key = None, {}  # before the next one takes memory
            data, loading = self.plan.experiment.data, self.plan.loading[cell.backbone]
            backbone = load_trainable(data.manifest, loading, self.device)
            self._loaded = cell.backbone, backbone, data.features(cell.backbone, cell.key.pooling)
        return self._loaded[1:]

    def _trained(
        self, cell: Cell, backbone: Backbone, task: ProbeTask, on_epoch: OnEpoch, should_stop: Callable[[], bool]
    ) -> FitResult:
        """Trains each candidate and takes the best one."""
        [resample], fits = task.resamples, self.plan.fits

        def make(recipe: Recipe) -> tuple[Classifier, Inputs]:
            with enough_memory(backbone.device):
                classifier = make_start(backbone, cell.how.mode, recipe, task, resample)
                return classifier, self._inputs(cell, classifier, recipe, task.X)

        with self._shown(cell) as show:

            def report(curve: Mapping[str, Any]) -> None:
                show(curve)
                on_epoch({**curve, "images_per_s": len(resample.train) / curve["seconds"]})

            trained = fit_best(
                make,
                task,
                resample,
                cell.how.candidates,
                checkpoint=fits and fits.checkpoint(cell.key, cell.resample),
                on_epoch=report,
                should_stop=should_stop,
                on_resumed=lambda epoch: self.notice(f"{cell.name}: goes on after epoch {epoch}"),
            )
        if self.plan.keep_weights and fits is not None:
            seen = self.plan.experiment.data.distinct_digests(np.concatenate([resample.train, resample.val]))
            save_weights(trained.classifier, fits.weights(cell.folder), self._about(cell, task, trained), seen)
        return task.result(
            resample,
            val_proba=trained.val_proba,
            test_proba=trained.test_proba,
            params={**trained.params, "trained_parameters": trained.classifier.trained_parameters()},
            notes=trained.notes,
            fit_s=trained.fit_s,
            predict_s=trained.predict_s,
            peak_bytes=trained.peak_bytes,
            curves=[
                {**{name: curve.get(name) for name in CURVE}, "chosen": curve["epoch"] == trained.best_epoch}
                for curve in trained.curves
            ],
        )

    def _about(self, cell: Cell, task: ProbeTask, trained: Trained) -> dict[str, Any]:
        """What `network.json` says of a network besides how it is rebuilt."""
        manifest = self.plan.experiment.data.manifest
        return {
            "dataset": manifest.name,
            "units": len(cell.resample.train),
            "system": cell.key.probe,
            "seed": cell.resample.seed,
            "task": task.task,
            "classes": list(task.classes),
            "loss": trained.loss.facts(),
            "reading": manifest.card.reading.model_dump(mode="json"),
            "metric": task.metric.name,
            "params": trained.params,
        }

    @contextmanager
    def _shown(self, cell: Cell) -> Iterator[OnEpoch]:
        """Writes the curves of a cell for TensorBoard, if that is requested."""
        if self.plan.tensorboard is None:
            yield lambda _: None
            return
        from torch.utils.tensorboard import SummaryWriter

        folder, writers = self.plan.tensorboard / cell.folder, {}
        with ExitStack() as stack:

            def show(curve: Mapping[str, Any]) -> None:
                candidate = safe_name(curve["candidate"]) if curve["candidate"] else ""
                if candidate not in writers:
                    writers[candidate] = stack.enter_context(SummaryWriter(str(folder / candidate)))
                writer = writers[candidate]
                for name in ("train_loss", "val_loss", "val_metric", "lr"):
                    writer.add_scalar(name, curve[name], curve["epoch"])

            yield show

    def _inputs(self, cell: Cell, classifier: Classifier, recipe: Recipe, X: np.ndarray) -> Inputs:
        """What the network is trained on; that of the cell before, where it is the same."""
        data, augmentation = self.plan.experiment.data, recipe.augmentation
        precision = training_precision(recipe, torch.device(self.device))
        # Views are drawn from the seed; where nothing is random, all seeds share what is kept.
        seed = cell.resample.seed if augmentation.is_random else 0
        key = (cell.backbone, cell.how.mode, augmentation, recipe.views, recipe.mixes, precision, seed)
        if key not in self._inputs_by_key:
            rows = pd.Index(data.manifest.sample_ids).get_indexer(pd.Index(data.sample_ids)).tolist()
            sources = data.manifest.sources()
            images = Images(
                sources=[sources[row] for row in rows],
                sample_ids=list(data.sample_ids),
                digests=[digest.tobytes().hex() for digest in data.all_digests],
                transform=classifier.vectors.transform,
                augmentation=augmentation,
                seed=seed,
                workers=self.plan.workers,
            )
            inputs = choose_inputs(
                classifier,
                images,
                spec=data.caches[cell.backbone].computed_with,
                vectors=X,
                views=recipe.views,
                mixes=recipe.mixes,
                precision=precision,
                store=self.plan.store,
                dataset=data.manifest.name,
                limit_gb=self.plan.activations_gb,
                notice=self._note_once,
            )
            self._inputs_by_key = {key: inputs}  # those of another mode or seed may go
            self._note_once(f"{cell.key.backbone}, {cell.how.mode.name}: {inputs.note}")
        return self._inputs_by_key[key]

    def _note_once(self, text: str) -> None:
        if text not in self._noted:
            self._noted.add(text)
            self.notice(text)


def _of_class_shares(task: ProbeTask, reason: str) -> FitResult:
    """What stands in for a training that failed: the shares of the classes in train, for every image.

    A run without this row could not be compared pairwise with any other.
    """
    [resample] = task.resamples
    y = task.y[resample.train]
    shares = y.mean(axis=0) if task.wide else np.bincount(y, minlength=len(task.classes)) / len(y)
    proba = {part: np.tile(shares, (len(getattr(resample, part)), 1)) for part in ("val", "test")}
    notes = [reason.rstrip("."), "the shares of the classes in train are predicted"]
    return task.result(
        resample, val_proba=proba["val"], test_proba=proba["test"], params={}, converged=False, notes=notes
    )


def is_failed(result: FitResult) -> bool:
    """Whether the training failed before a single epoch was good."""
    return "epoch" not in result.params

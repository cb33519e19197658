"""What the loop trains from, and which form of it suits a network: images, activations or vectors."""

from __future__ import annotations

import math
import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, suppress
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from ...base.files import make_folder
from ...cache import EmbeddingSpec
from ...cache.spec import Precision
from ...extract.device import batch_sizes, exact_fp32, filled_up, fixed_batch
from ..network.classifier import Classifier
from ..network.cut import Cut
from .activations import Activations, images_per_file, kept_bytes, make_room
from .views import Images

Tensors = tuple[torch.Tensor, ...]
"""In main memory; the first dimension of each is images."""
_IN_MEMORY = 2**30
"""Bytes of decoded images that are kept in memory; more are in a temporary file."""
_KEPT_GB = 20.0
"""The most that they take there, by default."""


class Inputs(ABC):
    """What a network is trained and evaluated on, by row and view."""

    note: str
    """What they are and what they cost, for the log."""

    def view_of(self, epoch: int) -> int | None:
        """The view that `epoch`, from 0, is trained on; None, as for evaluation, where nothing is random."""
        return None

    @abstractmethod
    def batches(self, batches: Sequence[np.ndarray], view: int | None) -> Generator[Tensors, None, None]:
        """The tensors of each batch of rows, in order; what has to be decoded is decoded ahead by worker processes.

        Close the iterator (or use it up) to end them. The tensors of a batch may be cut along their first dimension.

        Raises:
            ImageError: an image cannot be read, or is not what was embedded any more.
        """

    @abstractmethod
    def logits(self, classifier: Classifier, tensors: Tensors) -> torch.Tensor:
        """Logits float32 (B, outputs) on the classifier's device, with gradients of what it trains."""


class _OfImages(Inputs):
    """What inputs that begin at images have in common: which view an epoch has."""

    def __init__(self, images: Images, views: int | None) -> None:
        """Takes how many views there are of each image; None where each epoch has another one."""
        self.images, self.count = images, views

    def view_of(self, epoch: int) -> int | None:
        """See `Inputs`."""
        if not self.images.augmentation.is_random:
            return None
        return epoch if self.count is None else epoch % self.count


class PixelInputs(_OfImages):
    """Images for the whole network. Views that come again are decoded once and kept."""

    def __init__(self, images: Images, views: int | None, folder: Path, limit_gb: float | None, why: str) -> None:
        """Takes where temporary files are made, how large they may be, and why the whole network runs."""
        super().__init__(images, views)
        self._kept: dict[int | None, tuple[np.ndarray, np.ndarray]] = {}
        self._folder, self._in_memory = folder, _IN_MEMORY
        self._on_disk = int((_KEPT_GB if limit_gb is None else limit_gb) * 1e9)
        self.note = f"the whole network runs for each image in each epoch: {why}"

    def batches(self, batches: Sequence[np.ndarray], view: int | None) -> Generator[Tensors, None, None]:
        """See `Inputs`."""
        comes_again = view is None or self.count is not None
        kept = self._keeping(view) if comes_again else None
        if kept is None:
            with closing(self.images.views(batches, [view])) as read:
                for images in read:
                    yield (images[:, 0],)
            return
        pixels, known = kept
        rows = np.unique(np.concatenate(batches)) if batches else np.empty(0, int)
        missing = _in_steps(rows[~known[rows]], _AT_ONCE)
        with closing(self.images.views(missing, [view])) as read:
            for some, images in zip(missing, read, strict=True):
                pixels[some], known[some] = images[:, 0].numpy(), True
        for some in batches:
            yield (torch.from_numpy(pixels[some]),)

    def logits(self, classifier: Classifier, tensors: Tensors) -> torch.Tensor:
        """See `Inputs`."""
        (images,) = tensors
        return classifier(images.to(_device(classifier), non_blocking=True))

    def _keeping(self, view: int | None) -> tuple[np.ndarray, np.ndarray] | None:
        """Where the pixels (N, C, H, W) of a view are kept, and which rows (N,) are; None where there is no room."""
        if view not in self._kept:
            shape = (len(self.images), *self.images.shape)
            count = math.prod(shape)
            if count <= self._in_memory:
                pixels, self._in_memory = np.empty(shape, np.uint8), self._in_memory - count
            elif count <= self._on_disk and (mapped := _temporary(self._folder, shape)) is not None:
                pixels, self._on_disk = mapped, self._on_disk - count
            else:
                self._in_memory = self._on_disk = 0
                return None
            self._kept[view] = pixels, np.zeros(len(self.images), bool)
        return self._kept[view]


_AT_ONCE = 32
"""Images that one worker decodes before it passes them on."""


def _temporary(folder: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """Memory behind a file without a name, which is gone when this process is, even by a kill; None without room."""
    make_folder(folder)
    with suppress(OSError), tempfile.TemporaryFile(dir=folder) as file:
        os.posix_fallocate(file.fileno(), 0, math.prod(shape))  # a full disk shows now, and not as a crash later
        return np.memmap(file, np.uint8, "r+", shape=shape)
    return None


class ActivationInputs(_OfImages):
    """Activations at the cut, computed once for each image and view, and kept in the store."""

    def __init__(
        self, images: Images, views: int | None, cut: Cut, store: Path, dataset: str, about: dict[str, object]
    ) -> None:
        """Takes where they are kept, and what else decides their values."""
        super().__init__(images, views)
        self.cut = cut
        self._precision: Precision = about["precision"]  # pyright: ignore[reportAttributeAccessIssue]
        random = {"augmentation": images.augmentation.model_dump(mode="json"), "seed": images.seed}
        self._evaluated = Activations(store, dataset, about)
        self._augmented = Activations(store, dataset, {**about, **random}) if self.view_of(0) is not None else None
        self.note = (
            f"the frozen part ({cut.frozen_share:.0%} of the network's arithmetic) runs once for each image"
            f"{f' and each of {views} views' if self._augmented else ''}; training begins at {cut.name}"
        )

    def batches(self, batches: Sequence[np.ndarray], view: int | None) -> Generator[Tensors, None, None]:
        """See `Inputs`."""
        kept = self._evaluated if view is None else self._augmented
        assert kept is not None
        self._fill(kept, np.unique(np.concatenate(batches)) if batches else np.empty(0, int), view)
        for rows in batches:
            yield kept.rows([self._label(row, view) for row in rows.tolist()])

    def make_room(self, store: Path, limit_gb: float | None) -> str:
        """Makes room for all activations of all images; nothing, or why there is none."""
        wanted = [(self._evaluated, None)]
        if self._augmented:
            wanted += [(self._augmented, view) for view in range(self.count or 1)]
        lacking = [kept.missing(self._label(row, view) for row in range(len(self.images))) for kept, view in wanted]
        bytes_needed = sum(map(len, lacking)) * kept_bytes(self.cut.shapes)
        return make_room(store, {kept.folder for kept, _ in wanted}, bytes_needed, limit_gb)

    def logits(self, classifier: Classifier, tensors: Tensors) -> torch.Tensor:
        """See `Inputs`."""
        if self.cut.classifier is not classifier:
            self.cut = self.cut.on(classifier)
        device = _device(classifier)
        return self.cut.suffix([tensor.to(device, non_blocking=True) for tensor in tensors])

    def _label(self, row: int, view: int | None) -> str:
        return self.images.digests[row] if view is None else f"{self.images.digests[row]}/{view}"

    def _fill(self, kept: Activations, rows: np.ndarray, view: int | None) -> None:
        """Computes what `kept` lacks, always in the same order and in batches of one size."""
        views = [None] if view is None else list(range(self.count or 1))

        def lacking() -> np.ndarray:
            by_label = {self._label(row, one): row for row in rows.tolist() for one in views}
            found = {by_label[label] for label in kept.missing(by_label)}
            return np.array(sorted(found, key=self.images.digests.__getitem__), int)

        if not len(lacking()):
            return
        with kept.filling():
            kept.refresh()
            step = self._batch_size()
            each = images_per_file(kept_bytes(self.cut.shapes) * len(views), step)
            for part in _in_steps(lacking(), each):
                found: list[Tensors] = []
                with closing(self.images.views(_in_steps(part, step), views)) as read:
                    for images in read:
                        found += [self._prefix(some, step) for some in images.flatten(0, 1).split(step)]
                labels = [self._label(row, one) for row in part.tolist() for one in views]
                kept.add(labels, [torch.cat(tensors) for tensors in zip(*found, strict=True)])

    def _batch_size(self) -> int:
        device = _device(self.cut.classifier)
        return fixed_batch(device, self._precision) or batch_sizes(device)[0]

    def _prefix(self, images: torch.Tensor, step: int) -> Tensors:
        classifier, count = self.cut.classifier, len(images)
        device, was_training = _device(classifier), classifier.training
        batch = filled_up(images, step).to(device)
        bf16 = self._precision == "bf16"
        classifier.eval()
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16), exact_fp32(device, self._precision):
            activations = self.cut.prefix(batch)
        classifier.train(was_training)
        return tuple(one[:count].cpu() for one in activations)


class VectorInputs(Inputs):
    """The embeddings of a cache, for a head alone."""

    note = "the backbone does not run: training begins at the cached vectors"

    def __init__(self, vectors: np.ndarray) -> None:
        """Takes float32 (N, D)."""
        self._vectors = vectors

    def batches(self, batches: Sequence[np.ndarray], view: int | None) -> Generator[Tensors, None, None]:
        """See `Inputs`."""
        for rows in batches:
            yield (torch.from_numpy(self._vectors[rows]),)

    def logits(self, classifier: Classifier, tensors: Tensors) -> torch.Tensor:
        """See `Inputs`."""
        (vectors,) = tensors
        return classifier.head(vectors.to(_device(classifier), non_blocking=True))


def choose_inputs(
    classifier: Classifier,
    images: Images,
    *,
    spec: EmbeddingSpec,
    vectors: np.ndarray,
    views: int | None,
    mixes: bool,
    precision: Precision,
    store: Path,
    dataset: str,
    limit_gb: float | None = None,
    notice: Callable[[str], None] = lambda _: None,
) -> Inputs:
    """What a classifier is trained from: no more of the backbone than has to run again in each epoch.

    Cached vectors where the backbone is frozen and nothing is random; activations at the cut where a part of it is
    frozen and each image has a fixed number of views; else images. Where there is no room for activations it is images
    too, and the results differ by no more than the rounding to bfloat16 in which activations are kept. The result may
    be used for other classifiers of the same backbone and mode.

    Each of N images has a row in `vectors`, float32 (N, D), of the cache with that `spec`. An epoch has one of `views`
    fixed views of it; None draws new ones for each epoch. Activations of all data sets of the store may take
    `limit_gb`.
    """
    random = images.augmentation.is_random
    mode = classifier.mode
    if not random and not mixes and mode.kind in ("linear", "mlp") and not mode.dropped:
        return VectorInputs(vectors)

    def whole(why: str) -> Inputs:
        return PixelInputs(images, views, store, limit_gb, why)

    if mixes:
        return whole("images are mixed with each other")
    if random and views is None:
        return whole("augmentation gives another view in each epoch")
    if limit_gb == 0:
        return whole("no activations are to be kept")
    cut = Cut.of(classifier)
    if cut is None:
        return whole(f"{mode.name} leaves too little of it frozen")
    about = _about(spec, cut, precision)
    inputs = ActivationInputs(images, views if random else None, cut, store, dataset, about)
    if why_not := inputs.make_room(store, limit_gb):
        notice(
            f"{spec.backbone}, {mode.name}: there is no room for activations ({why_not}); the whole network runs in "
            "each epoch instead, which takes longer. --activations-gb allows more."
        )
        return whole("there is no room for activations")
    return inputs


def _about(spec: EmbeddingSpec, cut: Cut, precision: Precision) -> dict[str, object]:
    """All that decides the activations, besides the pixels."""
    unused = ("backbone", "precision", "runtime", "poolings")
    network = {name: value for name, value in asdict(spec).items() if name not in unused}
    # A cache may have vectors of several poolings, and a cut after the backbone is after one of them.
    network["pooling"] = cut.classifier.vectors.poolings[0]
    mode = cut.classifier.mode.name
    return {"version": 2, "network": network, "mode": mode, "cut": cut.name, "precision": precision}


def _device(classifier: Classifier) -> torch.device:
    return next(classifier.parameters()).device


def _in_steps(rows: np.ndarray, step: int) -> list[np.ndarray]:
    return [rows[start : start + step] for start in range(0, len(rows), step)]

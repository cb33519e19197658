"""Views of images: each follows from a seed, the pixels and a number, whoever draws it, when, and in which company."""

from __future__ import annotations

import random
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data import auto_augment  # pyright: ignore[reportPrivateImportUsage]
from timm.data.random_erasing import RandomErasing
from timm.data.transforms_factory import transforms_imagenet_train
from torchvision.transforms import Compose, InterpolationMode, Resize

from ...base import ImageError
from ...cache import TransformSpec
from ...extract.loader import to_channels, to_colour, to_input, to_size
from ...manifests import Source, content_digest, read_image
from ...manifests.readers.worker_pool import look_at
from .augmentation import Augmentation


@dataclass(frozen=True, eq=False)
class Images:
    """N images, and the views of them that a network is trained on."""

    sources: Sequence[Source]
    """(N,)"""
    sample_ids: list[str]
    """(N,), for messages."""
    digests: list[str]
    """(N,) content digests of what was embedded."""
    transform: TransformSpec
    augmentation: Augmentation
    seed: int
    workers: int
    """Processes that decode; 0 decodes in this one."""

    def __len__(self) -> int:
        return len(self.sources)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of a view."""
        return (self.transform.channels, *self.transform.size)

    def views(self, batches: Sequence[np.ndarray], views: Sequence[int | None]) -> Generator[torch.Tensor, None, None]:
        """Views of each batch of rows, uint8 (B, len(views), C, height, width); each image is decoded once.

        Without a number it is the view of the evaluation, which is what the embeddings were computed from, bit for bit.

        Raises:
            ImageError: an image cannot be read, or is not what was embedded any more.
        """
        draw = partial(_draw_all, self.transform, self.augmentation, self.seed, tuple(views), self.workers > 0)
        chunks = ([int(row) for row in rows] for rows in batches)
        shape = (len(views), *self.shape)
        with closing(look_at(draw, self.sources, chunks, workers=self.workers, shapes=[shape])) as looked_at:  # pyright: ignore[reportArgumentType]
            for chunk in looked_at:
                for row, result in zip(chunk.rows, chunk.results, strict=True):
                    if isinstance(result, ImageError):
                        raise ImageError(f"{self.sample_ids[row]}: {result}")
                    if result != self.digests[row]:
                        raise ImageError(
                            f"{self.sample_ids[row]}: its pixels have changed since it was embedded; run the same "
                            "command again, which embeds it again."
                        )
                yield torch.from_numpy(chunk.arrays[0])


def _draw_all(
    transform: TransformSpec,
    augmentation: Augmentation,
    seed: int,
    views: tuple[int | None, ...],
    in_worker: bool,
    source: Source,
    out: np.ndarray,
) -> str:
    """Fills `out` with the views of one image, and returns its content digest."""
    if in_worker:
        _use_one_thread()
    pixels = read_image(source)
    digest = content_digest(pixels)
    for place, view in enumerate(views):
        if view is None:
            out[place] = to_input(pixels, transform)
        else:
            out[place] = draw_view(pixels, transform, augmentation, _number(seed, digest, view))
    return digest


@cache
def _use_one_thread() -> None:
    """Torch's other threads are not there in a forked process, which would wait for them."""
    torch.set_num_threads(1)


def _number(seed: int, digest: str, view: int) -> int:
    text = f"{seed}/{digest}/{view}"
    return int.from_bytes(blake2b(text.encode(), digest_size=7).digest(), "little")


def draw_view(pixels: np.ndarray, transform: TransformSpec, augmentation: Augmentation, number: int) -> np.ndarray:
    """One view of an image, which follows from `number`; generators of random numbers are left as they were.

    Images that a network sees as grey are augmented as grey images. The random crop is taken from the image itself, as
    timm does, and with a squashing transform from the squashed one, whose shapes the network is evaluated on. What is
    erased becomes noise that has mean 0 and standard deviation 1 after the network's normalisation, as timm's
    `pixel` mode, but cut off at black and white.

    From uint8 (H, W) or (H, W, 3) it makes uint8 (C, height, width), as `to_input`.
    """
    image = to_colour(pixels, transform)
    with _seeded(number):
        if augmentation.crop_scale is None:
            image = to_size(image, transform)
        elif transform.resize == "squash":
            image = Resize(transform.resize_to, InterpolationMode(transform.interpolation))(image)
        array = to_channels(_changes(transform, augmentation, image.mode)(image), transform)
        return _erased(array, transform, augmentation.reprob) if augmentation.reprob else array


@cache
def _changes(transform: TransformSpec, augmentation: Augmentation, mode: str) -> Compose:
    """Timm's transform for training, from an image of Pillow to one of the network's size."""
    few = len(Image.new(mode, (1, 1)).getbands()) < len(transform.mean)
    mean = (sum(transform.mean) / len(transform.mean),) if few else transform.mean
    parts: Any = transforms_imagenet_train(
        img_size=transform.size,
        scale=augmentation.crop_scale,  # pyright: ignore[reportArgumentType]
        ratio=augmentation.crop_ratio,
        hflip=augmentation.hflip,
        vflip=augmentation.vflip,
        color_jitter=augmentation.color_jitter,  # pyright: ignore[reportArgumentType]
        color_jitter_prob=augmentation.color_jitter_prob if augmentation.color_jitter_prob < 1 else None,
        auto_augment=augmentation.auto_augment,
        interpolation=transform.interpolation,
        mean=mean,
        separate=True,
    )
    (crop, *flips), colours = (part.transforms for part in parts[:2])
    for colour in colours:
        for operation in _operations(vars(colour).get("ops") or vars(colour).get("policy") or []):
            if operation.aug_fn is auto_augment.posterize:
                operation.aug_fn = _posterized
    return Compose([*([] if augmentation.crop_scale is None else [crop]), *flips, *colours])


def _operations(nested: Any) -> Iterator[Any]:
    """Those of one of timm's policies."""
    for one in nested:
        if isinstance(one, list | tuple):
            yield from _operations(one)
        else:
            yield one


def _posterized(image: Image.Image, bits: int, **_: Any) -> Image.Image:
    """Timm's operation; newer versions of Pillow refuse to keep no bit at all, which its policies sometimes want."""
    return auto_augment.posterize(image, bits) if bits else Image.new(image.mode, image.size)


def _erased(array: np.ndarray, transform: TransformSpec, probability: float) -> np.ndarray:
    erased = torch.from_numpy(np.full(array.shape, np.nan, np.float32))
    noise = RandomErasing(probability, mode="pixel", device="cpu")(erased).numpy()
    mean, std = (np.array(values, np.float32)[:, None, None] for values in (transform.mean, transform.std))
    shade = np.clip(np.rint((noise * std + mean) * 255), 0, 255)
    return np.where(np.isnan(noise), array, shade).astype(np.uint8)


@contextmanager
def _seeded(number: int) -> Iterator[None]:
    """Timm draws from Python's and numpy's generators, torchvision from torch's."""
    kept, numpys = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        random.seed(number)
        np.random.seed(number % 2**32)  # noqa: NPY002
        torch.default_generator.manual_seed(number)
        try:
            yield
        finally:
            random.setstate(kept)
            np.random.set_state(numpys)  # noqa: NPY002

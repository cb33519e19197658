"""Decodes each image once and makes the inputs of all backbones from it, in worker processes, ahead of the device."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from ..base import ImageError
from ..cache import TransformSpec
from ..manifests import Source, content_digest, read_image
from .transforms import to_input


@dataclass(frozen=True)
class Decoded:
    """What became of a batch of rows: B of them were read, the others could not be."""

    rows: list[int]
    """(B,) rows of the manifest."""
    digests: list[str]
    """(B,) content digests."""
    inputs: dict[TransformSpec, torch.Tensor]
    """uint8 (B, 3, height, width) by transform."""
    failures: list[tuple[int, str]]
    """Rows that could not be read, each with its reason."""

    def keep(self, wanted: np.ndarray, transform: TransformSpec) -> torch.Tensor:
        """The inputs of those images that `wanted` (bool, B) marks."""
        return self.inputs[transform] if wanted.all() else self.inputs[transform][torch.from_numpy(wanted)]


_Item = tuple[int, str, list[np.ndarray] | None]
"""A row, its content digest and its inputs by transform; or a row, the reason and None."""


class _Images(Dataset[_Item]):
    """The images of some rows; one that cannot be read gives its reason instead of inputs."""

    def __init__(self, sources: Sequence[Source], rows: Sequence[int], transforms: Sequence[TransformSpec]) -> None:
        self.sources, self.rows, self.transforms = sources, rows, transforms

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> _Item:
        row = self.rows[index]
        try:
            pixels = read_image(self.sources[row])
            return row, content_digest(pixels), [to_input(pixels, transform) for transform in self.transforms]
        except ImageError as error:
            return row, str(error), None


def decode(
    sources: Sequence[Source],
    rows: Sequence[int],
    transforms: Sequence[TransformSpec],
    *,
    batch_size: int,
    workers: int,
) -> Iterator[Decoded]:
    """Yields the images of `rows` in order, in batches of `batch_size`.

    Each worker keeps two batches ready, so memory is bounded by `2 * workers * batch_size` inputs.

    Args:
        sources: of all rows of the manifest.
        rows: which rows to decode.
        transforms: the inputs to make of each image, each different one once.
        batch_size: rows per batch.
        workers: decoding processes; 0 decodes in this one.
    """

    def gather(items: list[_Item]) -> Decoded:
        good = [(row, digest, inputs) for row, digest, inputs in items if inputs is not None]
        stacked = {
            transform: torch.from_numpy(np.stack([inputs[number] for _, _, inputs in good]))
            for number, transform in enumerate(transforms)
            if good
        }
        return Decoded(
            rows=[row for row, _, _ in good],
            digests=[digest for _, digest, _ in good],
            inputs=stacked,
            failures=[(row, reason) for row, reason, inputs in items if inputs is None],
        )

    loader = DataLoader(
        _Images(sources, rows, transforms),
        batch_size=batch_size,
        shuffle=False,
        num_workers=min(workers, max(1, len(rows) // batch_size)) if workers else 0,
        collate_fn=gather,
        prefetch_factor=2 if workers else None,
        # fork shares the sources with the workers; they decode with Pillow and numpy and never touch torch's threads.
        multiprocessing_context="fork" if workers else None,
    )
    yield from loader


def default_workers() -> int:
    """Decoding processes for the cores that this process may use: all but one, which feeds the device."""
    return max(1, len(os.sched_getaffinity(0)) - 1)

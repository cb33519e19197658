"""Everything random in a training: it follows from a seed and the epoch, and nothing else notices."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def shuffled(rows: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """The rows in the order of an epoch."""
    return np.random.default_rng([seed, epoch]).permutation(rows)


def batches(rows: np.ndarray, size: int) -> list[np.ndarray]:
    """The rows in batches of `size`, the last one smaller.

    A last one of a single row goes to the batch before: batch norm has no variance of one image.
    """
    cuts = np.arange(size, len(rows), size)
    return np.split(rows, cuts[:-1] if len(cuts) and len(rows) - cuts[-1] == 1 else cuts)


@contextmanager
def seeded(seed: int, epoch: int, device: torch.device) -> Iterator[None]:
    """Dropout, stochastic depth and mixup of an epoch; the caller's generators are given back as they were."""
    number = int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])
    kept = np.random.get_state()  # noqa: NPY002  (timm's Mixup draws from numpy's own generator)
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(number)
        np.random.seed(number)  # noqa: NPY002
        try:
            yield
        finally:
            np.random.set_state(kept)  # noqa: NPY002

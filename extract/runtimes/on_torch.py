"""What a runtime is given to run, and what it offers; and torch, on CPUs and GPUs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import nn

from ...cache import TransformSpec
from ..adapters import Adapter
from ..device import Precision, exact_fp32, filled_up, fixed_batch
from ..pooling import Recipe, pool, wanted

Embedder = Callable[[torch.Tensor], dict[str, np.ndarray]]
"""A network at work in one runtime and precision: uint8 (B, C, H, W) in main memory to float32 (B, D) by pooling.

An image's vector does not depend on the batch that it comes in, beyond rounding.
"""
Pending = Callable[[], dict[str, np.ndarray]]
"""Waits for the vectors of a batch that was submitted, as an `Embedder` gives them; call it once."""


class Vectors(nn.Module):
    """Normalisation, network and poolings in one module, from uint8 pixels to vectors: what a runtime runs.

    Pixels travel as uint8, a quarter of float32, and are normalised where the network computes.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        network: nn.Module,
        adapter: Adapter,
        transform: TransformSpec,
        recipes: Mapping[str, Recipe],
        device: torch.device,
    ) -> None:
        """Takes what each pooling stands for, in the order in which they are wanted."""
        super().__init__()
        self.network, self.adapter, self.transform = network, adapter, transform
        self.poolings, self.recipes = tuple(recipes), list(recipes.values())
        self.shape: tuple[int, int, int] = (transform.channels, *transform.size)
        self.red_filters = transform.colour == "red-filters"
        for name, values in (("mean", transform.mean), ("std", transform.std)):
            channels = torch.tensor(values, device=device).view(1, -1, 1, 1)
            self.register_buffer(name, channels, persistent=False)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Vectors float32 (B, D), one matrix per pooling, of uint8 images (B, C, H, W)."""
        batch = (images.float() / 255 - self.mean) / self.std
        if self.red_filters:
            batch = nn.functional.pad(batch, (0, 0, 0, 0, 0, 2))  # zeros for the green and the blue filters
        # Convolutions are quickest with channels last, and a transformer does not mind.
        batch = batch.contiguous(memory_format=torch.channels_last)
        features = self.adapter.features(self.network, batch, wanted(self.recipes))
        return tuple(pool(features, recipe) for recipe in self.recipes)


class TorchEmbedder:
    """Runs in torch: bfloat16 by autocast, channels last, attention by torch's fused kernels.

    The fused attention (`scaled_dot_product_attention`) is what timm and transformers call by themselves.
    """

    def __init__(self, vectors: Vectors, device: torch.device, precision: Precision, *, compiled: bool = False) -> None:
        """Takes a network that is on `device` already; `compiled` puts it through `torch.compile`."""
        self.poolings = vectors.poolings
        self.device = device
        self.precision: Precision = precision
        self.compiled = compiled
        self._run: Callable[[torch.Tensor], tuple[torch.Tensor, ...]] = (
            torch.compile(vectors, dynamic=False) if compiled else vectors
        )
        self._compiled_for = 0
        """Images of the largest batch so far: a smaller one is filled up, since another shape is compiled again."""
        self._copies = Copies(device) if device.type == "cuda" else None

    def __call__(self, images: torch.Tensor) -> dict[str, np.ndarray]:
        """See `Embedder`."""
        return self.submit(images)()

    def submit(self, images: torch.Tensor) -> Pending:
        """Begins to embed a batch, as a call does, and waits for nothing on a GPU. Errors of it may come late.

        Raises:
            torch.OutOfMemoryError: the batch is too large.
        """
        size = fixed_batch(self.device, self.precision)
        if self.compiled and size is None:
            size = self._compiled_for = max(self._compiled_for, len(images))
        try:
            parts = [self._submit(part, size or len(images)) for part in images.split(size or len(images))]
        except (RuntimeError, MemoryError):
            self._compiled_for = 0  # smaller batches follow where this one did not fit
            raise

        def result() -> dict[str, np.ndarray]:
            try:
                whole = list(zip(self.poolings, *(part() for part in parts), strict=True))
            except (RuntimeError, MemoryError):
                self._compiled_for = 0
                raise
            return {pooling: np.concatenate(matrices) for pooling, *matrices in whole}

        return result

    def _submit(self, images: torch.Tensor, size: int) -> Callable[[], list[np.ndarray]]:
        """Begins to embed up to `size` images as a batch of `size`."""
        count = len(images)
        batch = filled_up(images, size)
        batch = self._copies.arriving(batch) if self._copies else batch.to(self.device)
        bf16 = self.precision == "bf16"
        with (
            torch.inference_mode(),
            torch.autocast(self.device.type, torch.bfloat16, enabled=bf16),
            exact_fp32(self.device, self.precision),
        ):
            matrices = [matrix[:count] for matrix in self._run(batch)]
        if self._copies:
            return self._copies.leaving(matrices)
        made = [matrix.cpu().numpy() for matrix in matrices]
        return lambda: made


class Copies:
    """Copies from and to pinned memory, for which neither this process nor the GPU waits.

    The next batch arrives in a stream of its own while the last is computed; vectors are small, and leave in the stream
    that computes them.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._arrivals = torch.cuda.Stream(device)

    def arriving(self, images: torch.Tensor) -> torch.Tensor:
        """The images on the GPU, whose stream waits for them."""
        with torch.cuda.stream(self._arrivals):
            there = images.pin_memory().to(self._device, non_blocking=True)
        computing = torch.cuda.current_stream(self._device)
        computing.wait_stream(self._arrivals)
        there.record_stream(computing)  # so that its memory is not taken for the next batch before that
        return there

    def leaving(self, matrices: Sequence[torch.Tensor]) -> Callable[[], list[np.ndarray]]:
        """Begins to copy matrices; what is returned waits until they have arrived."""
        with torch.cuda.device(self._device):
            here = [matrix.to("cpu", non_blocking=True) for matrix in matrices]  # which torch pins
            event = torch.cuda.Event(blocking=True)  # leaves the core to the decoders meanwhile
            event.record()

        def arrived() -> list[np.ndarray]:
            event.synchronize()
            return [matrix.numpy() for matrix in here]

        return arrived

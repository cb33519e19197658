"""Batches to a GPU and vectors back while it computes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch


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

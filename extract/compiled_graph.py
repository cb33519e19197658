"""A graph that OpenVINO has compiled for this processor, at work on batches of any size."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np
import openvino
import torch

from .device import OPENVINO_STREAMS, Precision


class CompiledGraph:
    """Runs in OpenVINO, always the same number of images at once.

    With one fixed shape its memory is planned when it is compiled, and an image's vector cannot depend on how many
    others come with it. Several such batches are under way at once, each on a share of the threads.
    """

    def __init__(self, model: openvino.Model, outputs: tuple[str, ...], precision: Precision) -> None:
        """Compiles `model`, whose one input is a batch of fixed size and whose outputs are these in order."""
        threads = torch.get_num_threads()
        streams = min(threads, OPENVINO_STREAMS)
        settings = {
            "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision],
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": streams,
            # Pinned threads of two extractions on one machine would meet on the same cores.
            "ENABLE_CPU_PINNING": False,
        }
        self.outputs, self.batch = outputs, int(model.input(0).shape[0])
        compiled = openvino.Core().compile_model(model, "CPU", settings)
        # Two for each stream, so that none waits for this process to give it the next.
        self._requests = deque((compiled.create_infer_request(), _Part()) for _ in range(2 * streams))

    def __call__(self, images: torch.Tensor) -> dict[str, np.ndarray]:
        """Float32 (B, ...) by output, of a batch (B, ...) of the type and size that the graph takes."""
        return self.submit(images)()

    def submit(self, images: torch.Tensor) -> Callable[[], dict[str, np.ndarray]]:
        """Begins to run a batch; what is returned waits for it, and gives what a call gives."""
        parts = [self._start(part.numpy()) for part in images.split(self.batch)]

        def result() -> dict[str, np.ndarray]:
            whole = zip(self.outputs, *(part.result() for part in parts), strict=True)
            return {name: np.concatenate(matrices)[: len(images)] for name, *matrices in whole}

        return result

    def _start(self, images: np.ndarray) -> _Part:
        """Begins to run up to as many images as the graph takes, where the oldest part ran."""
        request, before = self._requests[0]
        self._requests.rotate(-1)
        before.finish()
        # What an earlier batch left in the other rows is computed on as well, and not looked at.
        request.get_input_tensor().data[: len(images)] = images
        part = _Part(request)
        self._requests[-1] = request, part
        request.start_async()
        return part


class _Part:
    """Some images that are under way."""

    def __init__(self, request: openvino.InferRequest | None = None) -> None:
        self._request = request
        self._made: list[np.ndarray] = []
        self._error: RuntimeError | None = None

    def finish(self) -> None:
        """Waits until they are done, and copies what was made, since the request's own memory is used again."""
        if self._request is None:
            return
        request, self._request = self._request, None
        try:
            request.wait()
            self._made = [np.array(tensor.data, np.float32) for tensor in request.output_tensors]
        except RuntimeError as error:
            self._error = error

    def result(self) -> list[np.ndarray]:
        """Waits for the outputs; RuntimeError where the graph could not be run."""
        self.finish()
        if self._error is not None:
            raise self._error
        return self._made

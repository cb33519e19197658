"""A graph that OpenVINO has compiled for this processor, at work on batches of any size."""

from __future__ import annotations

from typing import Any

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
        self._queue: Any = openvino.AsyncInferQueue(openvino.Core().compile_model(model, "CPU", settings), streams)

    def __call__(self, images: torch.Tensor) -> dict[str, np.ndarray]:
        """Float32 (B, ...) by output, of a batch (B, ...) of the type and size that the graph takes."""
        parts = images.split(self.batch)
        made: list[list[np.ndarray]] = [[] for _ in parts]

        def keep(request: Any, number: int) -> None:
            # Copied, since the request's own memory is used again at once.
            outputs = [request.get_output_tensor(place) for place in range(len(self.outputs))]
            made[number] = [output.data.astype(np.float32) for output in outputs]

        self._queue.set_callback(keep)
        for number, part in enumerate(parts):
            request = self._queue[self._queue.get_idle_request_id()]
            # What an earlier batch left in the other rows is computed on as well, and not looked at.
            request.get_input_tensor().data[: len(part)] = part.numpy()
            self._queue.start_async(userdata=number)
        self._queue.wait_all()
        whole = zip(self.outputs, *made, strict=True)
        return {name: np.concatenate(matrices)[: len(images)] for name, *matrices in whole}

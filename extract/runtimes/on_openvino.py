"""OpenVINO, on CPUs: the network as a graph that is compiled for the processor."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ...base.text import first_line
from ..device import OPENVINO_STREAMS, Precision, openvino_batch
from .converted_models import ConvertedModel
from .interface import Vectors
from .on_torch import TorchEmbedder, filled_up

if TYPE_CHECKING:
    import openvino

_CPU = torch.device("cpu")
# How far a vector may be from torch's in fp32, as a share of its length. Rounding alone gives 1e-5 and, in bf16, a few
# hundredths; a graph in which something was lost gives another vector altogether.
_MAY_DIFFER = {"fp32": 0.01, "bf16": 0.15}


class ConversionError(Exception):
    """A network that OpenVINO cannot run, or does not run right."""


class OpenVinoEmbedder:
    """Runs in OpenVINO, always the same number of images at once.

    With one fixed shape its memory is planned when it is compiled, and an image's vector cannot depend on how many
    others come with it. Several such batches are under way at once, each on a share of the threads.
    """

    def __init__(self, model: openvino.Model, poolings: tuple[str, ...], precision: Precision) -> None:
        """Compiles `model`, whose one input is a batch of fixed size and whose outputs are the poolings in order."""
        import openvino

        threads = torch.get_num_threads()
        streams = min(threads, OPENVINO_STREAMS)
        settings = {
            "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision],
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": streams,
            # Pinned threads of two extractions on one machine would meet on the same cores.
            "ENABLE_CPU_PINNING": False,
        }
        self.poolings, self.batch = poolings, int(model.input(0).shape[0])
        self._queue: Any = openvino.AsyncInferQueue(openvino.Core().compile_model(model, "CPU", settings), streams)

    def __call__(self, images: torch.Tensor) -> dict[str, np.ndarray]:
        """See `Embedder`."""
        parts = images.split(self.batch)
        made: list[list[np.ndarray]] = [[] for _ in parts]

        def keep(request: Any, number: int) -> None:
            # Copied, since the request's own memory is used again at once.
            made[number] = [
                request.get_output_tensor(place).data.astype(np.float32) for place in range(len(self.poolings))
            ]

        self._queue.set_callback(keep)
        for number, part in enumerate(parts):
            self._queue.start_async({0: filled_up(part, self.batch).numpy()}, number)
        self._queue.wait_all()
        whole = zip(self.poolings, *made, strict=True)
        return {pooling: np.concatenate(matrices)[: len(images)] for pooling, *matrices in whole}


def start_openvino(vectors: Vectors, precision: Precision, store: ConvertedModel) -> OpenVinoEmbedder:
    """A network at work in OpenVINO; its conversion is taken from `store`, or done and put there.

    Raises:
        ConversionError: OpenVINO cannot convert or compile the network, or gives other vectors than torch.
    """
    probe = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, *vectors.shape), dtype=np.uint8))
    expected = TorchEmbedder(vectors, _CPU, "fp32")(probe)
    kept = store.load()
    if kept is not None:
        try:
            return _checked(kept, vectors, precision, probe, expected)
        except ConversionError:
            store.remove()  # of another state of our own code, say; the conversion of today's decides
    model = convert(vectors, (openvino_batch(vectors.shape[1:]), *vectors.shape))
    store.save(model)
    try:
        # As kept, since constants are folded in another order in the graph that was just made: 1e-6 to the vectors.
        return _checked(store.load() or model, vectors, precision, probe, expected)
    except ConversionError:
        store.remove()
        raise


def convert(vectors: Vectors, shape: tuple[int, int, int, int]) -> openvino.Model:
    """The network as OpenVINO's graph for one shape of uint8 input.

    Goes to the converter that `openvino.convert_model` calls, and past that function, which reports each use of it to
    its makers: nothing leaves a hospital's machine from here.

    Raises:
        ConversionError: something in the network has no counterpart there.
    """
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    example = torch.zeros(shape, dtype=torch.uint8)
    with (
        torch.inference_mode(),
        warnings.catch_warnings(action="ignore"),
    ):  # the tracer's, of shapes that are fixed here
        try:
            decoder = TorchScriptPythonDecoder(vectors, example_input=example)
            frontend = FrontEndManager().load_by_framework("pytorch")
            model = frontend.convert(frontend.load(decoder))
            model.reshape(list(shape))
        except Exception as error:  # whatever stops a converter, torch can do without it
            raise ConversionError(f"it cannot be converted ({_reason(error)})") from error
    return model


def _checked(
    model: openvino.Model,
    vectors: Vectors,
    precision: Precision,
    probe: torch.Tensor,
    expected: dict[str, np.ndarray],
) -> OpenVinoEmbedder:
    """Compiles a graph and compares one vector of each pooling with torch's."""
    try:
        embedder = OpenVinoEmbedder(model, vectors.poolings, precision)
        made = embedder(probe)
    except Exception as error:  # whatever stops a compiler, torch can do without it
        raise ConversionError(f"it cannot be compiled ({_reason(error)})") from error
    for pooling, vector in expected.items():
        near = made[pooling].shape == vector.shape
        if not near or not _is_near(made[pooling], vector, _MAY_DIFFER[precision]):
            raise ConversionError(f'its "{pooling}" is another vector there than in torch')
    return embedder


def _is_near(made: np.ndarray, expected: np.ndarray, share: float) -> bool:
    return bool(np.linalg.norm(made - expected) <= share * np.linalg.norm(expected) + 1e-6)


def _reason(error: Exception) -> str:
    """The first line that says something; OpenVINO's messages begin with the place in its own source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [
        line for line in lines if not line.startswith(("Check '", "Exception from", "Exception:", "Couldn't get"))
    ]
    return first_line(Exception((telling or lines or [type(error).__name__])[0]))

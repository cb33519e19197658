"""Networks in ONNX files, run by OpenVINO."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...base import BackboneError, WeightsError, one_of
from ...base.files import sha256_of
from ...base.text import first_line, install_command
from ..catalogue import Entry
from ..device import openvino_batch, openvino_reason
from .own_file import FileAdapter, file_of
from .own_outputs import pooling_name

_CONTROL_FLOW = {"If", "Loop", "Scan", "SequenceMap"}


class OnnxAdapter(FileAdapter):
    """`onnx:FILE`, with the files of its external data beside it."""

    runtime = "openvino"

    def read(self, file: Path) -> nn.Module:
        return OnnxNetwork(file)

    def digest(self, network: Any, entry: Entry) -> str:
        """SHA-256 of the file, or of it and of those with its external data."""
        files = [file_of(entry), *network.external]
        digests = [sha256_of(file) for file in files]
        return digests[0] if len(digests) == 1 else sha256("".join(digests).encode()).hexdigest()


class OnnxNetwork(nn.Module):
    """A graph of ONNX; compiled when its first batch shows the size of the images."""

    def __init__(self, file: Path) -> None:
        """Reads the graph.

        Raises:
            BackboneError: OpenVINO is not installed.
            WeightsError: there is no such file, it is damaged, not of one input, branches, or refers to files that are
                not beside it.
        """
        super().__init__()
        try:
            import openvino
        except ModuleNotFoundError:
            raise BackboneError(
                f"OpenVINO runs ONNX files, and it is not installed; {install_command('openvino')}."
            ) from None
        self.external = _checked(file)
        """The files of its external data, by name."""
        try:
            self._model = openvino.Core().read_model(file)
        except RuntimeError as error:
            raise WeightsError(f"{file.name}: OpenVINO cannot read it ({openvino_reason(error)}).") from error
        shape = self._model.inputs[0].get_partial_shape()
        if shape.rank.is_dynamic or len(shape) != 4:
            raise WeightsError(f"{file.name}: its input is {shape}, and not a batch of images (B, C, H, W).")
        self.input_shape = tuple(size.get_length() if size.is_static else None for size in shape)
        names = [
            pooling_name(min(one.get_names(), default=f"output{n}")) for n, one in enumerate(self._model.outputs, 1)
        ]
        self.outputs = tuple(names)
        self._where, self._compiled = file.name, None

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """The outputs by name, of a normalised batch (B, C, H, W)."""
        if torch.jit.is_tracing():  # pyright: ignore[reportPrivateImportUsage]
            raise BackboneError("OpenVINO runs this network, so that torch can neither convert nor export it.")
        compiled = self._compiled or self._compile(tuple(images.shape[1:]))
        return {name: torch.from_numpy(values) for name, values in compiled(images).items()}

    def _compile(self, shape: tuple[int, ...]) -> Any:
        from openvino import Type
        from openvino.preprocess import PrePostProcessor

        from ..compiled_graph import CompiledGraph

        try:
            steps = PrePostProcessor(self._model)
            steps.input().tensor().set_element_type(Type.f32)
            model = steps.build()
            model.reshape([self.input_shape[0] or openvino_batch((shape[1], shape[2])), *shape])
            self._compiled = CompiledGraph(model, self.outputs, "fp32")
        except RuntimeError as error:
            raise WeightsError(f"{self._where}: OpenVINO cannot run it ({openvino_reason(error)}).") from error
        return self._compiled


def _checked(file: Path) -> list[Path]:
    """Looks through a graph before anything else reads it; the files of its external data."""
    import onnx
    from google.protobuf.message import DecodeError

    if not file.is_file():
        raise WeightsError(f"{file}: no such file.")
    try:
        model = onnx.load(file, load_external_data=False)
    except (DecodeError, OSError, ValueError) as error:
        raise WeightsError(f"{file.name}: not a whole ONNX file ({first_line(error)}).") from error
    if not model.graph.output:
        raise WeightsError(f"{file.name}: not a whole ONNX file (it has no output).")
    branching = _CONTROL_FLOW & {node.op_type for node in _nodes(model)}
    if branching:
        raise WeightsError(
            f"{file.name}: its graph has control flow ({one_of(sorted(branching))}), with which a vector may depend on "
            "the other images of its batch; it is refused. Export the network without, for a fixed image size."
        )
    held = {tensor.name for tensor in model.graph.initializer}
    inputs = [one.name for one in model.graph.input if one.name not in held]
    if len(inputs) != 1:
        raise WeightsError(
            f"{file.name}: it takes {one_of(inputs) or 'nothing'}; a backbone takes one batch of images."
        )
    return _external(model, file)


def _nodes(model: Any) -> Iterator[Any]:
    """All nodes, of functions too; those of branches are inside a node that is refused."""
    yield from model.graph.node
    for function in model.functions:
        yield from function.node


def _external(model: Any, file: Path) -> list[Path]:
    """The files that tensors are in; each is in the same folder, so that no path of a file leads elsewhere."""
    tensors = [*model.graph.initializer]
    for node in _nodes(model):
        tensors += [found for one in node.attribute for found in (one.t, *one.tensors)]
    names = sorted(
        {e.value for one in tensors if one.data_location == 1 for e in one.external_data if e.key == "location"}
    )
    for name in names:
        if Path(name).name != name:
            raise WeightsError(
                f'{file.name}: its tensors are in "{name}", which is not in its own folder; it is refused. '
                "`onnx.save(onnx.load(FILE), NEW_FILE)` puts them into one file."
            )
        if not file.with_name(name).is_file():
            raise WeightsError(f"{file.name}: its tensors are in {name}, which is missing; put it beside the file.")
    return [file.with_name(name) for name in names]

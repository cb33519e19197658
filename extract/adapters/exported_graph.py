"""A network of `torch.export`, run one operation of ATen after the other, from its JSON."""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch._ops import OpOverload

from ...base import WeightsError, one_of
from ..weights.exported_file import DTYPES, ExportedFile

_ATEN = re.compile(r"torch\.ops\.aten\.(_?[a-z][A-Za-z0-9_]*)\.([A-Za-z][A-Za-z0-9_]*)")
_REFUSED = {"from_file"}
"""Operations of ATen that do more than compute."""
_LAYOUTS = {7: torch.strided}
_MEMORY_FORMATS = {
    1: torch.contiguous_format,
    2: torch.channels_last,
    3: torch.channels_last_3d,
    4: torch.preserve_format,
}
_NUMBERS = (
    *("getitem", "add", "sub", "mul", "floordiv", "mod", "neg", "truediv", "pow"),
    *("eq", "ne", "le", "lt", "ge", "gt"),
)
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{f"_operator.{name}": getattr(operator, name) for name in _NUMBERS},
    "torch.sym_int": int,
    "torch.sym_float": float,
    "torch.sym_max": max,
    "torch.sym_min": min,
    "math.trunc": int,
}
_CHECKS = ("torch.ops.aten._assert", "torch.ops.aten.sym_constrain")
"""What export adds to compare sizes and types with those of its example; here they may differ (autocast)."""

Value = Any
"""Of a graph: a tensor, several, or a number."""


class ExportedGraph(nn.Module):
    """A graph with its weights. `input_shape` has None where a size was exported as dynamic."""

    def __init__(self, file: ExportedFile, where: str) -> None:
        """Reads the graph; `where` names the file in errors.

        Raises:
            WeightsError: it takes something else than one batch of images, changes its own state, branches, or calls
                an operation that is not one of ATen.
        """
        super().__init__()
        graph, signature = (file.program["graph_module"][name] for name in ("graph", "signature"))
        self._constants: dict[str, Any] = {}
        image = self._take_inputs(file, signature["input_specs"], where)
        self.image = image
        self.input_shape = tuple(size.get("as_int") for size in graph["tensor_values"][image]["sizes"])
        if len(self.input_shape) != 4 or DTYPES[graph["tensor_values"][image]["dtype"]] != torch.float32:
            raise WeightsError(f"{where}: its input is not one batch of images, float32 (B, C, H, W).")
        self.outputs = _named_outputs(file.program, signature["output_specs"], where)
        self._steps = [_Step(node, where) for node in graph["nodes"] if not node["target"].startswith(_CHECKS)]
        self._free_early()

    def _take_inputs(self, file: ExportedFile, specs: Sequence[Mapping[str, Any]], where: str) -> str:
        """Registers weights under the names that the graph has for them; the name of the input that is left."""
        images = []
        for spec in specs:
            [(kind, given)] = spec.items()
            if kind in ("parameter", "buffer", "tensor_constant"):
                key = given[f"{kind}_name"]
                tensor = file.weights[key] if key in file.weights else file.constants[key]
                self.register_buffer(given["arg"]["name"], tensor)
            elif kind == "constant_input":
                self._constants[given["name"]] = next(iter(given["value"].values()))
            elif kind == "user_input" and "as_tensor" in given["arg"]:
                images.append(given["arg"]["as_tensor"]["name"])
            else:
                raise WeightsError(f"{where}: it takes or holds what is no tensor ({kind}); export a network without.")
        if len(images) != 1:
            raise WeightsError(f"{where}: it takes {len(images)} tensors; a backbone takes one batch of images.")
        return images[0]

    def _free_early(self) -> None:
        """Notes after which step each value is not needed any more, as a batch of activations fills a GPU."""
        last = {name: number for number, step in enumerate(self._steps) for name in step.needs}
        kept = {*self.outputs.values(), *self._buffers, *self._constants}
        for name, number in last.items():
            if name not in kept:
                self._steps[number].frees.append(name)

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """The outputs by name, of a normalised batch (B, C, H, W)."""
        values: dict[str, Value] = {**dict(self.named_buffers()), **self._constants, self.image: images}
        for step in self._steps:
            step.run(values, images.device)
        return {name: values[value] for name, value in self.outputs.items()}


class _Step:
    """One operation."""

    def __init__(self, node: Mapping[str, Any], where: str) -> None:
        self.function = _function(node["target"], where)
        self.needs: set[str] = set()
        self.frees: list[str] = []
        self._positional, self._named = [], {}
        for given in node["inputs"]:
            read = self._argument(given["arg"], where)
            if given.get("kind") == 2:
                self._named[given["name"]] = read
            else:
                self._positional.append(read)
        self._outputs = [_output(one, where) for one in node["outputs"]]

    def run(self, values: dict[str, Value], device: torch.device) -> None:
        named = {name: read(values, device) for name, read in self._named.items()}
        made = self.function(*(read(values, device) for read in self._positional), **named)
        for names, value in zip(self._outputs, [made] if len(self._outputs) == 1 else made, strict=True):
            if isinstance(names, str):
                values[names] = value
            else:
                values.update(zip(names, value, strict=True))
        for name in self.frees:
            del values[name]

    def _argument(self, given: Mapping[str, Any], where: str) -> Callable[[Mapping[str, Value], torch.device], Value]:
        """What reads one argument from the values that are there."""
        [(kind, content)] = given.items()
        if kind in ("as_tensor", "as_optional_tensor", "as_sym_int", "as_sym_float", "as_sym_bool"):
            return self._one(content)
        if kind in ("as_tensors", "as_optional_tensors", "as_sym_ints", "as_sym_floats", "as_sym_bools"):
            several = [self._one(one) for one in content]
            return lambda values, device: [read(values, device) for read in several]
        if kind == "as_none":
            return lambda values, device: None
        if kind == "as_device":
            # That of the example; here the network runs where its images are.
            return lambda values, device: device
        if kind in ("as_int", "as_ints", "as_float", "as_floats", "as_bool", "as_bools", "as_string", "as_strings"):
            return lambda values, device: content
        tables = {
            "as_scalar_type": DTYPES.__getitem__,
            "as_layout": _LAYOUTS.get,
            "as_memory_format": _MEMORY_FORMATS.get,
        }
        if kind not in tables:
            raise WeightsError(_refusal(where, f"an argument of the kind {kind.removeprefix('as_')}"))
        value = tables[kind](content)
        return lambda values, device: value

    def _one(self, given: Mapping[str, Any]) -> Callable[[Mapping[str, Value], torch.device], Value]:
        """Reads a tensor or a number by name, or a number as it is."""
        if "as_tensor" in given:
            given = given["as_tensor"]
        name = given.get("name", given.get("as_name"))
        if name is None:
            [(kind, value)] = given.items()
            return lambda values, device: None if kind == "as_none" else value
        self.needs.add(name)
        return lambda values, device: values[name]


def _refusal(where: str, what: str) -> str:
    return (
        f"{where}: its graph has {what}, which is not run. Control flow (torch.cond, a loop, `with torch.no_grad()` "
        "inside `forward`) and custom operations are exported so; export the network without, in evaluation mode."
    )


def _function(target: str, where: str) -> Callable[..., Any]:
    if target in _FUNCTIONS:
        return _FUNCTIONS[target]
    match = _ATEN.fullmatch(target)
    if match and match[1] not in _REFUSED:
        found = getattr(getattr(torch.ops.aten, match[1], None), match[2], None)
        if isinstance(found, OpOverload):
            return found
    raise WeightsError(_refusal(where, f"the operation {target}"))


def _output(given: Mapping[str, Any], where: str) -> str | list[str]:
    """The name of what a step gives, or the names of several together."""
    [(kind, content)] = given.items()
    if kind == "as_tensors":
        return [one["name"] for one in content]
    if kind in ("as_tensor", "as_sym_int", "as_sym_float", "as_sym_bool"):
        return str(content.get("name", content.get("as_name")))
    raise WeightsError(_refusal(where, f"an output of the kind {kind.removeprefix('as_')}"))


def _named_outputs(program: Mapping[str, Any], specs: Sequence[Mapping[str, Any]], where: str) -> dict[str, str]:
    """The graph's names of the outputs, by the keys of a dict that the network gave, or `output1`, `output2` ..."""
    changing = [kind for spec in specs for kind in spec if kind != "user_output"]
    if changing:
        raise WeightsError(f"{where}: it changes its own state ({one_of(set(changing))}); export it after .eval().")
    values = [
        spec["user_output"]["arg"]["as_tensor"]["name"] for spec in specs if "as_tensor" in spec["user_output"]["arg"]
    ]
    if not values:
        raise WeightsError(f"{where}: it gives no tensor.")
    calls = program["graph_module"]["module_call_graph"]
    layout = json.loads(calls[0]["signature"]["out_spec"])[1]
    keys = json.loads(layout["context"] or "null")
    if not (isinstance(keys, list) and len(keys) == len(values) and all(isinstance(key, str) for key in keys)):
        keys = [f"output{number}" for number in range(1, len(values) + 1)]
    return dict(zip(keys, values, strict=True))

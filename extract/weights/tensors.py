"""Tensors out of files, read as data: nothing that a file holds is ever executed."""

from __future__ import annotations

import argparse
import pickle
import re
import warnings
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from ...base import WeightsError, one_of
from ...base.text import first_line
from ..catalogue import Local
from .download import WEIGHT_SUFFIXES

Tensors = dict[str, torch.Tensor]

_WRAPPERS = ("state_dict", "model", "teacher", "module", "model_state_dict")
"""Keys under which training codes put the parameters next to an optimiser and an epoch."""


def read_tensors(path: Path) -> Tensors:
    """The named tensors of a weights file, or of the one such file in a folder.

    DINOv2's linear head, which its authors publish as a file of its own (`*_linear_head.pth`, `*_linear4_head.pth`),
    may lie in the folder as well; its tensors are then `linear_head.*`.

    Raises:
        WeightsError: there is no such file, it holds more than tensors (a pickle that would run code is refused), or
            it is damaged.
    """
    if path.is_dir():
        return {name: value for file in _files_in(path) for name, value in read_tensors(file).items()}
    if not path.is_file():
        raise WeightsError(f"{path}: no such file or folder of weights.")
    kind, read = _READERS.get(path.suffix, ("PyTorch", _read_pickle))
    try:
        tensors = read(path)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise WeightsError(f"{path.name}: {_why_unreadable(kind, error)}") from error
    is_head = tensors.keys() == {"weight", "bias"} and tensors["weight"].ndim == 2
    return {f"linear_head.{name}": value for name, value in tensors.items()} if is_head else tensors


def read_local(weights: Local) -> Tensors:
    """The named tensors of a user's file or folder, of those under its prefix if it has one; else a WeightsError."""
    tensors = read_tensors(weights.path)
    if not weights.prefix:
        return tensors
    found = part(tensors, weights.prefix)
    if not found:
        begins = dict.fromkeys(name[: name.find(".") + 1] or name for name in tensors)
        raise WeightsError(
            f"{weights.path.name}: no tensor's name begins with {weights.prefix}; they begin with "
            f"{one_of(begins, most=4)}."
        )
    return found


def _files_in(folder: Path) -> list[Path]:
    """The file of weights in a folder, and that of a linear head next to it if there is one."""
    found = sorted(file for file in folder.iterdir() if file.suffix in WEIGHT_SUFFIXES)
    heads = [file for file in found if re.search(r"_linear4?_head$", file.stem)]
    bodies = [file for file in found if file not in heads]
    bodies = [file for file in bodies if file.suffix == ".safetensors"] or bodies
    if len(bodies) != 1 or len(heads) > 1:
        listed = one_of(file.name for file in found) or "none"
        raise WeightsError(
            f"{folder}: one file of weights is needed ({', '.join(WEIGHT_SUFFIXES)}), beside it one of a linear head "
            f"at most; there are: {listed}."
        )
    return bodies + heads


def _why_unreadable(kind: str, error: Exception) -> str:
    if isinstance(error, pickle.UnpicklingError) or "weights_only" in str(error):
        return (
            "is damaged (a web page or a git-lfs pointer, say) or holds more than tensors, such as code, which is "
            "refused and never executed. Download it again, ask for a safetensors file, or save its state dict alone "
            "with torch.save, or the whole network with torch.export.save, for pt2:FILE."
        )
    return f"not a whole {kind} file ({first_line(error)})."


def _read_pickle(file: Path) -> Tensors:
    # The options of a run, which MAE's code and its heirs store next to the weights: attributes and no more.
    with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of TorchScript, which is refused below
        content = torch.load(file, map_location="cpu", weights_only=True)
    if not isinstance(content, Mapping):
        raise WeightsError(f"{file.name}: holds a {type(content).__name__}, not named tensors.")
    named = _unwrapped(content)
    if not named:
        raise WeightsError(f"{file.name}: holds no tensors; its keys are {one_of(map(str, content))}.")
    return named


def _unwrapped(content: Mapping[Any, Any]) -> Tensors:
    """The tensors inside the wrappers of a training code, whose epoch or loss may be a tensor too; empty if none."""
    for key in _WRAPPERS:
        inner = content.get(key)
        if isinstance(inner, Mapping) and (named := _unwrapped(inner)):
            return named
    return {str(name): value for name, value in content.items() if isinstance(value, torch.Tensor)}


def _read_onnx(file: Path) -> Tensors:
    """The initialisers of an ONNX file; a nameless weight of a MatMul gets the node's path and is transposed.

    Exporters fold `linear.weight` into an anonymous, transposed constant; the MatMul's own name still tells the layer:
    `/encoder/layer.0/mlp/fc1/MatMul` becomes `encoder.layer.0.mlp.fc1.weight`.
    """
    import onnx
    from google.protobuf.message import DecodeError
    from onnx import numpy_helper

    try:
        graph = onnx.load(file).graph
    except DecodeError as error:
        raise ValueError(str(error)) from error
    # Copied, because what the parser hands out may not be written to.
    tensors = {item.name: torch.from_numpy(np.array(numpy_helper.to_array(item))) for item in graph.initializer}
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in tensors:
            layer = node.name.strip("/").removesuffix("/MatMul").replace("/", ".")
            tensors[f"{layer}.weight"] = tensors.pop(node.input[1]).T.contiguous()
    return tensors


_READERS = {".safetensors": ("safetensors", load_file), ".onnx": ("ONNX", _read_onnx)}
"""By suffix; every other file is one of PyTorch."""


def tensors_digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes in order of name: the weights' identity, whatever file held them."""
    hasher = sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        hasher.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        hasher.update(tensor.flatten().view(torch.uint8).numpy().data)
    return hasher.hexdigest()


def rename(tensors: Tensors, *rules: tuple[str, str]) -> Tensors:
    """The same tensors under names in which each pattern, in this order, is replaced."""
    renamed: Tensors = {}
    for name, value in tensors.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        if name in renamed:
            raise WeightsError(f"holds two networks: two of its tensors are {name}. Save the one that is meant alone.")
        renamed[name] = value
    return renamed


def without(tensors: Tensors, pattern: str) -> Tensors:
    """The tensors of which the pattern does not match the name's beginning."""
    return {name: value for name, value in tensors.items() if not re.match(pattern, name)}


def part(tensors: Tensors, prefix: str) -> Tensors:
    """The tensors under a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

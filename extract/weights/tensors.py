"""Tensors out of files, read as data: nothing that a file holds is ever executed."""

from __future__ import annotations

import argparse
import pickle
import re
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...base import WeightsError, one_of
from ...base.text import first_line
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
        file, head = _files_in(path)
        return read_tensors(file) | (read_tensors(head) if head else {})
    file = path
    if not file.is_file():
        raise WeightsError(f"{path}: no such file or folder of weights.")
    if file.suffix == ".safetensors":
        tensors = _read_safetensors(file)
    elif file.suffix == ".onnx":
        tensors = read_onnx(file)
    else:
        tensors = _parameters(_load_pickle(file), file)
    return {f"linear_head.{name}": value for name, value in tensors.items()} if _is_head(tensors) else tensors


def _is_head(tensors: Tensors) -> bool:
    """Whether this is nothing but one linear layer, as DINOv2's head is published."""
    return tensors.keys() == {"weight", "bias"} and tensors["weight"].ndim == 2


def _files_in(folder: Path) -> tuple[Path, Path | None]:
    """The file of weights in a folder, and that of a linear head next to it if there is one."""
    found = sorted(file for file in folder.iterdir() if file.suffix in WEIGHT_SUFFIXES)
    heads = [file for file in found if re.search(r"_linear4?_head$", file.stem)]
    bodies = [file for file in found if file not in heads]
    safe = [file for file in bodies if file.suffix == ".safetensors"]
    if len(safe or bodies) != 1 or len(heads) > 1:
        listed = one_of(file.name for file in found) or "none"
        raise WeightsError(
            f"{folder}: one file of weights is needed ({', '.join(WEIGHT_SUFFIXES)}), beside it one of a linear head "
            f"at most; there are: {listed}."
        )
    return (safe or bodies)[0], heads[0] if heads else None


def _read_safetensors(file: Path) -> Tensors:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        _refuse_what_is_no_weights(file)
        raise WeightsError(f"{file.name}: not a whole safetensors file ({error}).") from error


def _load_pickle(file: Path) -> Any:
    try:
        # The options of a run, which MAE's code and its heirs store next to the weights: attributes and no more.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        _refuse_what_is_no_pytorch_file(file)
        raise WeightsError(
            f"{file.name}: holds more than tensors, and reading it would run code of its author's choosing; it is "
            "refused. Ask for a safetensors file, or save its state dict alone with torch.save."
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        if "TorchScript" in str(error):
            raise WeightsError(
                f"{file.name}: a TorchScript archive, which holds code besides its tensors; it is refused. Ask for a "
                "safetensors file, or where you trust it save `torch.jit.load(file).state_dict()` with torch.save."
            ) from error
        _refuse_what_is_no_pytorch_file(file)
        raise WeightsError(f"{file.name}: not a whole PyTorch file ({first_line(error)}).") from error


_BEGINNINGS = (b"PK\x03\x04", b"\x80")
"""Of the archives that torch.save writes, and of the pickles that it wrote before PyTorch 1.6."""


def _refuse_what_is_no_pytorch_file(file: Path) -> None:
    """A failed download is damaged and not malicious, which is what reading it as a pickle would make of it."""
    _refuse_what_is_no_weights(file)
    beginning = _beginning(file)
    if beginning and not beginning.startswith(_BEGINNINGS):
        raise WeightsError(f"{file.name}: not a PyTorch file; it begins with {beginning[:8]!r}.")


def _refuse_what_is_no_weights(file: Path) -> None:
    """What a download leaves in the place of a file of weights, whatever its suffix."""
    beginning = _beginning(file).lstrip().lower()
    if beginning.startswith(b"version https://git-lfs"):
        raise WeightsError(
            f"{file.name}: holds no weights but a git-lfs pointer to them. Run `git lfs pull` in the repository that "
            "it is from, or download the file itself."
        )
    if beginning.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise WeightsError(
            f"{file.name}: holds no weights but a web page, as a download leaves it that needs a login or a "
            "confirmation. Open the address in a browser and save the file itself."
        )


def _beginning(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(64)


def _parameters(content: Any, file: Path) -> Tensors:
    """The named tensors of what a PyTorch file holds."""
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


def read_onnx(file: Path) -> Tensors:
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
        _refuse_what_is_no_weights(file)
        raise WeightsError(f"{file.name}: not a whole ONNX file.") from error
    # Copied, because what the parser hands out may not be written to.
    tensors = {item.name: torch.from_numpy(np.array(numpy_helper.to_array(item))) for item in graph.initializer}
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in tensors:
            layer = node.name.strip("/").removesuffix("/MatMul").replace("/", ".")
            tensors[f"{layer}.weight"] = tensors.pop(node.input[1]).T.contiguous()
    return tensors


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
        renamed[name] = value
    return renamed


def without(tensors: Tensors, *patterns: str) -> Tensors:
    """The tensors of which no pattern matches the name's beginning."""
    return {name: value for name, value in tensors.items() if not any(re.match(each, name) for each in patterns)}


def part(tensors: Tensors, prefix: str) -> Tensors:
    """The tensors under a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

"""What a network gives and what of it counts, tried on torch's meta device, where nothing is computed or held."""

from __future__ import annotations

from copy import deepcopy
from itertools import chain
from typing import TypeVar

import torch
from torch import nn

from ...extract.runtimes import Vectors

Module = TypeVar("Module", bound=nn.Module)


def on_meta(module: Module) -> Module:
    """A copy without values."""
    shapes: dict[int, object] = {}
    for _, tensor in chain(module.named_parameters(), module.named_buffers()):
        empty = torch.empty_like(tensor, device="meta")
        shapes[id(tensor)] = nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty
    return deepcopy(module, shapes)


def try_vectors(vectors: Vectors) -> torch.Tensor:
    """The vectors (1, D), or tokens (1, N, D), of one image, without values."""
    return vectors(torch.empty(1, *vectors.shape, dtype=torch.uint8, device="meta"))[0]


def needed_parameters(vectors: Vectors) -> tuple[set[str], torch.Size]:
    """Names of the parameters of `vectors.network` that its vectors depend on, and the shape of those of one image.

    The others are of no use to train: SAM's neck where the vector is a mean of tokens, a projection where it is the
    class token before it.
    """
    copy = on_meta(vectors).eval().requires_grad_()
    names, values = zip(*copy.network.named_parameters(), strict=True)
    with torch.inference_mode(False), torch.enable_grad():
        made = try_vectors(copy)
        gradients = torch.autograd.grad(made.sum(), values, allow_unused=True)
    return {name for name, gradient in zip(names, gradients, strict=True) if gradient is not None}, made.shape


def called_modules(vectors: Vectors) -> set[str]:
    """Names of the modules of `vectors.network` that run; others may lend their weights to the one around them."""
    copy, called = on_meta(vectors).eval(), set[str]()
    for name, module in copy.network.named_modules():
        module.register_forward_pre_hook(lambda *_, name=name: called.add(name))
    try_vectors(copy)
    return called

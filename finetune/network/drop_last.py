"""A backbone without its last blocks: what they hold is gone, and the vector is taken where the rest ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import replace

import torch
from torch import nn

from ...base import BackboneError
from ...base.errors import FinetuneError
from ...extract.adapters import Wanted
from ...extract.pooling import Recipe, Term, available, read_pooling
from ...extract.runtimes import Vectors
from .blocks import Blocks
from .trial import on_meta, try_vectors

_DOES_NOT_FIT = (RuntimeError, ValueError, TypeError, AssertionError, AttributeError, LookupError, BackboneError)
"""What libraries raise where a layer gets another shape than its own, or a stage is not there."""


def drop_last(vectors: Vectors, count: int) -> None:
    """Takes the last `count` blocks out of `vectors.network`.

    What comes after them stays where it takes what the last kept block gives, as the last norm of a transformer does:
    then the vector is what the same pooling of that block is. Else it is left out too, and the vector is the mean of
    the last kept block's map.

    Raises:
        FinetuneError: the network does not run without them.
    """
    network, adapter, pooling = vectors.network, vectors.adapter, vectors.poolings[0]
    blocks = Blocks.of(network, adapter.group_matcher(network))
    inside = adapter.inside(network)
    inside = replace(inside, blocks=max(0, inside.blocks - count))
    _take_out(network, blocks.last(count))
    if _takes(vectors, pooling, lambda there: read_pooling("", pooling, there, inside)):
        return
    if _takes(vectors, "mean", lambda _: (Term("mean"),)):
        return
    _take_out(network, blocks.tail)
    if not _takes(vectors, "mean", lambda _: (Term("mean"),)):
        raise FinetuneError(f"this network does not run without its last {count} blocks; use a mode without drop-last.")


def _takes(vectors: Vectors, pooling: str, recipe_of: Callable[[Sequence[str]], Recipe]) -> bool:
    """Whether the network runs with that recipe, which it then has."""
    trial = on_meta(vectors)
    try:
        batch = torch.empty(1, 3 if vectors.red_filters else vectors.shape[0], *vectors.shape[1:], device="meta")
        recipe = recipe_of(available(vectors.adapter.features(trial.network, batch, Wanted())))
        trial.recipes = [recipe]
        try_vectors(trial)
    except _DOES_NOT_FIT:
        return False
    vectors.poolings, vectors.recipes = (pooling,), [recipe]
    return True


def _take_out(network: nn.Module, names: Set[str]) -> None:
    """Takes out the modules all of whose parameters have these names; where something calls them, nothing is done."""
    for name, module in list(network.named_modules()):
        own = [f"{name}.{each}" for each, _ in module.named_parameters()]
        if not name or not own or not names >= set(own):
            continue
        parent_name, _, key = name.rpartition(".")
        try:
            parent = network.get_submodule(parent_name)
        except AttributeError:
            continue  # taken out with what it was in
        if isinstance(parent, nn.Sequential | nn.ModuleList | nn.ModuleDict):
            delattr(parent, key)
        else:
            setattr(parent, key, _Passed())
    # What follows may be a second activation on the same values, and of those that work in place the first would lose
    # what its gradient needs.
    for module in network.modules():
        if getattr(module, "inplace", False):
            module.inplace = False  # pyright: ignore[reportArgumentType]


class _Passed(nn.Module):
    """In place of what is taken out: gives what it is given, whatever else the call holds."""

    def forward(self, values: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        return values

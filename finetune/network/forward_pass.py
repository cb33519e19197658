"""A forward pass as the calls of its modules: watched, with shapes for any number of images, and partly replaced."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

FEW, MORE = 2, 3
"""Images of the two runs that show which shapes follow the number of images."""


class ShapeError(Exception):
    """Something does not follow the number of images in a way that is understood."""


@dataclass(frozen=True)
class Leaf:
    """One value among the arguments or outputs of a module."""

    value: Any
    """As it is for `FEW` images; a tensor is on the meta device."""
    dim: int = 0
    """The dimension that follows the number of images."""
    each: int = 0
    """Its length per image; 0 where the shape is the same for any number of images."""
    channels_last: bool = False

    @classmethod
    def of(cls, few: Any, more: Any) -> Leaf:
        """From what it is for `FEW` and for `MORE` images.

        Raises:
            ShapeError: it is another thing for another number of images.
        """
        if not isinstance(few, torch.Tensor):
            if isinstance(few, int | float | str) and few != more:
                raise ShapeError
            return cls(few)
        dims = [dim for dim, (one, other) in enumerate(zip(few.shape, more.shape, strict=True)) if one != other]
        if not dims:
            return cls(few)
        each, rest = divmod(few.shape[dims[0]], FEW)
        if len(dims) > 1 or rest or more.shape[dims[0]] != each * MORE:
            raise ShapeError
        last = few.ndim == 4 and few.is_contiguous(memory_format=torch.channels_last) and not few.is_contiguous()
        return cls(few, dims[0], each, last)

    @property
    def per_image(self) -> bool:
        """Whether it has values for each image."""
        return self.each > 0

    def to_rows(self, value: torch.Tensor) -> torch.Tensor:
        """`value` with images as the first dimension."""
        rows = value if self.each == 1 else value.unflatten(self.dim, (-1, self.each))
        return rows.movedim(self.dim, 0)

    def from_rows(self, rows: torch.Tensor) -> torch.Tensor:
        """What `to_rows` was given, in its own type and memory format."""
        value = rows.movedim(0, self.dim)
        value = value if self.each == 1 else value.flatten(self.dim, self.dim + 1)
        layout = torch.channels_last if self.channels_last else torch.preserve_format
        return value.to(self.value.dtype, memory_format=layout)

    def zeros(self, count: int, device: torch.device) -> Any:
        """Zeros for `count` images that take no memory; the value itself if it is not a tensor."""
        if not isinstance(self.value, torch.Tensor):
            return self.value
        shape = list(self.value.shape)
        if self.per_image:
            shape[self.dim] = self.each * count
        return torch.zeros((), dtype=self.value.dtype, device=device).expand(shape)


@dataclass(frozen=True)
class Outputs:
    """What a module gave: values, and how they are put together."""

    leaves: list[Leaf]
    spec: TreeSpec

    def zeros(self, count: int, device: torch.device) -> Any:
        """The same for `count` images, with zeros in place of all tensors."""
        return tree_unflatten([leaf.zeros(count, device) for leaf in self.leaves], self.spec)


@dataclass(eq=False)
class Call:
    """One call of a module, in a run of `FEW` images."""

    module: nn.Module
    around: Call | None
    """The call that it was part of."""
    given: list[Any]
    inside: list[Call] = field(default_factory=list)
    """In the order in which they began."""
    gave: tuple[list[Any], TreeSpec] | None = None
    more: Call | None = None
    """The same call in the run of `MORE` images."""

    def arguments(self) -> list[Leaf]:
        """What the module was given."""
        assert self.more
        return [Leaf.of(few, more) for few, more in zip(self.given, self.more.given, strict=True)]

    def outputs(self) -> Outputs:
        """What the module gave."""
        assert self.gave
        assert self.more
        assert self.more.gave
        (leaves, spec), (others, _) = self.gave, self.more.gave
        return Outputs([Leaf.of(few, more) for few, more in zip(leaves, others, strict=True)], spec)

    def ended_before(self) -> Iterator[Call]:
        """The calls that had ended when this one began, without those inside them."""
        if self.around is not None:
            yield from self.around.ended_before()
            yield from self.around.inside[: self.around.inside.index(self)]


def watch(network: nn.Module, few: torch.Tensor, more: torch.Tensor) -> Call:
    """The call of `network` itself, with all those inside it; it is run with `FEW` and with `MORE` images.

    Raises:
        ShapeError: it calls other modules for another number of images.
    """
    calls, others = (_calls(network, images) for images in (few, more))
    if [call.module for call in calls] != [call.module for call in others]:
        raise ShapeError
    for call, other in zip(calls, others, strict=True):
        call.more = other
    return calls[0]


def _calls(network: nn.Module, images: torch.Tensor) -> list[Call]:
    """All calls, in the order in which they began."""
    calls: list[Call] = []
    under_way: list[Call] = []

    def begins(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        call = Call(module, under_way[-1] if under_way else None, _shapes((args, kwargs))[0])
        if call.around:
            call.around.inside.append(call)
        under_way.append(call)
        calls.append(call)

    def ends(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        under_way.pop().gave = _shapes(output)

    hooks = [module.register_forward_pre_hook(begins, with_kwargs=True) for module in network.modules()]
    hooks += [module.register_forward_hook(ends) for module in network.modules()]
    try:
        network(images)
    finally:
        for hook in hooks:
            hook.remove()
    return calls


def _shapes(values: Any) -> tuple[list[Any], TreeSpec]:
    """The values of arguments or outputs, tensors without their content, and how they are put together."""
    leaves, spec = tree_flatten(values)
    return [leaf.to("meta") if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves], spec


@contextmanager
def replaced(forwards: Mapping[nn.Module, Callable[..., Any]]) -> Iterator[None]:
    """Lets modules run other code than their `forward` meanwhile; their hooks stay."""
    own = {module: vars(module).get("forward") for module in forwards}
    try:
        for module, forward in forwards.items():
            module.forward = forward
        yield
    finally:
        for module, forward in own.items():
            if forward is None:
                del module.forward
            else:
                module.forward = forward

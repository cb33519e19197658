"""Modes: what of a backbone is trained besides the head, by the names that the command line and the tables use."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, cast

from torch import nn

from ...base import did_you_mean, one_of
from ...base.errors import FinetuneError
from .blocks import Blocks

Kind = Literal["linear", "mlp", "partial", "lora", "bitfit", "full"]

_NUMBERS: dict[Kind, int | None] = {"linear": None, "mlp": 256, "partial": 0, "lora": 8, "bitfit": None, "full": None}
"""The number that a mode takes if none is given: width of the hidden layer, blocks (0: it must be given), rank."""
_OFFERED = ("linear", "mlp[:256]", "partial:K", "lora[:8]", "bitfit", "full", "drop-last:K+MODE")


@dataclass(frozen=True)
class Mode:
    """What is trained: the head always, and of the backbone what `kind` says.

    | mode | trains |
    | --- | --- |
    | `linear` | a linear head |
    | `mlp[:256]` | a head with one hidden layer of that width and ReLU |
    | `partial:K` | the last K blocks, the tail and a linear head |
    | `lora[:8]` | low-rank updates of that rank, and a linear head |
    | `bitfit` | biases and norms, and a linear head |
    | `full` | everything |
    | `drop-last:K+MODE` | MODE on the backbone without its last K blocks; alone, `linear` |
    """

    kind: Kind
    number: int | None = None
    """Width of the hidden layer, number of blocks, or rank."""
    dropped: int = 0
    """Blocks that the backbone is without, from its end."""

    @classmethod
    def parse(cls, text: str) -> Mode:
        """The mode that a name stands for.

        Raises:
            FinetuneError: there is no such mode; lists those that there are.
        """
        first, plus, rest = text.partition("+")
        if first.startswith("drop-last"):
            dropped = _number(first.partition(":")[2])
            if not dropped or (plus and not rest):
                raise _no_such_mode(text)
            return cls(*_kind(rest or "linear", text), dropped=dropped)
        return cls(*_kind(text, text))

    @property
    def name(self) -> str:
        """The one name of this mode, every number in it."""
        own = self.kind if self.number is None else f"{self.kind}:{self.number}"
        return f"drop-last:{self.dropped}+{own}" if self.dropped else own

    def trains(self, network: nn.Module, blocks: Blocks) -> set[str]:
        """Names of the parameters of `network` that this mode trains; `blocks` are its.

        Raises:
            FinetuneError: it has fewer blocks.
        """
        names = blocks.numbers.keys()
        match self.kind:
            case "partial":
                assert self.number is not None
                require_blocks(self, self.number, blocks.count)
                return blocks.last(self.number) | blocks.tail
            case "bitfit":
                return _biases_and_norms(network)
            case "full":
                return set(names)
            case _:
                return set()


def require_blocks(mode: Mode, wanted: int, there: int) -> None:
    """Refuses a mode that needs more blocks than there are."""
    if wanted <= there:
        return
    has = f"{there} blocks" if there else "no blocks that its library numbers"
    raise FinetuneError(
        f"{mode.name} needs {wanted} blocks, but this network has {has}; use a smaller number, or {one_of(_OFFERED)}."
    )


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[1-9][0-9]{0,4}", text) else None


def _kind(text: str, whole: str) -> tuple[Kind, int | None]:
    name, colon, number = text.partition(":")
    if name not in _NUMBERS:
        raise _no_such_mode(whole)
    kind = cast("Kind", name)
    default = _NUMBERS[kind]
    given = _number(number) if colon else default
    if (colon and (default is None or given is None)) or given == 0:
        raise _no_such_mode(whole)
    return kind, given


def _no_such_mode(text: str) -> FinetuneError:
    near = did_you_mean(text, _NUMBERS)
    return FinetuneError(f'there is no mode "{text}".{near} There are {one_of(_OFFERED)}; K is a number of blocks.')


def _biases_and_norms(network: nn.Module) -> set[str]:
    names = set()
    for place, module in network.named_modules():
        is_norm = "norm" in type(module).__name__.lower()
        own = [f"{place}.{name}" if place else name for name, _ in module.named_parameters(recurse=False)]
        names.update(name for name in own if is_norm or re.search(r"(^|[._])bias$", name))
    return names

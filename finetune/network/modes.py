"""Modes: what of a backbone is trained besides the head, by the names that the command line and the tables use."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, cast

from ...base import did_you_mean, one_of
from ...base.errors import FinetuneError
from ...extract import resolve

if TYPE_CHECKING:
    from torch import nn

    from .blocks import Blocks

Kind = Literal["linear", "mlp", "partial", "lora", "bitfit", "full", "tokens-deit"]

_NUMBERS: dict[Kind, int | None] = {
    "linear": None,
    "mlp": 256,
    "partial": 0,
    "lora": 8,
    "bitfit": None,
    "full": None,
    "tokens-deit": None,
}
"""The number that a mode takes if none is given: width of the hidden layer, blocks (0: it must be given), rank. `full`
has no hidden layer unless a width is given."""
OFFERED = (
    "linear",
    "mlp[:256]",
    "partial:K",
    "lora[:8]",
    "bitfit",
    "full[:WIDTH]",
    "tokens-deit[:unfrozen][@BACKBONE]",
    "drop-last:K[+MODE]",
)
_DEIT = "deit-b"


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
    | `full[:256]` | everything; with a number, the head has a hidden layer of that width, as that of `mlp` |
    | `tokens-deit` | on all tokens a linear layer and a norm, a DeiT-B with class token and positions, a linear head |
    | `tokens-deit:unfrozen` | the same, and the backbone |
    | `drop-last:K+MODE` | MODE on the backbone without its last K blocks; alone, `linear` |

    `tokens-deit@BACKBONE` takes another transformer of timm instead of DeiT-B, or other weights of it (`@deit-b@FILE`).
    """

    kind: Kind
    number: int | None = None
    """Width of the hidden layer, number of blocks, or rank."""
    dropped: int = 0
    """Blocks that the backbone is without, from its end."""
    unfrozen: bool = False
    """Of `tokens-deit`: whether the backbone is trained too."""
    deit: str = ""
    """Of `tokens-deit`: the backbone that reads the tokens, as `--backbone` takes it."""

    @classmethod
    def parse(cls, text: str) -> Mode:
        """The mode that a name stands for.

        Raises:
            FinetuneError: there is no such mode; lists those that there are.
        """
        if not text.startswith("drop-last"):
            return _parsed(text)
        first, plus, rest = text.partition("+")
        dropped = _number(first.removeprefix("drop-last:"))
        if dropped is None or (plus and not rest):
            raise _no_such_mode(text)
        return replace(_parsed(rest or "linear"), dropped=dropped)

    @property
    def name(self) -> str:
        """The one name of this mode, every number in it; weights in a file without their folder."""
        own = self.kind if self.number is None else f"{self.kind}:{self.number}"
        own += ":unfrozen" * self.unfrozen
        if self.deit not in ("", _DEIT):
            own += f"@{resolve(self.deit).name}"
        return f"drop-last:{self.dropped}+{own}" if self.dropped else own

    @property
    def trains_backbone(self) -> bool:
        """Whether anything below the head is trained."""
        return self.unfrozen or self.kind in ("partial", "lora", "bitfit", "full")

    @property
    def libraries(self) -> tuple[str, ...]:
        """Those whose versions decide what is trained, besides those that every run names."""
        return ("torch", "torchvision", "timm", *(("peft",) if self.kind == "lora" else ()))

    def trains(self, network: nn.Module, blocks: Blocks) -> set[str]:
        """Names of the parameters of `network` that this mode trains, without LoRA's; `blocks` are its.

        Raises:
            FinetuneError: it has fewer blocks.
        """
        match self.kind:
            case "partial":
                assert self.number is not None
                require_blocks(self, self.number, blocks.count)
                return blocks.last(self.number) | blocks.tail
            case "bitfit":
                return _biases_and_norms(network)
            case "full":
                return set(blocks.numbers)
            case "tokens-deit" if self.unfrozen:
                return set(blocks.numbers)
            case _:
                return set()


def require_blocks(mode: Mode, wanted: int, there: int) -> None:
    """Refuses a mode that needs more blocks than there are."""
    if wanted > there:
        has = f"{there} blocks" if there else "no blocks that its library numbers"
        raise FinetuneError(
            f"{mode.name} needs {wanted} blocks, but this network has {has}; use a smaller number, or another mode: "
            f"{one_of(OFFERED)}."
        )


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[1-9][0-9]{0,4}", text) else None


def _parsed(text: str) -> Mode:
    """A mode without `drop-last`."""
    own, at, deit = text.partition("@")
    name, colon, number = own.partition(":")
    if name not in _NUMBERS or (at and (name != "tokens-deit" or not deit)):
        raise _no_such_mode(text)
    kind = cast("Kind", name)
    if kind == "tokens-deit":
        if colon and number != "unfrozen":
            raise _no_such_mode(text)
        return Mode(kind, unfrozen=bool(colon), deit=deit or _DEIT)
    default = _NUMBERS[kind]
    given = _number(number) if colon else default
    if given == 0 or (colon and (given is None or (default is None and kind != "full"))):
        raise _no_such_mode(text)
    return Mode(kind, given)


def _no_such_mode(text: str) -> FinetuneError:
    near = "" if re.split("[:+@]", text)[0] in (*_NUMBERS, "drop-last") else did_you_mean(text, _NUMBERS)
    numbers = "K, a number of blocks, and the numbers in brackets are whole numbers from 1"
    return FinetuneError(f'there is no mode "{text}".{near} There are {one_of(OFFERED)}; {numbers}.')


def _biases_and_norms(network: nn.Module) -> set[str]:
    names = set()
    for place, module in network.named_modules():
        is_norm = "norm" in type(module).__name__.lower()
        own = [f"{place}.{name}" if place else name for name, _ in module.named_parameters(recurse=False)]
        names.update(name for name in own if is_norm or re.search(r"(^|[._])bias$", name))
    return names

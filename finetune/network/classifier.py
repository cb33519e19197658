"""A backbone with a head, of which a mode trains some parameters."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable
from copy import deepcopy

import torch
from torch import nn

from ...base import WeightsError
from ...extract import Backbone
from ...extract.runtimes import Vectors
from .blocks import Blocks
from .modes import Mode
from .trial import needed_parameters, on_meta, try_vectors


class Head(nn.Sequential):
    """Vectors float32 (B, D) to logits float32 (B, outputs), in float32 whatever the backbone computes in.

    Its last layer, which is linear, is `output`.
    """

    output: nn.Linear

    def __init__(self, width: int, outputs: int, *, hidden: int | None = None, dropout: float = 0.0) -> None:
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        if hidden is not None:
            layers["hidden"], layers["activation"] = nn.Linear(width, hidden), nn.ReLU()
        layers["dropout"] = nn.Dropout(dropout)
        layers["output"] = nn.Linear(hidden or width, outputs)
        super().__init__(layers)

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 (as in torch)
        """Logits of vectors."""
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.float())


class Classifier(nn.Module):
    """A copy of a backbone, a head on its vectors, and which of its parameters are trained.

    `requires_grad` of every parameter is as the mode says. Parts without a trained parameter are always in evaluation
    mode, so that their batch norms do not move and nothing in them is dropped.
    """

    def __init__(self, vectors: Vectors, head: nn.Module, mode: Mode, trained: set[str]) -> None:
        """Takes the names of the parameters of `vectors.network` that are trained; the head is trained whole."""
        super().__init__()
        self.vectors, self.head, self.mode = vectors, head, mode
        self.notes: list[str] = []
        """What is not as requested, for people."""
        for name, value in vectors.network.named_parameters():
            value.requires_grad_(name in trained)
        self.train()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits float32 (B, outputs) of uint8 images (B, C, H, W) on the network's device."""
        return self.head(self.vectors(images)[0])

    def train(self, mode: bool = True) -> Classifier:
        """Puts what is trained into training mode, and all else into evaluation mode."""
        super().train(False)
        if mode:
            self.training = True
            _train_trained(self.vectors)
            self.head.train()
        return self

    @property
    def blocks(self) -> Blocks:
        """Stem, blocks and tail of `vectors.network`."""
        return Blocks.of(self.vectors.network, self.vectors.adapter.group_matcher(self.vectors.network))

    def trained_parameters(self) -> int:
        """How many numbers are trained."""
        return sum(value.numel() for value in self.parameters() if value.requires_grad)

    def trained_state(self) -> dict[str, torch.Tensor]:
        """What training changes: the trained parameters, and the buffers of trained parts, such as statistics."""
        state, changing = self.state_dict(), _names_that_change(self)
        return {name: value for name, value in state.items() if name in changing}

    def load_trained_state(self, state: dict[str, torch.Tensor]) -> None:
        """Takes what `trained_state` gave.

        Raises:
            WeightsError: it is of another network or mode.
        """
        own = self.trained_state()
        if {name: value.shape for name, value in state.items()} != {name: value.shape for name, value in own.items()}:
            raise WeightsError(
                f"these weights are of another network, mode or number of classes than {self.mode.name} trains here "
                f"({len(state)} tensors, of which {len(own.keys() & state.keys())} of {len(own)} are known)."
            )
        self.load_state_dict(state, strict=False)

    def group_matcher(self, coarse: bool = False) -> Callable[[str], int]:
        """For timm's layer decay, a number for a parameter's name: stem, blocks, the last one with the tail, head."""
        blocks = self.blocks
        numbers = {f"vectors.network.{name}": min(number, blocks.count) for name, number in blocks.numbers.items()}
        return lambda name: numbers.get(name, blocks.count + 1)

    def no_weight_decay(self) -> set[str]:
        """Names of class tokens and positions, which timm's optimizers do not decay."""
        return {name for name, _ in self.vectors.named_parameters(prefix="vectors") if _UNDECAYED.search(name)}


_UNDECAYED = re.compile(
    r"(^|\.)((cls|class|dist|reg|register)_?(token|embedding)s?|(pos_embed|position(al)?_embeddings?|held_positions)(\.weight)?"
    r"|relative_position_bias_table|rel_pos_[hw])$"
)


def _train_trained(module: nn.Module) -> None:
    """Puts a module that holds a trained parameter into training mode, and parts of it that have no parameters."""
    module.training = True
    for child in module.children():
        values = list(child.parameters())
        if not values or any(value.requires_grad for value in values):
            _train_trained(child)


def _names_that_change(classifier: Classifier) -> set[str]:
    was = classifier.training
    classifier.train()
    names = {name for name, value in classifier.named_parameters() if value.requires_grad}
    for place, module in classifier.named_modules():
        if module.training:
            names.update(f"{place}.{name}" if place else name for name, _ in module.named_buffers(recurse=False))
    classifier.train(was)
    return names


def make_classifier(
    backbone: Backbone, mode: Mode | str, outputs: int, *, seed: int = 0, dropout: float = 0.0, drop_path: float = 0.0
) -> Classifier:
    """A classifier of a copy of `backbone`, on its device.

    Args:
        backbone: the vector is its first pooling.
        mode: what is trained, such as `partial:2`.
        outputs: how many logits.
        seed: of the new weights; no other random numbers are drawn or disturbed.
        dropout: the share of the vector that is dropped before the last layer of the head.
        drop_path: the rate of stochastic depth of the last block; it rises from 0 in the first one.

    Raises:
        FinetuneError: there is no such mode, or the network has not as many blocks.
    """
    mode = Mode.parse(mode) if isinstance(mode, str) else mode
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _made(deepcopy(backbone.vectors), mode, outputs, dropout, drop_path)


def _made(vectors: Vectors, mode: Mode, outputs: int, dropout: float, drop_path: float) -> Classifier:
    vectors.recipes, vectors.poolings = vectors.recipes[:1], vectors.poolings[:1]
    blocks = Blocks.of(vectors.network, vectors.adapter.group_matcher(vectors.network))
    trained = mode.trains(vectors.network, blocks)
    if trained:
        trained &= needed_parameters(vectors)
    width = try_vectors(on_meta(vectors)).shape[-1]
    device = vectors.mean.device
    hidden = mode.number if mode.kind == "mlp" else None
    head = Head(width, outputs, hidden=hidden, dropout=dropout).to(device)
    return Classifier(vectors, head, mode, trained)

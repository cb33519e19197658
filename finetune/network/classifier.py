"""A backbone with a head, of which a mode trains some parameters."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from copy import deepcopy
from dataclasses import replace

import torch
from timm.layers import DropPath  # pyright: ignore[reportPrivateImportUsage]
from torch import nn

from ...base import WeightsError, one_of
from ...base.errors import FinetuneError
from ...cache import EmbeddingSpec
from ...extract import Backbone, Entry, load_backbone, resolve
from ...extract.architecture import untrained_vectors
from ...extract.pooling import Term
from ...extract.runtimes import Vectors
from .blocks import Blocks
from .drop_last import drop_last
from .heads import Head, TokenHead, grid_of_tokens
from .lora import add_updates, is_attention, is_update, open_attentions, updatable
from .modes import OFFERED, Mode, require_blocks
from .trial import called_modules, needed_parameters, on_meta, try_vectors


class Classifier(nn.Module):
    """A copy of a backbone, a head on its vectors, and which of its parameters are trained.

    `requires_grad` of every parameter is as the mode says. Parts without a trained parameter are always in evaluation
    mode, so that their batch norms do not move and nothing in them is dropped.
    """

    made_of: tuple[Entry, EmbeddingSpec]
    """The backbone that it is a copy of, where `make_classifier` made it."""

    def __init__(
        self, vectors: Vectors, head: Head | TokenHead, mode: Mode, trained: Collection[str], notes: Sequence[str] = ()
    ) -> None:
        """Takes the names of the parameters of `vectors.network` that are trained; the head is trained whole."""
        super().__init__()
        self.vectors, self.head, self.mode = vectors, head, mode
        self.notes = tuple(notes)
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
        return blocks_of(self.vectors)

    @property
    def has_attention(self) -> bool:
        """Whether the backbone has attention, as transformers do."""
        return any(is_attention(name) for name, _ in self.vectors.network.named_modules())

    def trained_parameters(self) -> int:
        """How many numbers are trained."""
        return sum(value.numel() for value in self.parameters() if value.requires_grad)

    def trained_state(self) -> dict[str, torch.Tensor]:
        """What training changes: the trained parameters, and the buffers of trained parts, such as statistics."""
        was = self.training
        self.train()
        changing = {name for name, value in self.named_parameters() if value.requires_grad}
        for place, module in self.named_modules():
            if module.training:
                changing.update(f"{place}.{name}" if place else name for name, _ in module.named_buffers(recurse=False))
        self.train(was)
        return {name: value for name, value in self.state_dict().items() if name in changing}

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
        """For timm's layer decay, a number for a parameter's name: stem, blocks, the last one with the tail, head.

        A transformer that reads tokens goes on counting.
        """
        numbers, last = _depths(self.blocks, "vectors.network.", 0)
        for place, module in self.named_modules():
            if isinstance(module, TokenHead):
                deit = module.deit
                more, last = _depths(Blocks.of(deit, deit.group_matcher(coarse=False)), f"{place}.deit.", last + 1)
                numbers |= more
        return lambda name: numbers.get(name, last + 1)

    def no_weight_decay(self) -> set[str]:
        """Names of class tokens and positions, which timm's optimizers do not decay."""
        return {name for name, _ in self.named_parameters() if _UNDECAYED.search(name)}


_UNDECAYED = re.compile(
    r"(^|\.)((cls|class|dist|reg|register)_?(token|embedding)s?|(pos_embed|position(al)?_embeddings?)(\.weight)?"
    r"|relative_position_bias_table|rel_pos_[hw])$"
)


def _depths(blocks: Blocks, prefix: str, first: int) -> tuple[dict[str, int], int]:
    """Numbers of parameters from `first` on, the tail with the last block, and the number of that."""
    numbers = {prefix + name: first + min(number, blocks.count) for name, number in blocks.numbers.items()}
    return numbers, first + blocks.count


def _train_trained(module: nn.Module) -> None:
    """Puts a module that holds a trained parameter into training mode, and parts of it that have no parameters."""
    module.training = True
    for child in module.children():
        values = list(child.parameters())
        if not values or any(value.requires_grad for value in values):
            _train_trained(child)


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
        FinetuneError: there is no such mode, or it cannot be had of this network.
        BackboneError: there is no such backbone to read tokens.
        WeightsError: its weights cannot be had.
    """
    mode = Mode.parse(mode) if isinstance(mode, str) else mode
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        classifier = assemble(deepcopy(backbone.vectors), mode, outputs, dropout=dropout, drop_path=drop_path)
    classifier.made_of = backbone.entry, backbone.spec
    return classifier


def assemble(vectors: Vectors, mode: Mode, outputs: int, *, dropout: float = 0.0, drop_path: float = 0.0) -> Classifier:
    """A classifier of these vectors themselves, whose network is changed; it may be on the meta device."""
    notes = []
    vectors.recipes, vectors.poolings = vectors.recipes[:1], vectors.poolings[:1]
    blocks = blocks_of(vectors)
    if mode.dropped:
        require_blocks(mode, mode.dropped + 1, blocks.count)
        drop_last(vectors, mode.dropped)
        blocks = blocks_of(vectors)
    if mode.kind == "tokens-deit":
        _take_tokens(vectors, mode)
    if mode.trains_backbone and drop_path and not set_drop_path(vectors.network, blocks, drop_path):
        notes.append("this architecture has no place for stochastic depth; drop_path is without effect.")
    trained = mode.trains(vectors.network, blocks)
    if mode.kind == "lora":
        trained, shape = _add_updates(vectors, mode)
    elif trained:
        needed, shape = needed_parameters(vectors)
        if mode.kind == "partial":
            _require_last_block(vectors, mode, blocks, needed)
        trained &= needed
    else:
        shape = try_vectors(on_meta(vectors)).shape
    return Classifier(vectors, _head(vectors, shape, mode, outputs, dropout), mode, trained, notes)


def _require_last_block(vectors: Vectors, mode: Mode, blocks: Blocks, needed: set[str]) -> None:
    """Refuses to train last blocks that the vector does not depend on, as that of `cls@9` of twelve blocks."""
    reached = max((blocks.numbers[name] for name in needed if blocks.numbers[name] <= blocks.count), default=0)
    if unused := blocks.count - reached:
        partial = replace(mode, dropped=mode.dropped + unused).name
        raise FinetuneError(
            f"{mode.name}: the vector {vectors.poolings[0]} is taken before the last {unused} of {blocks.count} blocks,"
            f" so that training them would change nothing; use {partial}, or another pooling."
        )


def _take_tokens(vectors: Vectors, mode: Mode) -> None:
    """Has `vectors` give all tokens (B, N, D), or positions of the last map, instead of a vector."""
    vectors.recipes = [(Term("patches"),)]
    try:
        try_vectors(on_meta(vectors))
    except AttributeError:
        raise FinetuneError(f"this network gives no tokens for {mode.name}; use one of {one_of(OFFERED)}.") from None


def blocks_of(vectors: Vectors) -> Blocks:
    """Stem, blocks and tail of the network of `vectors`."""
    return Blocks.of(vectors.network, vectors.adapter.group_matcher(vectors.network))


def _add_updates(vectors: Vectors, mode: Mode) -> tuple[set[str], torch.Size]:
    """Names of the parameters that LoRA trains, which are in the network from now on, and the shape of a vector."""
    network = vectors.network
    blocks = blocks_of(vectors)
    open_attentions(network, blocks.last(blocks.count))
    blocks = blocks_of(vectors)
    needed, shape = needed_parameters(vectors)
    called = called_modules(vectors)
    layers = [name for name in updatable(network, blocks.last(blocks.count) & needed) if name in called]
    if not layers or mode.number is None:
        raise FinetuneError(f"{mode.name} finds no layer in a block of this network; use one of {one_of(OFFERED)}.")
    add_updates(network, layers, mode.number)
    return {name for name, _ in network.named_parameters() if is_update(name)}, shape


def _head(vectors: Vectors, shape: torch.Size, mode: Mode, outputs: int, dropout: float) -> Head | TokenHead:
    """The head for vectors of that shape (1, D), or tokens (1, N, D)."""
    device = vectors.mean.device
    if mode.kind != "tokens-deit":
        hidden = mode.number if mode.kind in ("mlp", "full") else None
        return Head(shape[-1], outputs, hidden=hidden, dropout=dropout).to(device)
    grid = grid_of_tokens(shape[1], (vectors.shape[1], vectors.shape[2]))
    if device.type == "meta":
        deit = untrained_vectors(resolve(mode.deit)).network
    else:
        deit = load_backbone(mode.deit, device="cpu", runtime="torch", precision="fp32").network
    return TokenHead(deit, shape[2], grid, outputs, dropout=dropout).to(device)


_PLACES = ("drop_path", "drop_path1", "drop_path2")
"""What timm and transformers call the places where a block may be skipped, whatever module is there at rate 0."""


def set_drop_path(network: nn.Module, blocks: Blocks, rate: float) -> bool:
    """Sets the rate of the last block to `rate`; it rises linearly from 0 in the first.

    Returns:
        Whether the architecture has places for it.
    """
    found = False
    for place, module in list(network.named_modules()):
        numbers = {blocks.numbers[f"{place}.{name}" if place else name] for name, _ in module.named_parameters()}
        if len(numbers) != 1 or not 1 <= (number := numbers.pop()) <= blocks.count:
            continue
        for name in _PLACES:
            held = getattr(module, name, 0)
            if held is None or isinstance(held, nn.Identity) or hasattr(held, "drop_prob"):
                setattr(module, name, DropPath(rate * (number - 1) / max(1, blocks.count - 1)))
                found = True
    return found

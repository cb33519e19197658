"""What each mode would train of a backbone, without its weights."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

from ...base.errors import FinetuneError
from ...extract import Entry
from ...extract.architecture import untrained_vectors
from .classifier import assemble, blocks_of
from .modes import Mode


@dataclass(frozen=True)
class ModeCost:
    """What a mode trains of one network."""

    mode: str
    """Its name, as `--mode` takes it."""
    trained: int
    """Numbers that are trained, the head's included."""
    share: float
    """Of all numbers of network and head, from 0 to 1."""
    blocks: int
    """Blocks of the network in which anything is trained."""


def describe_modes(
    entry: Entry, outputs: int, *, pooling: str | None = None, image_size: int | None = None
) -> tuple[int, list[ModeCost]]:
    """What each mode trains of a backbone, which is not loaded.

    Args:
        entry: the backbone.
        outputs: classes, or how many logits else.
        pooling: which vector the head gets; the default is the entry's first.
        image_size: input size in pixels; the default is the entry's.

    Returns:
        How many blocks the network has, and a row for each mode that it can be trained in.

    Raises:
        BackboneError: the backbone has no such pooling, or cannot take that image size.

    Examples:
        >>> from medprobe.extract import resolve
        >>> from medprobe.finetune import describe_modes
        >>> blocks, costs = describe_modes(resolve("timm:test_vit@random"), 3)
        >>> blocks, costs[0].mode, costs[0].trained
        (6, 'linear', 195)
    """
    vectors = untrained_vectors(entry, pooling=pooling, image_size=image_size)
    count = blocks_of(vectors).count
    partial = [f"partial:{number}" for number in sorted({1, 2, 4, count // 2, count}) if 1 <= number <= count]
    modes = ["linear", "mlp", *partial, "lora", "bitfit", "full", "tokens-deit", "tokens-deit:unfrozen"]
    costs = []
    for mode in map(Mode.parse, modes):
        try:
            classifier = assemble(deepcopy(vectors), mode, outputs)
        except FinetuneError:
            continue  # it cannot be trained in this mode
        trained, numbers = classifier.trained_parameters(), classifier.blocks.numbers
        names = {name for name, value in classifier.vectors.network.named_parameters() if value.requires_grad}
        whole = sum(value.numel() for value in classifier.parameters())
        blocks = {numbers[name] for name in names if 1 <= numbers[name] <= count}
        costs.append(ModeCost(mode.name, trained, trained / whole, len(blocks)))
    return count, costs

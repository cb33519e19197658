"""Putting tensors into a network: each has a place, and each place is filled."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import nn

from ...base import WeightsError, one_of
from ..catalogue import Entry
from .layouts import as_published
from .published import Published, recognise
from .tensors import Tensors


def in_own_names(tensors: Tensors, network: nn.Module, where: str) -> Tensors:
    """The tensors of a file under the names that `network` has for them.

    Args:
        tensors: as the file names them.
        network: the architecture.
        where: the file, for errors.

    Raises:
        WeightsError: the file is of a layout that is known, and holds what this architecture cannot take.
    """
    try:
        return as_published(tensors, network.state_dict())
    except WeightsError as error:
        raise WeightsError(f"{where}: {error}") from error


def load_file(network: nn.Module, tensors: Tensors, where: str, entry: Entry) -> None:
    """Loads the tensors of a file, whichever way its authors named them; `in_own_names`, then `load_strictly`.

    Raises:
        WeightsError: names what does not fit, and what the file looks like.
    """
    load_strictly(network, in_own_names(tensors, network, where), where, entry, looks_like=recognise(tensors))


def load_strictly(
    network: nn.Module, values: Tensors, where: str, entry: Entry, *, looks_like: Published | None = None
) -> None:
    """Loads `values`; every tensor of the file must be used and none of the network's may be missing.

    Args:
        network: the architecture.
        values: tensors under its own names.
        where: the file, for errors.
        entry: what was asked for, for errors.
        looks_like: the layout that the file was recognised as.

    Raises:
        WeightsError: names what does not fit.
    """
    wanted: Mapping[str, torch.Tensor] = network.state_dict()
    # Batch norm's counter of training steps: no part of the weights, and old files lack it.
    missing = [name for name in wanted if name not in values and not name.endswith("num_batches_tracked")]
    extra = [name for name in values if name not in wanted]
    misshapen = [
        f"{name} {tuple(value.shape)} instead of {tuple(wanted[name].shape)}"
        for name, value in values.items()
        if name in wanted and value.shape != wanted[name].shape
    ]
    faults = [
        f"{len(names)} {what}: {one_of(names, most=4)}"
        for names, what in ((missing, "missing"), (extra, "not part of the model"), (misshapen, "of another shape"))
        if names
    ]
    if faults:
        told = f" The file looks like {_in_words(looks_like, values)}." if looks_like else ""
        raise WeightsError(f"{where}: the tensors do not fit {entry.source}:{entry.model}; {'; '.join(faults)}.{told}")
    network.load_state_dict(values, strict=False)


_BLOCK = re.compile(r"\b(?:(?:res)?blocks|layer|encoder\.layers)\.\d+\.")
_NORM = re.compile(r"(norm1(_post)?|ln_1)\.weight$")


def _in_words(layout: Published, values: Tensors) -> str:
    """The layout, and how deep and wide the network is that the file holds, which tells the variant."""
    # With what comes before the number, which hierarchical networks begin anew in each stage.
    blocks = {name[: match.end()] for name in values if (match := _BLOCK.search(name))}
    width = next((len(value) for name, value in values.items() if _NORM.search(name)), None)
    if not blocks:
        return layout.title
    return f"{layout.title}, of {len(blocks)} blocks" + (f", {width} wide" if width else "")

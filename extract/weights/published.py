"""Checkpoints as their authors published them: each recognised by its names and turned into a library's own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch

from ...base import WeightsError
from .tensors import Tensors, part, rename, without


@dataclass(frozen=True)
class Published:
    """One way in which authors name and shape a network's tensors."""

    title: str
    """What it is, for errors."""
    marks: tuple[str, ...]
    """Patterns of names that it has, each at least once, and that no other layout has together."""
    convert: Callable[[Tensors, Mapping[str, torch.Tensor]], Tensors]
    """Given the file's tensors and the architecture's own, gives the architecture's with the file's values."""

    def fits(self, names: Iterable[str]) -> bool:
        """Whether tensors of these names are of this layout."""
        listed = "\n".join(names)
        return all(re.search(mark, listed, re.MULTILINE) for mark in self.marks)


def recognise(names: Iterable[str]) -> Published | None:
    """The layout that tensors of these names are in; None where it is none of those known here."""
    listed = list(names)
    return next((layout for layout in PUBLISHED if layout.fits(listed)), None)


OPENAI_MARKS = frozenset({"input_resolution", "context_length", "vocab_size"})
"""Three numbers that OpenAI stored next to the parameters."""

_TEXT = re.compile(
    r"(text|transformer|token_embedding|ln_final|text_decoder)\."
    r"|(positional_embedding|text_projection|logit_scale|logit_bias|attn_mask)$"
)
_TOWER = "visual."


def image_tower(tensors: Tensors, target: Mapping[str, torch.Tensor]) -> Tensors:
    """The image tower of OpenCLIP's published file (`visual.*` next to a text tower).

    Known tensors of the text side are left out; anything else that is not part of the image tower stays in, under its
    own name, so that loading reports it.
    """
    bare = {name.removeprefix("module."): value for name, value in tensors.items()}
    return {
        name.removeprefix(_TOWER): value
        for name, value in bare.items()
        if name.startswith(_TOWER) or not (_TEXT.match(name) or name in OPENAI_MARKS)
    }


_BLIP_TEXT = re.compile(
    r"(text_encoder|text_decoder|itm_head|vision_proj|text_proj)(_m)?\.|visual_encoder_m\."
    r"|(image_queue|text_queue|queue_ptr|ptr_queue|idx_queue|temp)$"
)
_BLIP = (
    (r"^visual_encoder\.", ""),
    (r"^cls_token$", "embeddings.class_embedding"),
    (r"^pos_embed$", "embeddings.position_embedding"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embedding."),
    (r"^norm\.", "post_layernorm."),
    (r"^blocks\.", "encoder.layers."),
    (r"\.norm(\d)\.", r".layer_norm\1."),
    (r"\.attn\.proj\.", ".self_attn.projection."),
    (r"\.attn\.qkv\.", ".self_attn.qkv."),
)


def blip(tensors: Tensors, target: Mapping[str, torch.Tensor]) -> Tensors:
    """Salesforce's BLIP (github.com/salesforce/BLIP: `model_base.pth`, `model_large.pth`) for transformers.

    The momentum copies, queues and text networks of its training are left out.
    """
    return rename({name: value for name, value in tensors.items() if not _BLIP_TEXT.match(name)}, *_BLIP)


def blip_image_size(tensors: Tensors) -> int:
    """The pixels that the positions of a file of BLIP are for."""
    patches, patch = tensors["visual_encoder.pos_embed"].shape[1] - 1, tensors["visual_encoder.patch_embed.proj.weight"]
    return round(patches**0.5) * patch.shape[-1]


def _dinov2(tensors: Tensors, target: Mapping[str, torch.Tensor]) -> Tensors:
    """Meta's DINOv2 (github.com/facebookresearch/dinov2): `dinov2_vit*14_pretrain.pth`, `_reg4_`, and `_lc` models.

    The backbone alone, or next to its linear head under `backbone.`; blocks perhaps in chunks, as training saves them.
    """
    inner = part(tensors, "backbone.") or tensors
    head = {name: value for name, value in tensors.items() if name.startswith("linear_head.")}
    inner = without(inner, r"linear_head\.", r"dino_head\.", r"ibot_head\.", r"head\.")
    inner = rename(inner, (r"^blocks\.\d+\.(\d+)\.", r"blocks.\1."))
    if "embeddings.cls_token" in target:
        return _dinov2_of_transformers(inner, target)
    return _dinov2_of_timm(inner) | head


def _dinov2_of_timm(tensors: Tensors) -> Tensors:
    # Used in pre-training alone; timm holds no place for it.
    kept = without(tensors, "mask_token$")
    if "register_tokens" in kept:
        # In timm a network with registers has no position for the class token, so it is added to the token itself.
        positions = kept["pos_embed"]
        kept["cls_token"] = kept["cls_token"] + positions[:, :1]
        kept["pos_embed"] = positions[:, 1:]
    return rename(
        kept, ("^register_tokens$", "reg_token"), (r"\.mlp\.w12\.", ".mlp.fc1."), (r"\.mlp\.w3\.", ".mlp.fc2.")
    )


_DINOV2_OF_TRANSFORMERS = (
    (r"^(cls_token|mask_token|register_tokens)$", r"embeddings.\1"),
    (r"^pos_embed$", "embeddings.position_embeddings"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
    (r"^blocks\.", "encoder.layer."),
    (r"\.ls(\d)\.gamma$", r".layer_scale\1.lambda1"),
    (r"^norm\.", "layernorm."),
)


def _dinov2_of_transformers(tensors: Tensors, target: Mapping[str, torch.Tensor]) -> Tensors:
    """The names of transformers, of its version 5 or of those before, whichever `target` has."""
    five = any(".attention.q_proj." in name for name in target)
    queries = ("q_proj", "k_proj", "v_proj") if five else ("attention.query", "attention.key", "attention.value")
    gates = ("gate_proj", "up_proj") if any(".gate_proj." in name for name in target) else ("weights_in",)
    out = "down_proj" if len(gates) > 1 else "weights_out"
    parted: Tensors = {}
    for name, value in rename(tensors, *_DINOV2_OF_TRANSFORMERS).items():
        if ".attn.qkv." in name:
            parts = zip(queries, value.chunk(3), strict=True)
            parted |= {name.replace("attn.qkv", f"attention.{part}"): chunk for part, chunk in parts}
        elif ".mlp.w12." in name:
            parts = zip(gates, value.chunk(len(gates)), strict=True)
            parted |= {name.replace("w12", part): chunk for part, chunk in parts}
        else:
            parted[name] = value
    projection = "attention.o_proj" if five else "attention.output.dense"
    return rename(parted, (r"attn\.proj", projection), (r"\.mlp\.w3\.", f".mlp.{out}."))


def _dinov3(tensors: Tensors, target: Mapping[str, torch.Tensor]) -> Tensors:
    """Meta's DINOv3 (github.com/facebookresearch/dinov3): `dinov3_vit*16_pretrain_*.pth`, the backbone.

    Its rotary positions are computed and not learnt: the file's periods are only compared with those of the network.
    """
    inner = part(tensors, "backbone.") or tensors
    if not {"pos_embed", "embeddings.position_embeddings"} & target.keys():
        _require_periods(inner.get("rope_embed.periods"))
    kept = without(inner, r"rope_embed\.periods$", r"dino_head\.", r"ibot_head\.")
    if "embeddings.cls_token" in target:
        return _dinov3_of_transformers(kept, target)
    return _dinov3_of_timm(kept, target)


_ROPE_BASE = 100.0


def _require_periods(periods: torch.Tensor | None) -> None:
    if periods is None or periods.is_meta:
        return
    expected = _ROPE_BASE ** (torch.arange(len(periods)) / len(periods))
    # Training kept them in bfloat16, so not to the last digit.
    if not torch.allclose(periods.float(), expected, rtol=0.01):
        raise WeightsError(
            "the file's rotary positions have other periods than DINOv3's; neither library can set them."
        )


def _dinov3_of_timm(tensors: Tensors, target: Mapping[str, torch.Tensor]) -> Tensors:
    found: Tensors = {}
    for name, value in without(tensors, "mask_token$").items():
        if not name.endswith((".attn.qkv.bias", ".attn.qkv.bias_mask")):
            found[name] = value
        elif name.endswith(".bias"):
            found |= _dinov3_biases_of_timm(name, value, target)
    return rename(found, (r"\.ls(\d)\.gamma$", r".gamma_\1"), ("^storage_tokens$", "reg_token"))


def _dinov3_biases_of_timm(name: str, bias: torch.Tensor, target: Mapping[str, torch.Tensor]) -> Tensors:
    """Those of queries and values; keys have none, which the file says by a mask."""
    query, _, value = bias.chunk(3)
    block = name.removesuffix("qkv.bias")
    if f"{block}q_bias" in target:
        return {f"{block}q_bias": query, f"{block}v_bias": value}
    if f"{block}qkv.bias" in target:
        return {name: bias}  # another network, which loading will tell
    if not bias.is_meta and (query.any() or value.any()):
        raise WeightsError(
            "the file has biases of queries and values that are not zero, and this network of timm has no place for "
            'them; name the one that ends in "_qkvb".'
        )
    return {}


_DINOV3_OF_TRANSFORMERS = (
    (r"^(cls_token|mask_token)$", r"embeddings.\1"),
    (r"^storage_tokens$", "embeddings.register_tokens"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings."),
    (r"\.ls(\d)\.gamma$", r".layer_scale\1.lambda1"),
    (r"\.attn\.proj\.", ".attention.o_proj."),
    (r"\.mlp\.fc1\.", ".mlp.up_proj."),
    (r"\.mlp\.fc2\.", ".mlp.down_proj."),
)


def _dinov3_of_transformers(tensors: Tensors, target: Mapping[str, torch.Tensor]) -> Tensors:
    layers = "model.layer." if any(name.startswith("model.layer.") for name in target) else "layer."
    found: Tensors = {}
    for name, value in rename(tensors, *_DINOV3_OF_TRANSFORMERS, (r"^blocks\.", layers)).items():
        if ".attn.qkv." not in name:
            found[name] = value[:, None] if name == "embeddings.mask_token" and value.ndim == 2 else value
        elif not name.endswith(".bias_mask"):
            parts = zip(("q_proj", "k_proj", "v_proj"), value.chunk(3), strict=True)
            found |= {name.replace("attn.qkv", f"attention.{part}"): chunk for part, chunk in parts}
    # Keys have no bias, which the file says by a mask.
    return {name: value for name, value in found.items() if name in target or not name.endswith(".k_proj.bias")}


def _mae(tensors: Tensors, target: Mapping[str, torch.Tensor]) -> Tensors:
    """MAE (github.com/facebookresearch/mae): timm's names, perhaps with the decoder that drew the masked patches."""
    return without(tensors, r"decoder_", "mask_token$", r"(head|fc_norm)\.")


def _sam(tensors: Tensors, target: Mapping[str, torch.Tensor]) -> Tensors:
    """Meta's Segment Anything (github.com/facebookresearch/segment-anything): `sam_vit_*.pth`, the image encoder.

    LVM-Med (github.com/duyhominhnguyen/LVM-Med: `lvmmed_vit.pth`) is that encoder alone, without its prefix.
    """
    return rename(part(tensors, "image_encoder.") or tensors, (r"\.mlp\.lin(\d)\.", r".mlp.fc\1."))


def _unchanged(tensors: Tensors, target: Mapping[str, torch.Tensor]) -> Tensors:
    return tensors


BLIP = Published(
    "BLIP as Salesforce published it", (r"^visual_encoder\.pos_embed$", r"^visual_encoder\.blocks\."), blip
)

_FOCALNET_OF_TIMM = (
    (r"^norm(\d)\.", r"norms.\1."),
    (r"^patch_embed\.", "stem."),
    (r"\.norm(\d)\.", r".norm\1_post."),
    (r"\.gamma_(\d)$", r".ls\1.gamma"),
)


def _seem(tensors: Tensors, target: Mapping[str, torch.Tensor]) -> Tensors:
    """SEEM (github.com/UX-Decoder/Segment-Everything-Everywhere-All-At-Once): `seem_focal*.pt`, the image encoder.

    timm makes a map smaller at the beginning of a stage, SEEM at the end of the one before; and timm's linear layers
    are convolutions of 1 x 1.
    """
    encoder = part(rename(tensors, (r"^module\.", "")), "backbone.")
    found: Tensors = {}
    for name, value in _one_stage_later(rename(encoder, *_FOCALNET_OF_TIMM)).items():
        found[name] = value[:, :, None, None] if value.ndim == 2 else value
    return found


def _vgg(tensors: Tensors, target: Mapping[str, torch.Tensor]) -> Tensors:
    """VGG of torchvision: timm's, but for the two hidden layers of its classifier, which timm has as convolutions."""
    named = rename(
        without(tensors, r"classifier\.6\."),
        (r"^classifier\.0\.", "pre_logits.fc1."),
        (r"^classifier\.3\.", "pre_logits.fc2."),
    )
    return _in_shape(named, target)


def _densenet(tensors: Tensors, target: Mapping[str, torch.Tensor]) -> Tensors:
    """DenseNet of torchvision as its files have it, older than the names of its code, which are timm's."""
    return rename(without(tensors, r"classifier\."), (r"\.(norm|conv)\.(\d)\.", r".\1\2."))


def _swin(tensors: Tensors, target: Mapping[str, torch.Tensor]) -> Tensors:
    """Microsoft's Swin Transformer (github.com/microsoft/Swin-Transformer): `swin_*_patch4_window*.pth`.

    Its maps are made smaller at the end of a stage, timm's at the beginning of the next; and it stores two tables that
    follow from the sizes.
    """
    learnt = without(tensors, r"head\.", r".*\.(attn_mask|relative_position_index)$")
    return _one_stage_later(learnt)


def _one_stage_later(tensors: Tensors) -> Tensors:
    """With what makes the maps smaller counted to the stage that it leads to, as timm counts."""
    return {
        re.sub(r"^layers\.(\d+)\.downsample\.", lambda old: f"layers.{int(old[1]) + 1}.downsample.", name): value
        for name, value in tensors.items()
    }


_CONVNEXT = (
    (r"^downsample_layers\.0\.", "stem."),
    (r"^downsample_layers\.(\d+)\.", r"stages.\1.downsample."),
    (r"^stages\.(\d+)\.(\d+)\.", r"stages.\1.blocks.\2."),
    (r"\.dwconv\.", ".conv_dw."),
    (r"\.pwconv(\d)\.", r".mlp.fc\1."),
    (r"\.grn\.gamma$", ".mlp.grn.weight"),
    (r"\.grn\.beta$", ".mlp.grn.bias"),
    (r"^norm\.", "head.norm."),
)


def _convnext(tensors: Tensors, target: Mapping[str, torch.Tensor]) -> Tensors:
    """Meta's ConvNeXt and ConvNeXt V2 (github.com/facebookresearch/ConvNeXt): `convnext_*_224*.pth`."""
    return _in_shape(rename(without(tensors, r"head\."), *_CONVNEXT), target)


def _in_shape(tensors: Tensors, target: Mapping[str, torch.Tensor]) -> Tensors:
    """With a linear layer as the convolution of the same numbers that `target` has for it, or the other way round."""
    return {
        name: value.reshape(target[name].shape) if name in target and target[name].numel() == value.numel() else value
        for name, value in tensors.items()
    }


PUBLISHED: tuple[Published, ...] = (
    Published(
        "DINOv2 as Meta published it",
        (
            r"^(backbone\.)?mask_token$",
            r"^(backbone\.)?pos_embed$",
            r"^(backbone\.)?blocks\.(\d+\.)?\d+\.ls1\.gamma$",
        ),
        _dinov2,
    ),
    Published(
        "DINOv3 as Meta published it",
        (r"^(backbone\.)?storage_tokens$", r"^(backbone\.)?blocks\.\d+\.ls1\.gamma$"),
        _dinov3,
    ),
    Published(
        "the linear head of DINOv2 alone, which belongs in one folder with the file of its backbone: name the folder",
        (r"^linear_head\.weight$", r"\A(linear_head\.(weight|bias)\n?)+\Z"),
        _unchanged,
    ),
    Published("MAE as Meta published it, with its decoder", (r"^decoder_embed\.", r"^blocks\.0\.norm1\."), _mae),
    Published(
        "Segment Anything as Meta published it",
        (r"^(image_encoder\.)?neck\.0\.", r"^(image_encoder\.)?blocks\.\d+\.mlp\.lin1\."),
        _sam,
    ),
    Published(
        "a network of images and texts as OpenCLIP publishes it",
        (r"^(module\.)?visual\.", r"^(module\.)?logit_scale$"),
        image_tower,
    ),
    Published("the image tower of a CLIP", (r"^class_embedding$", r"^transformer\.resblocks\."), _unchanged),
    BLIP,
    Published(
        "SEEM's FocalNet as its authors published it",
        (r"^(module\.)?backbone\.patch_embed\.", r"^(module\.)?backbone\.layers\.\d+\.blocks\.\d+\.modulation\."),
        _seem,
    ),
    Published(
        "VGG as torchvision publishes it",
        (r"^features\.0\.weight$", r"^classifier\.0\.weight$", r"^classifier\.3\.weight$"),
        _vgg,
    ),
    Published(
        "DenseNet as torchvision publishes it", (r"^features\.denseblock1\.denselayer1\.norm\.1\.weight$",), _densenet
    ),
    Published(
        "Swin Transformer as Microsoft published it",
        (r"^layers\.0\.downsample\.reduction\.weight$", r"\.attn\.relative_position_bias_table$"),
        _swin,
    ),
    Published(
        "ConvNeXt as Meta published it", (r"^downsample_layers\.0\.0\.weight$", r"^stages\.0\.0\.dwconv\."), _convnext
    ),
    # Recognised but not read: timm has other weights of the same networks.
    Published(
        "torchvision's EfficientNet or ConvNeXt, whose names and layers are not timm's: fetch timm's own weights",
        (r"^features\.0\.0\.weight$", r"^features\.\d+\.0\.block\.0\."),
        _unchanged,
    ),
    Published(
        "torchvision's Swin Transformer, whose names and layers are not timm's: fetch timm's own weights",
        (r"^features\.0\.0\.weight$", r"^features\.1\.0\.attn\."),
        _unchanged,
    ),
    Published(
        "torchvision's ViT, whose names and layers are not timm's: fetch timm's own weights",
        (r"^conv_proj\.weight$", r"^encoder\.layers\.encoder_layer_0\."),
        _unchanged,
    ),
)

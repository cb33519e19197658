"""Checkpoints as their authors published them: each recognised by its names and turned into a library's own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch

from ...base import WeightsError
from .tensors import Tensors, rename, without

Convert = Callable[[Tensors, Mapping[str, torch.Tensor]], Tensors]
"""Given the file's tensors and the architecture's own (for names and shapes), gives the architecture's with values."""
Rules = tuple[tuple[str, str], ...]
"""Patterns of names, and what replaces each, in this order."""


@dataclass(frozen=True)
class Published:
    """One way in which authors name and shape a network's tensors."""

    title: str
    """What it is, for errors."""
    marks: tuple[str, ...]
    """Patterns of names that it has, each at least once, and that no other layout has together."""
    unused: str = "(?!)"
    """Pattern of beginnings of names that no embedding needs; whatever else has no place in the network is reported."""
    rules: Rules = ()
    """What turns its names into the library's."""
    further: Convert | None = None
    """What is to be done besides, to the tensors under their new names."""

    def convert(self, tensors: Tensors, target: Mapping[str, torch.Tensor]) -> Tensors:
        """See `Convert`."""
        named = rename(without(tensors, self.unused), *self.rules)
        return self.further(named, target) if self.further else named


def recognise(names: Iterable[str]) -> Published | None:
    """The layout that tensors of these names are in; None where it is none of those known here."""
    listed = "\n".join(names)
    fitting = (one for one in PUBLISHED if all(re.search(mark, listed, re.MULTILINE) for mark in one.marks))
    return next(fitting, None)


OPENAI_MARKS = frozenset({"input_resolution", "context_length", "vocab_size"})
"""Three numbers that OpenAI stored next to the parameters."""


def blip_image_size(tensors: Tensors) -> int:
    """The pixels that the positions of a file of BLIP are for."""
    patches, patch = tensors["visual_encoder.pos_embed"].shape[1] - 1, tensors["visual_encoder.patch_embed.proj.weight"]
    return round(patches**0.5) * patch.shape[-1]


def _split(tensors: Tensors, fused: str, names: Sequence[str]) -> Tensors:
    """With each tensor of a fused layer divided into equal parts, whose names have one of `names` in its place."""
    found: Tensors = {}
    for name, value in tensors.items():
        if fused not in name:
            found[name] = value
            continue
        for each, chunk in zip(names, value.chunk(len(names)), strict=True):
            found[name.replace(fused, each)] = chunk
    return found


def _dinov2(tensors: Tensors, target: Mapping[str, torch.Tensor]) -> Tensors:
    """For timm or transformers; transformers has no place for the linear head of the authors' classifiers."""
    if "embeddings.cls_token" in target:
        return dinov2_of_transformers(without(tensors, r"linear_head\."), target)
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


_DINOV2_OF_TRANSFORMERS: Rules = (
    (r"^(cls_token|mask_token|register_tokens)$", r"embeddings.\1"),
    (r"^pos_embed$", "embeddings.position_embeddings"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
    (r"^blocks\.", "encoder.layer."),
    (r"\.ls(\d)\.gamma$", r".layer_scale\1.lambda1"),
    (r"^norm\.", "layernorm."),
)


def dinov2_of_transformers(tensors: Tensors, target: Mapping[str, torch.Tensor]) -> Tensors:
    """Meta's names to those of transformers, of its version 5 or of those before, whichever `target` has."""
    five = any(".attention.q_proj." in name for name in target)
    queries = ("q_proj", "k_proj", "v_proj") if five else ("attention.query", "attention.key", "attention.value")
    gates = ("gate_proj", "up_proj") if any(".gate_proj." in name for name in target) else ("weights_in",)
    named = rename(
        tensors,
        *_DINOV2_OF_TRANSFORMERS,
        (r"attn\.proj", "attention.o_proj" if five else "attention.output.dense"),
        (r"\.mlp\.w3\.", ".mlp.down_proj." if len(gates) > 1 else ".mlp.weights_out."),
    )
    named = _split(named, ".attn.qkv.", [f".attention.{each}." for each in queries])
    return _split(named, ".mlp.w12.", [f".mlp.{each}." for each in gates])


def _dinov3(tensors: Tensors, target: Mapping[str, torch.Tensor]) -> Tensors:
    """Its rotary positions are computed and not learnt: the file's periods are only compared with the network's."""
    if not {"pos_embed", "embeddings.position_embeddings"} & target.keys():
        _require_periods(tensors.get("rope_embed.periods"))
    kept = without(tensors, r"rope_embed\.periods$")
    return (_dinov3_of_transformers if "embeddings.cls_token" in target else _dinov3_of_timm)(kept, target)


def _require_periods(periods: torch.Tensor | None) -> None:
    if periods is None or periods.is_meta:
        return
    expected = 100.0 ** (torch.arange(len(periods)) / len(periods))
    # Training kept them in bfloat16, so not to the last digit.
    if not torch.allclose(periods.float(), expected, rtol=0.01):
        raise WeightsError(
            "the file's rotary positions have other periods than DINOv3's; neither library can set them."
        )


def _dinov3_of_timm(tensors: Tensors, target: Mapping[str, torch.Tensor]) -> Tensors:
    found: Tensors = {}
    for name, value in without(tensors, r"mask_token$|.*\.attn\.qkv\.bias_mask$").items():
        found |= _dinov3_biases_of_timm(name, value, target) if name.endswith(".attn.qkv.bias") else {name: value}
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


_DINOV3_OF_TRANSFORMERS: Rules = (
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
    named = rename(without(tensors, r".*\.bias_mask$"), *_DINOV3_OF_TRANSFORMERS, (r"^blocks\.", layers))
    if (mask := named.get("embeddings.mask_token")) is not None and mask.ndim == 2:
        named["embeddings.mask_token"] = mask[:, None]
    found = _split(named, ".attn.qkv.", [f".attention.{each}_proj." for each in "qkv"])
    # Keys have no bias, which the file says by a mask.
    return {name: value for name, value in found.items() if name in target or not name.endswith(".k_proj.bias")}


def _in_shape(tensors: Tensors, target: Mapping[str, torch.Tensor]) -> Tensors:
    """With a linear layer as the convolution of the same numbers that `target` has for it, or the other way round."""
    return {
        name: value.reshape(target[name].shape) if name in target and target[name].numel() == value.numel() else value
        for name, value in tensors.items()
    }


_ONE_STAGE_LATER: Rules = tuple(
    (rf"^layers\.{stage}\.downsample\.", f"layers.{stage + 1}.downsample.") for stage in (2, 1, 0)
)
"""What makes the maps smaller is for timm at the beginning of a stage, for the authors at the end of the one before."""

BLIP = Published(
    # github.com/salesforce/BLIP: `model_base.pth`, `model_large.pth`
    "BLIP as Salesforce published it",
    (r"^visual_encoder\.pos_embed$", r"^visual_encoder\.blocks\."),
    # The momentum copies, queues and text networks of its training.
    unused=r"(text_encoder|text_decoder|itm_head|vision_proj|text_proj)(_m)?\.|visual_encoder_m\."
    r"|(image_queue|text_queue|queue_ptr|ptr_queue|idx_queue|temp)$",
    rules=(
        (r"^visual_encoder\.", ""),
        (r"^cls_token$", "embeddings.class_embedding"),
        (r"^pos_embed$", "embeddings.position_embedding"),
        (r"^patch_embed\.proj\.", "embeddings.patch_embedding."),
        (r"^norm\.", "post_layernorm."),
        (r"^blocks\.", "encoder.layers."),
        (r"\.norm(\d)\.", r".layer_norm\1."),
        (r"\.attn\.proj\.", ".self_attn.projection."),
        (r"\.attn\.qkv\.", ".self_attn.qkv."),
    ),
)

PUBLISHED: tuple[Published, ...] = (
    Published(
        # github.com/facebookresearch/dinov2: `dinov2_vit*14_pretrain.pth`, `_reg4_`, and `_lc` models, the backbone of
        # which is next to its linear head; blocks perhaps in chunks, as training saves them.
        "DINOv2 as Meta published it",
        (
            r"^(backbone\.)?mask_token$",
            r"^(backbone\.)?pos_embed$",
            r"^(backbone\.)?blocks\.(\d+\.)?\d+\.ls1\.gamma$",
        ),
        unused=r"(backbone\.)?(dino_head|ibot_head|head)\.",
        rules=((r"^backbone\.", ""), (r"^blocks\.\d+\.(\d+)\.", r"blocks.\1.")),
        further=_dinov2,
    ),
    Published(
        # github.com/facebookresearch/dinov3: `dinov3_vit*16_pretrain_*.pth`
        "DINOv3 as Meta published it",
        (r"^(backbone\.)?storage_tokens$", r"^(backbone\.)?blocks\.\d+\.ls1\.gamma$"),
        unused=r"(backbone\.)?(dino_head|ibot_head)\.",
        rules=((r"^backbone\.", ""),),
        further=_dinov3,
    ),
    Published(
        "the linear head of DINOv2 alone, which belongs in one folder with the file of its backbone: name the folder",
        (r"^linear_head\.weight$", r"\A(linear_head\.(weight|bias)\n?)+\Z"),
    ),
    Published(
        # github.com/facebookresearch/mae: timm's names, with the decoder that drew the masked patches
        "MAE as Meta published it, with its decoder",
        (r"^decoder_embed\.", r"^blocks\.0\.norm1\."),
        unused=r"decoder_|mask_token$|(head|fc_norm)\.",
    ),
    Published(
        # github.com/facebookresearch/segment-anything: `sam_vit_*.pth`. LVM-Med (github.com/duyhominhnguyen/LVM-Med:
        # `lvmmed_vit.pth`) is the image encoder alone, without its prefix.
        "Segment Anything as Meta published it",
        (r"^(image_encoder\.)?neck\.0\.", r"^(image_encoder\.)?blocks\.\d+\.mlp\.lin1\."),
        unused=r"(prompt_encoder|mask_decoder)\.",
        rules=((r"^image_encoder\.", ""), (r"\.mlp\.lin(\d)\.", r".mlp.fc\1.")),
    ),
    Published(
        "a network of images and texts as OpenCLIP publishes it",
        (r"^(module\.)?visual\.", r"^(module\.)?logit_scale$"),
        unused=r"(module\.)?((text|transformer|token_embedding|ln_final|text_decoder)\."
        rf"|(positional_embedding|text_projection|logit_scale|logit_bias|attn_mask|{'|'.join(OPENAI_MARKS)})$)",
        rules=((r"^module\.", ""), (r"^visual\.", "")),
    ),
    Published("the image tower of a CLIP", (r"^class_embedding$", r"^transformer\.resblocks\.")),
    BLIP,
    Published(
        # github.com/UX-Decoder/Segment-Everything-Everywhere-All-At-Once: `seem_focal*.pt`, whose linear layers are
        # for timm convolutions of 1 x 1.
        "SEEM's FocalNet as its authors published it",
        (r"^(module\.)?backbone\.patch_embed\.", r"^(module\.)?backbone\.layers\.\d+\.blocks\.\d+\.modulation\."),
        unused=r"(?!(module\.)?backbone\.)",
        rules=(
            (r"^(module\.)?backbone\.", ""),
            (r"^norm(\d)\.", r"norms.\1."),
            (r"^patch_embed\.", "stem."),
            (r"\.norm(\d)\.", r".norm\1_post."),
            (r"\.gamma_(\d)$", r".ls\1.gamma"),
            *_ONE_STAGE_LATER,
        ),
        further=_in_shape,
    ),
    Published(
        # timm has the two hidden layers of the classifier as convolutions.
        "VGG as torchvision publishes it",
        (r"^features\.0\.weight$", r"^classifier\.0\.weight$", r"^classifier\.3\.weight$"),
        unused=r"classifier\.6\.",
        rules=((r"^classifier\.0\.", "pre_logits.fc1."), (r"^classifier\.3\.", "pre_logits.fc2.")),
        further=_in_shape,
    ),
    Published(
        # Its files are older than the names of its code, which are timm's.
        "DenseNet as torchvision publishes it",
        (r"^features\.denseblock1\.denselayer1\.norm\.1\.weight$",),
        unused=r"classifier\.",
        rules=((r"\.(norm|conv)\.(\d)\.", r".\1\2."),),
    ),
    Published(
        # github.com/microsoft/Swin-Transformer: `swin_*_patch4_window*.pth`, with two tables that follow from the sizes
        "Swin Transformer as Microsoft published it",
        (r"^layers\.0\.downsample\.reduction\.weight$", r"\.attn\.relative_position_bias_table$"),
        unused=r"head\.|.*\.(attn_mask|relative_position_index)$",
        rules=_ONE_STAGE_LATER,
    ),
    Published(
        # github.com/facebookresearch/ConvNeXt: `convnext_*_224*.pth`, and ConvNeXt V2
        "ConvNeXt as Meta published it",
        (r"^downsample_layers\.0\.0\.weight$", r"^stages\.0\.0\.dwconv\."),
        unused=r"head\.",
        rules=(
            (r"^downsample_layers\.0\.", "stem."),
            (r"^downsample_layers\.(\d+)\.", r"stages.\1.downsample."),
            (r"^stages\.(\d+)\.(\d+)\.", r"stages.\1.blocks.\2."),
            (r"\.dwconv\.", ".conv_dw."),
            (r"\.pwconv(\d)\.", r".mlp.fc\1."),
            (r"\.grn\.gamma$", ".mlp.grn.weight"),
            (r"\.grn\.beta$", ".mlp.grn.bias"),
            (r"^norm\.", "head.norm."),
        ),
        further=_in_shape,
    ),
)

"""The image tower out of a published file of images and texts: OpenCLIP's and OpenAI's names, and BLIP's."""

from __future__ import annotations

import re

from .naming import rename
from .tensors import Tensors

OPENAI_MARKS = frozenset({"input_resolution", "context_length", "vocab_size"})
"""Three numbers that OpenAI stored beside the parameters."""

_TEXT = re.compile(
    r"(text|transformer|token_embedding|ln_final|text_decoder)\."
    r"|(positional_embedding|text_projection|logit_scale|logit_bias|attn_mask)$"
)
_TOWER = "visual."


def image_tower(tensors: Tensors) -> Tensors:
    """The image tower of OpenCLIP's published file (`visual.*` beside a text tower).

    Known tensors of the text side are left out; anything else that is no part of the image tower stays in, under its
    own name, so that loading tells of it.
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


def blip(tensors: Tensors) -> Tensors:
    """Salesforce's BLIP (github.com/salesforce/BLIP: `model_base.pth`, `model_large.pth`) for transformers.

    The momentum copies, queues and text networks of its training are left out.
    """
    return rename({name: value for name, value in tensors.items() if not _BLIP_TEXT.match(name)}, *_BLIP)


def blip_image_size(tensors: Tensors) -> int:
    """The pixels that the positions of a file of BLIP are for."""
    patches, patch = tensors["visual_encoder.pos_embed"].shape[1] - 1, tensors["visual_encoder.patch_embed.proj.weight"]
    return round(patches**0.5) * patch.shape[-1]

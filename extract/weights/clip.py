"""The image tower out of a published file of images and texts: OpenCLIP's and OpenAI's names, and BLIP's."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch

from .layouts import as_published
from .tensors import Tensors

OPENAI_MARKS = frozenset({"input_resolution", "context_length", "vocab_size"})
"""Three numbers that OpenAI stored beside the parameters."""

_TEXT = re.compile(
    r"(text|transformer|token_embedding|ln_final|text_decoder)\."
    r"|(positional_embedding|text_projection|logit_scale|logit_bias|attn_mask)$"
)
_TOWER = "visual."


def image_tower(tensors: Tensors, target: Mapping[str, torch.Tensor]) -> Tensors:
    """OpenCLIP's published file (`visual.*` beside a text tower), or a file of the image tower alone.

    Known tensors of the text side are left out; anything else that is no part of the image tower stays in, under its
    own name, so that loading tells of it.
    """
    bare = {name.removeprefix("module."): value for name, value in tensors.items()}
    if not any(name.startswith(_TOWER) for name in bare):
        return as_published(bare, target)
    return {
        name.removeprefix(_TOWER): value
        for name, value in bare.items()
        if name.startswith(_TOWER) or not (_TEXT.match(name) or name in OPENAI_MARKS)
    }

"""LoRA (Hu et al. 2022, arXiv 2106.09685) by peft: which layers of a network get low-rank updates, and how they end up.

Its own weights stay as they are, to the bit; the updates are parameters beside them.
"""

from __future__ import annotations

import re
from collections.abc import Set

import torch
from timm.models.vision_transformer import Attention  # pyright: ignore[reportPrivateImportUsage]
from torch import nn

from ...base.errors import FinetuneError
from ...base.text import install_command

ALPHA = 16
"""The update is scaled by ALPHA / rank: by 2 at rank 8, and at rank 48 as in a study of DINOv2 on radiographs (arXiv
2312.02366)."""


def open_attentions(network: nn.Module, within: Set[str]) -> None:
    """Gives attentions linear layers that peft can update, where they compute with the weights themselves.

    Those of torch have three projections in one parameter. peft has a layer for them, but it adds its update to the
    weights before each pass and subtracts it after, so that rounding changes frozen weights. Those of timm's EVA, BEiT
    and Swin V2 call their layer if the bias is to be added after it. `within` are the names of the parameters that may
    be concerned.
    """
    for name, module in list(network.named_modules()):
        if hasattr(module, "qkv_bias_separate"):
            module.qkv_bias_separate = True  # pyright: ignore[reportArgumentType]
        if isinstance(module, nn.MultiheadAttention) and f"{name}.in_proj_weight" in within:
            network.set_submodule(name, SelfAttention(module))


class SelfAttention(nn.Module):
    """`nn.MultiheadAttention` of one sequence with itself, computed by timm's layer."""

    def __init__(self, theirs: nn.MultiheadAttention) -> None:
        super().__init__()
        weight = theirs.out_proj.weight
        self.batch_first = theirs.batch_first
        with torch.device(weight.device):
            self.layer = Attention(theirs.embed_dim, theirs.num_heads, qkv_bias=theirs.in_proj_bias is not None)
        self.layer.qkv.weight, self.layer.qkv.bias = theirs.in_proj_weight, theirs.in_proj_bias
        self.layer.proj.weight, self.layer.proj.bias = weight, theirs.out_proj.bias

    def forward(
        self, query: torch.Tensor, *_: torch.Tensor, attn_mask: torch.Tensor | None = None, **__: bool
    ) -> tuple[torch.Tensor, None]:
        """What torch's layer gives for a query that is key and value too."""
        if self.batch_first:
            return self.layer(query, attn_mask=attn_mask), None
        return self.layer(query.transpose(0, 1), attn_mask=attn_mask).transpose(0, 1), None

    def of_torch(self) -> nn.MultiheadAttention:
        """The same as torch's own layer."""
        qkv, proj = self.layer.qkv, self.layer.proj
        options = {"bias": qkv.bias is not None, "batch_first": self.batch_first, "device": qkv.weight.device}
        theirs = nn.MultiheadAttention(qkv.in_features, self.layer.num_heads, **options)
        theirs.in_proj_weight, theirs.in_proj_bias = qkv.weight, qkv.bias  # pyright: ignore[reportAttributeAccessIssue]
        theirs.out_proj.weight, theirs.out_proj.bias = proj.weight, proj.bias
        return theirs.train(self.training)


def updatable(network: nn.Module, within: Set[str]) -> list[str]:
    """Names of the layers that LoRA updates: the projections of attention; where there is none, all that mix channels.

    `within` are the names of the parameters that may be concerned.
    """
    layers = [
        name
        for name, module in network.named_modules()
        # Not their subclasses: whose weights are standardised, or inputs padded, before they are used.
        if (type(module) is nn.Linear or (type(module) is nn.Conv2d and module.groups == 1))
        and f"{name}.weight" in within
    ]
    return list(filter(is_attention, layers)) or layers


def is_attention(name: str) -> bool:
    """Whether a module of that name is attention or part of it, in any of the libraries."""
    return re.search(r"attn|attention", name) is not None and "mlp" not in name


def add_updates(network: nn.Module, layers: list[str], rank: int) -> None:
    """Puts updates of `rank` beside the weights of these layers; they are 0 at first.

    Raises:
        FinetuneError: peft is not installed.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ModuleNotFoundError as error:
        raise FinetuneError(
            f"{error.name} is not installed, and LoRA needs it: {install_command('finetune')}."
        ) from error

    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=ALPHA, target_modules=layers), network)


def is_update(name: str) -> bool:
    """Whether a parameter of that name is part of an update."""
    return ".lora_A." in name or ".lora_B." in name


def merge_updates(network: nn.Module) -> None:
    """Adds the updates to the weights, so that the network is a plain one of its architecture again."""
    from peft.tuners.lora import LoraLayer

    for name, module in list(network.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge()  # pyright: ignore[reportAttributeAccessIssue]
            network.set_submodule(name, module.get_base_layer())
    for name, module in list(network.named_modules()):
        if isinstance(module, SelfAttention):
            network.set_submodule(name, module.of_torch())

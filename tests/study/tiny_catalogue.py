"""Tiny networks without trained weights, of the architectures of the presets' backbones and under their names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from medprobe.extract import Entry, catalogue, load_backbone
from medprobe.extract.adapters import from_seem
from medprobe.extract.catalogue import Random
from timm.models import vgg

SIZE = 32
"""Pixels, for all of them."""
_VIT = {"embed_dim": 24, "depth": 5, "num_heads": 3, "img_size": SIZE, "patch_size": 8}
_SCALED = _VIT | {"init_values": 1.0}
"""Of networks that scale what each block adds; with 1e-5, as published, what is not trained sees nothing."""
_SAM = _VIT | {"window_size": 2, "global_attn_indexes": (1, 4)}
_CLIP = {
    "embed_dim": 20,
    "vision_cfg": {"image_size": SIZE, "layers": 5, "width": 24, "head_width": 8, "patch_size": 8},
}
_BLIP = {"hidden_size": 24, "num_hidden_layers": 5, "num_attention_heads": 3, "intermediate_size": 96}
_RESNET = {"layers": (1, 2, 2, 1), "channels": (4, 4, 8, 8), "stem_width": 8}
_DENSENET = {"growth_rate": 4, "block_config": (2, 2, 2, 2)}
_VGG = {"mlp_ratio": 0.01}


def _tiny(name: str, model: str, **options: Any) -> Entry:
    known = catalogue().get(name)
    entry = known or Entry(name, source="timm", model=model)
    return replace(entry, model=model, options=options, dim=None, image_size=SIZE, preprocessing={}, weights=Random())


def _clip(name: str) -> Entry:
    config = {"model_cfg": _CLIP}
    return replace(catalogue()[name], config=config, dim=None, image_size=SIZE, weights=Random(), repository="")


def tiny_catalogue() -> dict[str, Entry]:
    """The entries by the names that the presets give, weights in files left out."""
    blip = {"model_type": "blip", "vision_config": _BLIP | {"image_size": SIZE, "patch_size": 8}}
    entries = [
        *(_tiny(f"dinov2-{size}", "vit_small_patch14_dinov2", **_SCALED) for size in "sblg"),
        *(_tiny(name, "vit_base_patch16_224", **_VIT) for name in ("deit-b", "dino-vit-b16")),
        *(_tiny(name, "samvit_base_patch16", **_SAM) for name in ("sam-vit-b", "sam-vit-l")),
        *(_tiny(name, "resnet50", **_RESNET) for name in ("resnet50", "resnet101", "resnet152")),
        _tiny("timm:resnet18.a1_in1k", "resnet18", **_RESNET),
        *(_tiny(name, "densenet121", **_DENSENET) for name in ("densenet121", "timm:densenet121.ra_in1k")),
        *(_tiny(name, "vgg11", **_VGG) for name in ("vgg16", "timm:vgg19.tv_in1k")),
        _tiny("timm:efficientnet_b4.ra2_in1k", "test_efficientnet"),
        _tiny("timm:tf_efficientnetv2_m.in1k", "test_efficientnet"),
        _tiny("timm:vit_base_patch16_224.augreg2_in21k_ft_in1k", "vit_base_patch16_224", **_VIT),
        _tiny("timm:vit_base_patch16_clip_224.laion2b_ft_in12k_in1k", "vit_base_patch16_clip_224", **_VIT),
        _tiny("timm:eva02_base_patch16_clip_224.merged2b", "eva02_base_patch16_clip_224", **_VIT),
        _tiny("uni", "vit_base_patch16_224", **_SCALED),
        *(_clip(name) for name in ("clip-b16", "clip-g14", "biomedclip")),
        replace(catalogue()["blip-base"], config=blip, dim=None, image_size=SIZE),
        replace(catalogue()["seem-focalnet-t"], dim=None, image_size=SIZE),
    ]
    return {entry.name: entry for entry in entries}


def shrink(patch: pytest.MonkeyPatch) -> None:
    """Puts the tiny networks in the catalogue; SEEM's encoder and VGG have no options for numbers of channels."""
    patch.setitem(
        from_seem._VARIANTS, "focalnet-t", {"width": 8, "depths": (1, 1, 3, 1), "levels": 2, "depthwise": True}
    )
    patch.setitem(vgg.cfgs, "vgg11", [8, "M", 8, "M", 16, 16, "M", 16, 16, "M", 16, 16, "M"])
    for name, entry in tiny_catalogue().items():
        patch.setitem(catalogue(), name, entry)


def save_weights(root: Path) -> None:
    """Writes the files of weights that the presets expect below `data_root`, for the tiny networks of the catalogue."""
    for size in "sbl":
        folder = root / f"weights/dinov2_vit{size}14"
        _save(_weights(f"dinov2-{size}"), folder / f"dinov2_vit{size}14_pretrain.pth")
        head = {"weight": torch.randn(1000, 5 * _VIT["embed_dim"]), "bias": torch.randn(1000)}
        _save(head, folder / f"dinov2_vit{size}14_linear4_head.pth")
    _save(_weights("uni"), root / "weights/uni/pytorch_model.bin")
    _save(_weights("seem-focalnet-t"), root / "weights/seem_focalt_v0.pt")
    # Salesforce's names: timm's under `visual_encoder.`.
    blip = {f"visual_encoder.{name}": value for name, value in _weights("deit-b").items()}
    _save({"model": blip}, root / "weights/model_base.pth")


def _weights(name: str) -> dict[str, torch.Tensor]:
    return load_backbone(f"{name}@random", device="cpu", runtime="torch", precision="fp32").network.state_dict()


def _save(tensors: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(tensors, path)

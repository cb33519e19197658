"""Tiny architectures, one of each kind, as entries of the catalogue."""

from __future__ import annotations

from medprobe.extract import Entry

_VIT = {"embed_dim": 48, "depth": 4, "num_heads": 3, "img_size": 32, "patch_size": 8}
_OPEN_CLIP = {"image_size": 32, "layers": 4, "width": 48, "head_width": 16, "patch_size": 8}
_BLIP = {"hidden_size": 48, "num_hidden_layers": 4, "num_attention_heads": 3, "intermediate_size": 96}
_SAM = _BLIP | {"num_hidden_layers": 4, "global_attn_indexes": [1, 3], "window_size": 2, "output_channels": 32}
_HF = {"image_size": 32, "patch_size": 8}
_SWIN = {"img_size": 64, "embed_dim": 24, "depths": (1, 2, 2, 1), "num_heads": (1, 2, 2, 4), "window_size": 2}

KINDS: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry("tiny-vit", source="timm", model="vit_tiny_patch16_224", options=_VIT, image_size=32, poolings=("cls",)),
        Entry("tiny-cnn", source="timm", model="test_efficientnet", image_size=64, poolings=("pooled",)),
        Entry("tiny-resnet", source="timm", model="test_resnet", image_size=64, poolings=("pooled",)),
        Entry("tiny-swin", source="timm", model="swin_tiny_patch4_window7_224", options=_SWIN, image_size=64),
        Entry(
            "tiny-sam",
            source="timm",
            model="samvit_base_patch16",
            options=_VIT | {"window_size": 2, "global_attn_indexes": (1, 3)},
            image_size=32,
            poolings=("mean",),
        ),
        Entry("tiny-sam-hf", source="hf", model="sam", config={"model_type": "sam_vision_model"} | _SAM | _HF),
        Entry(
            "tiny-clip",
            source="open_clip",
            model="tiny",
            config={"model_cfg": {"embed_dim": 40, "vision_cfg": _OPEN_CLIP}},
            poolings=("proj",),
        ),
        Entry(
            "tiny-blip",
            source="hf",
            model="blip",
            config={"model_type": "blip", "vision_config": _BLIP | _HF},
            image_size=32,
            poolings=("cls",),
        ),
    )
}
"""By name; load them as `NAME@random`."""

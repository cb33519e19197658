"""Position embeddings at other sizes: as each network's authors resample them, and the same through every library."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import open_clip
import pytest
import timm
import torch
from medprobe.cache.spec import Positions
from medprobe.extract import load_backbone, resolve
from medprobe.extract.adapters import ADAPTERS
from medprobe.extract.adapters.interface import IMAGENET_MEAN, IMAGENET_STD
from medprobe.extract.adapters.position_embeddings import resampled, way_of
from published_networks import agree, dinov2, dinov2_of_transformers, filled, saved, vit, vit_of_transformers
from shaken_networks import smooth_inputs

_OPTIONS = {"precision": "fp32", "device": "cpu", "runtime": "torch"}
_OFFSET, _PLAIN, _ANTIALIAS = "bicubic-offset-0.1", "bicubic", "bicubic-antialias"


@pytest.mark.parametrize(
    ("model", "model_type", "way"),
    [
        ("vit_small_patch14_dinov2.lvd142m", "", _OFFSET),
        ("facebook/dinov2-base", "dinov2", _OFFSET),
        ("vit_small_patch14_reg4_dinov2.lvd142m", "", _ANTIALIAS),
        ("facebook/dinov2-with-registers-base", "dinov2_with_registers", _ANTIALIAS),
        ("vit_base_patch16_224.dino", "", _OFFSET),
        ("facebook/dino-vitb16", "vit", _OFFSET),
        ("vit_base_patch16_224.mae", "", _PLAIN),
        ("facebook/vit-mae-base", "vit_mae", _PLAIN),
        ("deit_base_distilled_patch16_224.fb_in1k", "", _PLAIN),
        ("facebook/deit-base-patch16-224", "vit", _PLAIN),
        ("facebook/deit-base-distilled-patch16-224", "deit", _PLAIN),
        ("Salesforce/blip-base", "blip_vision_model", _PLAIN),
        ("samvit_base_patch16.sa1b", "", _ANTIALIAS),
        ("facebook/sam-vit-base", "sam_vision_model", _ANTIALIAS),
        ("vit_base_patch16_224.augreg_in1k", "", _ANTIALIAS),
        ("google/vit-base-patch16-224", "vit", _ANTIALIAS),
        ("ViT-B-16/openai", "", _ANTIALIAS),
        ("openai/clip-vit-base-patch16", "clip_vision_model", _ANTIALIAS),
    ],
)
def test_a_family_has_one_way_in_every_library(model: str, model_type: str, way: Positions) -> None:
    assert way_of(model, model_type) == way


def _held(side: int, prefix: int = 1) -> torch.Tensor:
    return torch.randn(1, prefix + side * side, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("grid", [(16, 16), (24, 24), (10, 21)])
def test_dinos_way_is_that_of_a_network_of_transformers_that_kept_it(grid) -> None:
    """Tencent's Hunyuan takes the patches of any image by the code of DINO's authors, offset included."""
    module = pytest.importorskip("transformers.models.hy_v4_vl.modeling_hy_v4_vl")
    held = _held(37)
    own = SimpleNamespace(
        position_embedding=SimpleNamespace(weight=held[0]),
        position_edge=37,
        embed_dim=8,
        config=SimpleNamespace(interpolate_mode="bicubic"),
    )
    theirs = module.HYV4VLVisionPatchEmbed.interpolate_pos_encoding(own, held, *grid)
    ours = resampled(held, grid, _OFFSET, (37, 37), prefix=1)
    torch.testing.assert_close(ours[:, 1:], theirs)
    torch.testing.assert_close(ours[:, :1], held[:, :1])


@pytest.mark.parametrize("grid", [(16, 16), (24, 24), (10, 21)])
def test_the_common_way_is_timms_and_openclips(grid) -> None:
    held = _held(14)
    ours = resampled(held, grid, _ANTIALIAS, (14, 14), prefix=1)
    torch.testing.assert_close(ours, timm.layers.resample_abs_pos_embed(held, list(grid), [14, 14]))
    state = {"visual.positional_embedding": held[0]}
    open_clip.model.resize_pos_embed(state, SimpleNamespace(visual=SimpleNamespace(grid_size=grid)))
    torch.testing.assert_close(ours[0], state["visual.positional_embedding"])


_SPREAD = 0.5
"""Of positions, next to patches of about 1: large enough for a shift to show in every vector."""


def _twins(kind: str, folder: Path) -> list[tuple[str, Path]]:
    """Names and files of one network of one block, for timm and for transformers."""
    width = 768 if kind == "mae" else 384
    if kind.startswith("dinov2"):
        registers = 4 if kind == "dinov2-reg" else 0
        tensors = filled(dinov2(width, 1, registers=registers))
    else:
        tensors = filled(vit(width, 1, 16, 197))
    shape = tensors["pos_embed"].shape
    tensors["pos_embed"] = torch.randn(shape, generator=torch.Generator().manual_seed(2)) * _SPREAD
    theirs = {
        "dinov2": ("facebook/dinov2-small", lambda: dinov2_of_transformers(tensors)),
        "dinov2-reg": ("facebook/dinov2-with-registers-small", lambda: dinov2_of_transformers(tensors, 4)),
        "dino": ("facebook/dino-vits16", lambda: vit_of_transformers(tensors)),
        "mae": ("facebook/vit-mae-base", lambda: vit_of_transformers(tensors, masked=True)),
    }
    model, network = theirs[kind]
    network().save_pretrained(folder)
    own = {"size": {"height": 224, "width": 224}, "image_mean": IMAGENET_MEAN, "image_std": IMAGENET_STD}
    (folder / "preprocessor_config.json").write_text(json.dumps(own))
    return [(f"timm:{_TIMM[kind]}", saved(tensors, folder.with_name(f"{kind}.pth"))), (f"hf:{model}", folder)]


_TIMM = {
    "dinov2": "vit_small_patch14_dinov2.lvd142m",
    "dinov2-reg": "vit_small_patch14_reg4_dinov2.lvd142m",
    "dino": "vit_small_patch16_224.dino",
    "mae": "vit_base_patch16_224.mae",
}
_WAYS = {"dinov2": _OFFSET, "dinov2-reg": _ANTIALIAS, "dino": _OFFSET, "mae": _PLAIN}


@pytest.mark.parametrize(
    ("kind", "size"),
    # A patch of 16 does not divide 518.
    [(kind, size) for kind in ("dinov2", "dinov2-reg") for size in (224, 336, 518)]
    + [(kind, size) for kind in ("dino", "mae") for size in (224, 336, 512)],
)
def test_the_same_weights_agree_through_timm_and_transformers(kind, size, tmp_path, shallow) -> None:
    shallow(1)
    poolings = ["cls", "mean", "patch0"]
    ours, theirs = (
        load_backbone(name, weights=file, poolings=poolings, image_size=size, **_OPTIONS)
        for name, file in _twins(kind, tmp_path / "folder")
    )
    own_size = 518 if kind.startswith("dinov2") else 224
    assert ours.spec.positions == theirs.spec.positions == ("" if size == own_size else _WAYS[kind])
    pixels = smooth_inputs(ours, 1)[0]
    made, expected = ours.embed(pixels), theirs.embed(pixels)
    for pooling in poolings:
        agree(made[pooling], torch.from_numpy(expected[pooling]))


def test_images_of_unequal_sides_have_the_same_positions_in_both_libraries(tmp_path) -> None:
    size = (224, 308)
    tensors = filled(dinov2(384, 1))
    ours = timm.create_model("vit_small_patch14_dinov2", num_classes=0, depth=1)
    ours.pos_embed.data.copy_(tensors["pos_embed"])
    theirs = dinov2_of_transformers(tensors)
    for name, network in (("timm:vit_small_patch14_dinov2", ours), ("hf:facebook/dinov2-small", theirs)):
        entry = resolve(name)
        assert ADAPTERS[entry.source].set_image_size(network, entry, size) == _OFFSET
    rows = theirs.embeddings.interpolate_pos_encoding(None, *size)
    torch.testing.assert_close(rows, ours.pos_embed)
    assert rows.shape == (1, 1 + 16 * 22, 384)

"""SEEM's image encoders: timm's FocalNet under SEEM's norms, and for the tiny one a block that timm does not have."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from timm.layers import LayerNorm2d  # pyright: ignore[reportPrivateImportUsage]
from timm.models.focalnet import FocalNet, FocalNetBlock
from torch import nn

from ...base import BackboneError, WeightsError, did_you_mean, one_of
from ...cache import TransformSpec
from ...cache.spec import Positions
from ..catalogue import Entry, Local
from ..weights.loading import load_file
from ..weights.tensors import read_local
from .interface import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Adapter,
    Features,
    Inside,
    Place,
    Wanted,
    grid_of,
    positions,
    transform_spec,
)


class SeemAdapter(Adapter):
    """SEEM's own: `focalnet-t`, whose weights are `seem_focalt_v0.pt`, and `focalnet-l`, `seem_focall_v1.pt`."""

    def create(self, entry: Entry) -> nn.Module:
        if entry.model not in _VARIANTS:
            near = did_you_mean(entry.model, _VARIANTS)
            raise BackboneError(f'SEEM has no image encoder "{entry.model}" here.{near} There are {one_of(_VARIANTS)}.')
        return SeemFocalNet(**_VARIANTS[entry.model])

    def load(self, entry: Entry) -> nn.Module:
        network = self.create(entry)
        if not isinstance(entry.weights, Local):
            raise WeightsError(
                f"{entry.name}: SEEM's weights are for you to fetch; docs/backbones.md says where they are. Then name "
                f'the backbone "{entry.name}@/path/to/FILE.pt".'
            )
        load_file(network, read_local(entry.weights), entry.weights.path.name, entry)
        return network

    def transform(self, network: Any, entry: Entry, size: int | None) -> TransformSpec:
        side = size or _SIDE
        config = {"interpolation": "bicubic", "mean": IMAGENET_MEAN, "std": IMAGENET_STD}
        return transform_spec(config, (side, side), (side, side), squash=False)

    def set_image_size(self, network: Any, entry: Entry, size: tuple[int, int]) -> Positions:
        # SEEM fills other sizes up with a border of zeros, which would go into the means.
        grid_of(size, _COARSEST)
        return ""

    def inside(self, network: Any) -> Inside:
        return Inside(maps=_MAPS)

    def features(self, network: Any, images: torch.Tensor, wanted: Wanted) -> Features:
        """See `Adapter.features`. What a whole network ends in is `res5`."""
        end = _MAPS[len(network.layers) - 1]
        names = [name for name in _MAPS if name in wanted.inside or (wanted.end and name == end)]
        stages = [_MAPS.index(name) for name in names]
        maps = network.forward_intermediates(images, indices=stages, stop_early=True, intermediates_only=True)
        inside: dict[Place, Features] = {
            name: Features(patches=positions(network.norms[stage](feature_map)))
            for name, stage, feature_map in zip(names, stages, maps, strict=True)
        }
        return Features(patches=inside[end].patches if wanted.end else None, inside=inside)


_MAPS = ("res2", "res3", "res4", "res5")
"""SEEM's names of its four maps, at 1/4, 1/8, 1/16 and 1/32 of the image's sides."""
_COARSEST = 32
_SIDE = 224
"""Pixels that SEEM's configuration names for the pre-training of both; SEEM itself was trained on larger images."""


_VARIANTS: dict[str, dict[str, Any]] = {
    "focalnet-t": {"width": 96, "depths": (2, 2, 6, 2), "levels": 3, "depthwise": True},
    "focalnet-l": {"width": 192, "depths": (2, 2, 18, 2), "levels": 4, "depthwise": False},
}
"""What SEEM's own configurations say, in the words of `SeemFocalNet`."""


class SeemFocalNet(FocalNet):
    """FocalNet (Yang et al. 2022, arXiv 2203.11926) as SEEM has it: the map of each stage has a norm of its own.

    Both variants take overlapping patches, put the norm of a block's half after it, and divide the context that a block
    gathers by the number of its levels, the one of the whole image included. `width` is the number of channels of the
    first stage, which doubles with each further one; `levels` that of the depthwise convolutions of growing size with
    which a block sees its surroundings; `depthwise` blocks are those that SEEM calls `focal_dw`.
    """

    def __init__(self, width: int, depths: tuple[int, ...], levels: int, *, depthwise: bool) -> None:
        super().__init__(
            num_classes=0,
            embed_dim=width,
            depths=depths,
            focal_levels=(levels,) * len(depths),
            drop_path_rate=0.0,
            use_overlap_down=True,
            **_BLOCK,
        )
        widths = [width * 2**stage for stage in range(len(depths))]
        self.norm = nn.Identity()
        self.norms = nn.ModuleList(_NORM(channels) for channels in widths)
        if depthwise:
            # timm's stem pads by 2, which is right for the large one.
            self.stem.proj = nn.Conv2d(3, width, kernel_size=7, stride=4, padding=3)
            for stage, depth, channels in zip(self.layers, depths, widths, strict=True):
                stage.blocks = nn.ModuleList(DepthwiseFocalBlock(channels, levels) for _ in range(depth))


# Not timm's own epsilon, but that of its FocalNet.
_NORM: Any = partial(LayerNorm2d, eps=1e-5)
_BLOCK: dict[str, Any] = {"use_post_norm": True, "normalize_modulator": True, "layerscale_value": 1e-4}


class DepthwiseFocalBlock(FocalNetBlock):
    """timm's block with a 3 x 3 depthwise convolution added before each half, and each norm after the half's sum.

    It is the block of `focal_dw`, FocalNet-T in X-Decoder (Zou et al. 2023, arXiv 2212.11270) and SEEM.
    """

    def __init__(self, width: int, levels: int) -> None:
        super().__init__(width, focal_level=levels, focal_window=3, norm_layer=_NORM, **_BLOCK)
        self.dw1 = nn.Conv2d(width, width, kernel_size=3, padding=1, groups=width)
        self.dw2 = nn.Conv2d(width, width, kernel_size=3, padding=1, groups=width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Of a map (B, D, H, W), another of the same shape."""
        x = x + self.dw1(x)
        x = self.norm1_post(x + self.ls1(self.modulation(x)))
        x = x + self.dw2(x)
        return self.norm2_post(x + self.ls2(self.mlp(x)))

"""Image towers of OpenCLIP: CLIP, SigLIP, BiomedCLIP and their like; the text tower is never built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip import model as towers
from open_clip.modified_resnet import ModifiedResNet
from open_clip.pretrained import download_pretrained, download_pretrained_from_hf, get_pretrained_cfg
from open_clip.timm_model import TimmModel
from open_clip.transform import PreprocessCfg, merge_preprocess_dict
from torch import nn

from ...base import BackboneError, WeightsError, did_you_mean, one_of
from ...cache import TransformSpec
from ...cache.spec import Positions
from ..catalogue import Entry, Local, Random
from ..weights.download import advice_without_hub
from ..weights.loading import load_file
from ..weights.published import OPENAI_MARKS
from ..weights.tensors import read_local
from .from_timm import TimmAdapter, end_of, run
from .interface import (
    Adapter,
    Features,
    Inside,
    Matcher,
    Place,
    Wanted,
    grid_of,
    matcher_under,
    positions,
    read_config,
    transform_spec,
)
from .position_embeddings import resampled, way_of

_HUB = "hf-hub:"
_CONFIG = "open_clip_config.json"
# The repositories of OpenCLIP's authors hold transformers' files as well, under other names.
_FILES = ("open_clip_model", "open_clip_pytorch_model")


class OpenClipAdapter(Adapter):
    """open_clip: `MODEL`, `MODEL/TAG` or `hf-hub:ORG/NAME`; the model's and the tag's configs own the preprocessing."""

    def create(self, entry: Entry) -> nn.Module:
        config = _config(entry)["model_cfg"]
        # Not `create_model`, which builds the text tower too, and asks a hub for that of BiomedCLIP.
        return towers._build_vision_tower(
            config["embed_dim"], config["vision_cfg"] | {"output_tokens": False}, config.get("quick_gelu", False)
        )

    def load(self, entry: Entry) -> nn.Module:
        network = self.create(entry)
        local = entry.weights if isinstance(entry.weights, Local) else Local(_from_hub(entry))
        file = _local_file(local.path)
        tensors = read_local(replace(local, path=file))
        _require_same_activation(tensors, entry)
        load_file(network, tensors, file.name, entry)
        return network

    def transform(self, network: Any, entry: Entry, size: int | None) -> TransformSpec:
        config = _config(entry)["preprocess_cfg"]
        height, width = (size, size) if size else _own_size(network)
        squash = config["resize_mode"] == "squash" or height != width
        if not squash and (mode := config["resize_mode"]) != "shortest":
            raise BackboneError(f'{entry.name}: its config resizes by "{mode}", which is not supported.')
        return transform_spec(config, (height, width), (height, width), squash=squash)

    def config(self, network: Any, entry: Entry) -> Mapping[str, Any]:
        if not entry.beside(_CONFIG) and (entry.config is not None or not entry.model.startswith(_HUB)):
            return {}
        config = _config(entry)["model_cfg"]
        return {name: config[name] for name in ("embed_dim", "vision_cfg", "quick_gelu") if name in config}

    def set_image_size(self, network: Any, entry: Entry, size: tuple[int, int]) -> Positions:
        own = _own_size(network)
        if own == size:
            return ""
        way = way_of(entry.model)
        if isinstance(network, TimmModel):
            way = TimmAdapter().set_image_size(network.trunk, entry, size)
        elif isinstance(network, ModifiedResNet):
            raise BackboneError(f"this architecture takes images of {own[0]} x {own[1]} pixels only.")
        else:
            grid = grid_of(size, network.patch_size[0])
            held = resampled(network.positional_embedding[None], grid, way, tuple(network.grid_size), prefix=1)
            network.positional_embedding, network.grid_size = nn.Parameter(held[0], requires_grad=False), grid
        network.image_size = size
        return way

    def inside(self, network: Any) -> Inside:
        if isinstance(network, TimmModel):
            return replace(TimmAdapter().inside(network.trunk), projected=_projects_class_token(network))
        if isinstance(network, ModifiedResNet):
            return Inside(maps=("stage1", "stage2", "stage3", "stage4"))
        # CoCa's norm comes after its attention pooling, so its tokens have no normed form.
        blocks = len(network.transformer.resblocks) if network.attn_pool is None else 0
        return Inside(blocks, projected=_projects_class_token(network))

    def group_matcher(self, network: Any) -> Matcher | None:
        if isinstance(network, TimmModel):
            return matcher_under("trunk.", TimmAdapter().group_matcher(network.trunk))
        if isinstance(network, ModifiedResNet):
            return {"stem": r"^(?:conv|bn)\d", "blocks": r"^layer(\d+)\.(\d+)"}
        return {
            "stem": r"^(?:class_embedding|positional_embedding|conv1|ln_pre)",
            "blocks": r"^transformer\.resblocks\.(\d+)",
        }

    def features(self, network: Any, images: torch.Tensor, wanted: Wanted) -> Features:
        """Towers that are OpenCLIP's own always run to their end."""
        if isinstance(network, TimmModel):
            return _of_timm(network, images, wanted)
        if isinstance(network, ModifiedResNet):
            return _of_resnet(network, images, wanted)
        if network.attn_pool is not None:
            return Features(proj=network(images))
        return _of_transformer(network, images, wanted)


def _of_timm(model: Any, images: torch.Tensor, wanted: Wanted) -> Features:
    """A tower that timm holds: timm's own tokens, and OpenCLIP's projection of what timm makes of them."""
    last, inside = run(model.trunk, images, wanted)
    if _projects_class_token(model):
        ends = {place: one.cls[:, None] for place, one in inside.items() if one.cls is not None}
        proj = {place: model.head(model.trunk.forward_head(tokens)) for place, tokens in ends.items()}
        inside = {place: replace(one, proj=proj.get(place)) for place, one in inside.items()}
    if last is None:
        return Features(inside=inside)
    proj = model.head(model.trunk.forward_head(last))
    return replace(end_of(model.trunk, last), pooled=None, proj=proj, inside=inside)


def _of_resnet(model: Any, images: torch.Tensor, wanted: Wanted) -> Features:
    """CLIP's own ResNet, whose five maps are its stem's and its stages'."""
    out = model.forward_intermediates(images)
    maps = [Features(patches=positions(feature_map)) for feature_map in out["image_intermediates"]]
    inside: dict[Place, Features] = {place: maps[int(str(place).removeprefix("stage"))] for place in wanted.inside}
    return replace(maps[-1], proj=out["image_features"], inside=inside)


def _of_transformer(model: Any, images: torch.Tensor, wanted: Wanted) -> Features:
    """CLIP's own transformer; class and patch tokens with its last norm, before the projection."""
    last = len(model.transformer.resblocks)
    blocks = sorted({int(place) for place in wanted.inside} | {last})
    out = model.forward_intermediates(
        images,
        indices=[block - 1 for block in blocks],
        normalize_intermediates=True,
        output_fmt="NLC",
        output_extra_tokens=True,
    )
    parts = zip(blocks, out["image_intermediates"], out["image_intermediates_prefix"], strict=True)
    project = model.proj if _projects_class_token(model) else None
    taps: dict[Place, Features] = {
        n: Features(cls=prefix[:, 0], patches=tokens, proj=None if project is None else prefix[:, 0] @ project)
        for n, tokens, prefix in parts
    }
    return replace(taps[last], proj=out["image_features"], inside={place: taps[place] for place in wanted.inside})


def _projects_class_token(tower: Any) -> bool:
    """Whether what goes through the projection is the class token alone, and not a mean or attention over all."""
    if isinstance(tower, TimmModel):
        return getattr(tower.trunk, "global_pool", "") == "token"
    return tower.pool_type == "tok" and tower.proj is not None


def _own_size(network: nn.Module) -> tuple[int, int]:
    size: Any = network.image_size
    return (size, size) if isinstance(size, int) else tuple(size)


def _config(entry: Entry) -> dict[str, Any]:
    """`model_cfg` and a whole `preprocess_cfg`, of the folder, the entry, the hub or the library, in this order."""
    found = _own_config(entry)
    defaults = merge_preprocess_dict(PreprocessCfg(), {})
    return {
        "model_cfg": found.get("model_cfg", found),
        "preprocess_cfg": merge_preprocess_dict(defaults, found.get("preprocess_cfg", {})),
    }


def _own_config(entry: Entry) -> dict[str, Any]:
    if config_file := entry.beside(_CONFIG):
        return _open_clip_config(config_file)
    if entry.config is not None:
        return entry.config
    if not entry.model.startswith(_HUB):
        return _library_config(entry)
    if isinstance(entry.weights, Random):
        raise BackboneError(f"{entry.name}: the architecture of {entry.model} is known to the hub alone.")
    with advice_without_hub(entry, _repository(entry)):
        return _open_clip_config(Path(download_pretrained_from_hf(entry.model.removeprefix(_HUB), filename=_CONFIG)))


def _open_clip_config(file: Path) -> dict[str, Any]:
    config = read_config(file)
    if not {"embed_dim", "vision_cfg"} <= config.get("model_cfg", {}).keys():
        raise WeightsError(
            f"{file.name} is not an OpenCLIP config: it needs model_cfg with embed_dim and vision_cfg in it."
        )
    return config


def _library_config(entry: Entry) -> dict[str, Any]:
    name, _, tag = entry.model.partition("/")
    config = open_clip.get_model_config(name)
    if config is None:
        raise BackboneError(
            f'open_clip has no model "{name}".{did_you_mean(name, open_clip.list_models())} hf-hub:ORG/NAME names any '
            "other on the hub."
        )
    tag_config = _tag_config(entry) if tag else {}
    # The tag knows what its weights were trained with; the same architecture came with either activation.
    config["quick_gelu"] = config.get("quick_gelu", False) or tag_config.get("quick_gelu", False)
    return {"model_cfg": config, "preprocess_cfg": tag_config}


def _tag_config(entry: Entry) -> dict[str, Any]:
    name, _, tag = entry.model.partition("/")
    config = get_pretrained_cfg(name, tag)
    if not config:
        tags = open_clip.list_pretrained_tags_by_model(name)
        raise BackboneError(f'open_clip has no weights "{tag}" for {name}, but {one_of(tags)}.')
    return config


def _local_file(path: Path) -> Path:
    """The file of a folder that is OpenCLIP's, where it holds others too; else the path itself."""
    named = (path / f"{stem}{suffix}" for stem in _FILES for suffix in (".safetensors", ".bin"))
    return next((file for file in named if file.is_file()), path) if path.is_dir() else path


def _from_hub(entry: Entry) -> Path:
    on_hub = entry.model.startswith(_HUB)
    if not on_hub and "/" not in entry.model:
        raise WeightsError(
            f"{entry.name} names no weights; write {entry.name}/TAG with one of "
            f"{one_of(open_clip.list_pretrained_tags_by_model(entry.model))}, or {entry.name}@FILE for your own."
        )
    with advice_without_hub(entry, _repository(entry)):
        if on_hub:
            return Path(download_pretrained_from_hf(entry.model.removeprefix(_HUB)))
        return Path(download_pretrained(_tag_config(entry)))


def _repository(entry: Entry) -> str:
    on_hub = entry.model.startswith(_HUB)
    named = entry.model.removeprefix(_HUB) if on_hub else _tag_config(entry)["hf_hub"]
    return "/".join(named.split("/")[:2])


def _require_same_activation(tensors: Mapping[str, torch.Tensor], entry: Entry) -> None:
    """OpenAI's own files give themselves away, and all their networks used the quick GELU."""
    if tensors.keys() >= OPENAI_MARKS and not _config(entry)["model_cfg"].get("quick_gelu", False):
        raise WeightsError(
            f"{entry.name}: these are OpenAI's own weights, trained with the quick GELU; name them "
            f'"open_clip:{entry.model.partition("/")[0]}/openai@FILE", so that the network computes it too.'
        )

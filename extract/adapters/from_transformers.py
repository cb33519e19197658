"""Backbones of Hugging Face transformers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from inspect import signature
from pathlib import Path
from types import MethodType
from typing import Any

import torch
from torch import nn

from ...base import BackboneError, WeightsError
from ...base.text import first_line
from ...cache import TransformSpec
from ...cache.spec import Positions
from ..catalogue import Entry, Hub, Local
from ..weights.download import advice_without_hub
from ..weights.loading import load_file, misfits
from ..weights.published import BLIP, Published, blip_image_size, recognise
from ..weights.tensors import Tensors, read_tensors
from .image_processors import transform_of
from .interface import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    LAST_OF_STAGE,
    Adapter,
    Features,
    Inside,
    Matcher,
    Place,
    Wanted,
    grid_of,
    positions,
)
from .position_embeddings import resampled, way_of

_NO_MATTER = {"architectures", "dtype", "id2label", "label2id", "problem_type", "torch_dtype", "transformers_version"}
"""What a config says that changes no vector."""


class TransformersAdapter(Adapter):
    """transformers: `AutoModel` for the network, the image processor's config for the preprocessing."""

    def create(self, entry: Entry) -> nn.Module:
        """See `Adapter.create`."""
        return _untrained(_config(entry))

    def load(self, entry: Entry) -> nn.Module:
        """See `Adapter.load`."""
        tensors = _read_one_file(entry)
        layout = recognise(tensors) if tensors else None
        if tensors and layout:
            return _from_published(entry, tensors, layout)
        with _quiet():
            network, loading_info = _from_tensors(entry, tensors) if tensors else _from_folder_or_hub(entry)
        vision = _vision_part(network)
        prefix = next((f"{name}." for name in _VISION_PARTS if getattr(network, name, None) is vision), "")
        missing = sorted(name.removeprefix(prefix) for name in loading_info["missing_keys"] if name.startswith(prefix))
        _require_fit(vision, prefix, missing, loading_info, entry)
        _do_without(vision, missing)
        return vision

    def fit_to(self, network: Any, tensors: Mapping[str, torch.Tensor], where: str) -> None:
        """See `Adapter.fit_to`."""
        if not any(name.startswith("pooler.") for name in tensors):
            network.pooler = None

    def transform(self, network: Any, entry: Entry, size: int | None) -> TransformSpec:
        """See `Adapter.transform`."""
        return transform_of(_processor(entry), size, entry.name)

    def config(self, network: Any, entry: Entry) -> Mapping[str, Any]:
        """See `Adapter.config`."""
        brought = isinstance(entry.weights, Local) and (entry.weights.path / "config.json").is_file()
        if entry.config is not None and not brought:
            return {}
        config = network.config.to_diff_dict()
        return {name: value for name, value in config.items() if name not in _NO_MATTER and name[:1] != "_"}

    def set_image_size(self, network: Any, entry: Entry, size: tuple[int, int]) -> Positions:
        """See `Adapter.set_image_size`."""
        patch = getattr(network.config, "patch_size", None)
        if not isinstance(patch, int):
            return ""
        grid, way = grid_of(size, patch), way_of(entry.model, network.config.model_type)
        if _is_sam(network):
            own, network.patch_embed.image_size = tuple(network.patch_embed.image_size), size
            if own == size or network.pos_embed is None:
                return ""
            # The relative positions of its attention follow by themselves.
            network.pos_embed = resampled(network.pos_embed, grid, way)
            return way
        sides: Any = getattr(network.config, "image_size", None) or size
        height, width = (sides, sides) if isinstance(sides, int) else sides
        if (height, width) == size:
            return ""
        interpolating = [module for module in network.modules() if hasattr(module, "interpolate_pos_encoding")]
        # Rotary positions are computed for each size.
        if not interpolating and not hasattr(network, "rope_embeddings"):
            raise BackboneError(f"this architecture takes images of {height} x {width} pixels only.")
        held = [_hold_positions(module, grid, way, (height // patch, width // patch)) for module in interpolating]
        if any(held):
            network.config.image_size = size
        return way if any(held) else ""

    def inside(self, network: Any) -> Inside:
        """See `Adapter.inside`."""
        config = network.config
        if _is_sam(network):
            return Inside(config.num_hidden_layers, ("neck",))
        if config.model_type in _MAPS_BY_STAGE:
            return Inside(maps=tuple(f"stage{number + 1}" for number in range(len(config.depths))))
        blocks = getattr(config, "num_hidden_layers", None)
        return Inside(blocks=blocks if isinstance(blocks, int) and not hasattr(config, "depths") else 0)

    def group_matcher(self, network: Any) -> Matcher:
        """See `Adapter.group_matcher`."""
        return {"stem": _STEM, "blocks": _BLOCKS}

    def features(self, network: Any, images: torch.Tensor, wanted: Wanted) -> Features:
        """See `Adapter.features`. These networks always run to their end."""
        if _is_sam(network):
            return _features_of_sam(network, images, wanted)
        options = {"output_hidden_states": True} if wanted.inside else {}
        if "interpolate_pos_encoding" in signature(network.forward).parameters:
            # Which older architectures need before they take another image size; newer ones always do.
            options["interpolate_pos_encoding"] = True
        out = network(images, **options)
        last = out.last_hidden_state
        pooled = getattr(out, "pooler_output", None)
        if last.ndim == 4:
            stages = {name: out.hidden_states[int(str(name).removeprefix("stage"))] for name in wanted.inside}
            maps: dict[Place, Features] = {name: Features(patches=positions(one)) for name, one in stages.items()}
            return Features(None if pooled is None else pooled.flatten(1), patches=positions(last), inside=maps)
        blocks = {place: _tokens(network, _normed(network, out, int(place))) for place in wanted.inside}
        return replace(_tokens(network, last), pooled=pooled, inside=blocks)


_STEM = r"^(?:\w+\.)?(?:embeddings|embedder|patch_embed|pos_embed|pre_layrnorm)\b"
_BLOCKS = [
    (r"^(?:\w+\.)?(?:layers|stages)\.(\d+)\.(?:layers|blocks)\.(\d+)\.", None),
    # ConvNeXt makes a map smaller before a stage, and Swin after it.
    (r"^(?:\w+\.)?stages\.(\d+)\.downsampling_layer\.", (0,)),
    (r"^(?:\w+\.)?layers\.(\d+)\.downsample\.", LAST_OF_STAGE),
    (r"^(?:\w+\.)?layers?\.(\d+)\.", None),
]
"""Where the image encoders of transformers keep their blocks, by stage where they have stages."""

_MAPS_BY_STAGE = {"convnext", "convnextv2", "regnet", "resnet"}
"""Architectures whose hidden states are the stages' maps, before the next stage makes them smaller."""


def _is_sam(network: Any) -> bool:
    return network.config.model_type == "sam_vision_model"


def _hold_positions(module: Any, grid: tuple[int, int], way: Positions, old_grid: tuple[int, int]) -> bool:
    """Gives a module the positions of `grid` for good, instead of those that transformers interpolates per batch.

    False for one that has none, or keeps them in another form (of several stages, say), which is left as it is.
    """
    name = _name_of_positions(module)
    held = getattr(module, name, None)
    rows = held.weight[None] if isinstance(held, nn.Embedding) else held
    if not isinstance(rows, torch.Tensor) or rows.ndim != 3:
        return False
    prefix = rows.shape[1] - old_grid[0] * old_grid[1]
    if not 0 <= prefix <= 2:
        return False
    made = resampled(rows, grid, way, old_grid, prefix=prefix)
    if isinstance(held, nn.Embedding):
        held.weight = nn.Parameter(made[0], requires_grad=False)
    else:
        setattr(module, name, made)
    # Bound to the module and not a closure over it, so that a copy of the network has positions of its own.
    module.interpolate_pos_encoding = MethodType(_held_positions, module)
    return True


def _name_of_positions(module: Any) -> str:
    return next((n for n in ("position_embeddings", "position_embedding") if getattr(module, n, None) is not None), "")


def _held_positions(module: Any, *_: Any) -> torch.Tensor:
    held = getattr(module, _name_of_positions(module))
    return held.weight[None] if isinstance(held, nn.Embedding) else held


def _features_of_sam(network: Any, images: torch.Tensor, wanted: Wanted) -> Features:
    """As through timm: the encoder ends in its last block, and the neck after it is a map of its own."""
    out = network(images, output_hidden_states=True)
    blocks = {place: out.hidden_states[place].flatten(1, 2) for place in wanted.inside if isinstance(place, int)}
    inside: dict[Place, Features] = {place: Features(patches=tokens) for place, tokens in blocks.items()}
    if "neck" in wanted.inside:
        inside["neck"] = Features(patches=positions(out.last_hidden_state))
    return Features(patches=out.hidden_states[-1].flatten(1, 2), inside=inside)


def _normed(network: Any, out: Any, block: int) -> torch.Tensor:
    """Tokens (B, N, D) of a block, with the norm that the last block's tokens get, if they get any."""
    tokens = out.hidden_states[block]
    if out.hidden_states[-1] is out.last_hidden_state:
        return tokens
    norms = (getattr(network, name, None) for name in ("layernorm", "norm", "post_layernorm"))
    norm = next((norm for norm in norms if norm is not None), None)
    return tokens if norm is None else norm(tokens)


def _tokens(network: Any, tokens: torch.Tensor) -> Features:
    """The class token, if there is one, and those of the patches."""
    if not any(name.endswith(("cls_token", "class_embedding")) for name, _ in network.named_parameters()):
        return Features(patches=tokens)
    prefix = 1 + int(getattr(network.config, "num_register_tokens", 0) or 0)
    return Features(cls=tokens[:, 0], patches=tokens[:, prefix:])


_VISION_PARTS = ("vision_model", "vision_encoder")
"""Where a model of transformers that is more than an image encoder keeps it."""


def _untrained(config: Any) -> nn.Module:
    from transformers import AutoModel, BlipVisionModel

    if config.model_type == "blip":
        # transformers makes no BLIP of its image side alone by itself, and the text side would be built in vain.
        return BlipVisionModel(config.vision_config)
    with _quiet():
        return _vision_part(AutoModel.from_config(config))


def _from_published(entry: Entry, tensors: Tensors, layout: Published) -> nn.Module:
    """The architecture with a file of its authors' own names."""
    assert isinstance(entry.weights, Local)
    config = _config(entry)
    if layout is BLIP and config.model_type == "blip":
        config.vision_config.image_size = blip_image_size(tensors)  # the file alone says at which it was trained
    network = _untrained(config)
    load_file(network, tensors, entry.weights.path.name, entry)
    return network


def _vision_part(model: Any) -> nn.Module:
    """The image encoder of a model of images and texts; MAE's sees all patches in order, as its authors evaluate it."""
    part = next((part for name in _VISION_PARTS if (part := getattr(model, name, None)) is not None), model)
    if part.config.model_type == "vit_mae":
        part.embeddings.random_masking = lambda tokens, noise=None: (tokens, None, None)
    return part


def _read_one_file(entry: Entry) -> Tensors | None:
    """The tensors of a file, or of a folder of one that transformers would have to unpickle; None for all else."""
    if not isinstance(entry.weights, Local):
        return None
    if entry.weights.path.is_dir() and any(entry.weights.path.glob("*.safetensors")):
        return None
    return read_tensors(entry.weights.path)


_REPORTING: dict[str, Any] = {"output_loading_info": True, "ignore_mismatched_sizes": True}
"""transformers is to report what did not fit, and we refuse it, with the tensors' names."""


def _from_tensors(entry: Entry, tensors: Tensors) -> tuple[nn.Module, dict[str, Any]]:
    """The model with tensors that our own reader has read; transformers knows the names of its older versions."""
    from transformers import MODEL_MAPPING

    assert isinstance(entry.weights, Local)
    config = _config(entry)
    if type(config) not in MODEL_MAPPING:
        raise WeightsError(f"{entry.name}: transformers has no network for a config of {config.model_type}.")
    architecture: Any = MODEL_MAPPING[type(config)]
    try:
        return architecture.from_pretrained(None, config=config, state_dict=tensors, dtype=torch.float32, **_REPORTING)
    except (RuntimeError, ValueError) as error:
        raise WeightsError(f"{entry.weights.path.name}: does not fit {entry.model} ({first_line(error)}).") from error


def _from_folder_or_hub(entry: Entry) -> tuple[nn.Module, dict[str, Any]]:
    from safetensors import SafetensorError
    from transformers import AutoModel

    options: dict[str, Any] = {"use_safetensors": True, "dtype": torch.float32, **_REPORTING}
    if not isinstance(entry.weights, Local):
        with advice_without_hub(entry, entry.model):
            return AutoModel.from_pretrained(entry.model, **options)
    folder = entry.weights.path
    if (folder / "config.json").is_file():
        options["config"] = _read_config(folder)
    try:
        return AutoModel.from_pretrained(folder, local_files_only=True, **options)
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise WeightsError(f"{folder.name}: no whole model of transformers ({first_line(error)}).") from error


_BESIDE = re.compile(
    r"\w*(classifier|head|decoder|projection|projector|predictor)\w*\.|(text|language|qformer|prompt)_\w+\."
    r"|(vision|text|itm)_proj\.|(pooler|fc|cls|dino|ibot)\.|logit_(scale|bias)$|shared_image_embedding\."
)
"""What a file may hold in addition to an image encoder: what was trained on top of it, and the side of the texts."""
_COMPUTED = re.compile(r"(position_ids|relative_position_index|relative_coords_table|num_batches_tracked|mask_token)$")
"""What old files store and networks compute, and what pre-training alone uses."""
_DISPENSABLE = re.compile(r"^pooler\.|mask_token")
"""What weights may lack."""


def _require_fit(
    network: nn.Module, prefix: str, missing: list[str], loading_info: dict[str, Any], entry: Entry
) -> None:
    """Every tensor of the image encoder, which the model keeps under `prefix`, has to have its place and shape."""
    problems = misfits(
        missing=[name for name in missing if not _DISPENSABLE.search(name)],
        extra=sorted(name for name in loading_info["unexpected_keys"] if _is_left_over(name, network, prefix)),
        misshapen=sorted(row for row in loading_info["mismatched_keys"] if row[0].startswith(prefix)),
    )
    if problems:
        layout = recognise(loading_info["unexpected_keys"])
        looks = f" They look like {layout.title}." if layout else ""
        raise WeightsError(
            f"{entry.name}: the tensors do not fit the architecture that the config describes; {problems}.{looks} "
            "Use the config.json that was published with these weights."
        )


def _is_left_over(name: str, network: nn.Module, prefix: str) -> bool:
    """Whether a tensor that found no place would have been one of the image encoder's."""
    if prefix and not name.startswith(prefix):
        return False
    # Models with a head keep the encoder under a name of its own, which transformers tells and we do not need.
    bases = (prefix, f"{getattr(network, 'base_model_prefix', '')}.", *(f"{part}." for part in _VISION_PARTS))
    base = next((base for base in bases if len(base) > 1 and name.startswith(base)), "")
    own = name.removeprefix(base)
    if _COMPUTED.search(own):
        return False
    inside = own.split(".")[0] in dict(network.named_children())
    return inside or not _BESIDE.match(own)


def _do_without(network: Any, missing: list[str]) -> None:
    """Takes out of a network what its weights do not hold and a backbone can do without.

    Left in, it would be random: another vector, and another cache, at each load.
    """
    if any(name.startswith("pooler.") for name in missing):
        network.pooler = None
    with torch.no_grad():
        for name, value in network.named_parameters():
            if name in missing:
                value.zero_()  # used in pre-training alone


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps transformers from reporting on keys and from drawing bars; what matters is an error of ours."""
    from transformers.utils import logging

    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()


def _read_config(folder: Path) -> Any:
    """The architecture that a folder's config.json describes."""
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, StrictDataclassError) as error:
        raise WeightsError(
            f"{folder.name}/config.json: describes no architecture of transformers ({first_line(error)}). Put the "
            "config.json there that was published with these weights."
        ) from error


@_quiet()
def _config(entry: Entry) -> Any:
    from transformers import AutoConfig

    if entry.config is not None:
        options = dict(entry.config)
        return AutoConfig.for_model(options.pop("model_type"), **options)
    if file := entry.beside("config.json"):
        return _read_config(file.parent)
    with advice_without_hub(entry, entry.model):
        return AutoConfig.from_pretrained(entry.model)


def _processor(entry: Entry) -> dict[str, Any]:
    """The image processor's config as a dictionary: of the place of the weights, else the entry's, else the hub's.

    Where an entry brings the architecture's config and says nothing of preprocessing, it is ImageNet's standard one.
    """
    from transformers.image_processing_base import ImageProcessingMixin

    if file := entry.beside("preprocessor_config.json"):
        return ImageProcessingMixin.get_image_processor_dict(file.parent)[0]
    known = not isinstance(entry.weights, Hub)
    if known and entry.preprocessing:
        return entry.preprocessing
    if known and entry.config is not None:
        side = entry.image_size or entry.config["image_size"]
        return {"size": {"shortest_edge": side}, "image_mean": IMAGENET_MEAN, "image_std": IMAGENET_STD}
    with advice_without_hub(entry, entry.model):
        return ImageProcessingMixin.get_image_processor_dict(entry.model)[0]

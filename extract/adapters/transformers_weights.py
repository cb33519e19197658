"""Networks of transformers with their weights: from one file, a folder or the hub, and only if every tensor fits."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...base import WeightsError
from ...base.text import first_line
from ..catalogue import Entry, Local
from ..weights.download import advice_without_hub
from ..weights.loading import load_file, misfits, prefix_hint
from ..weights.published import BLIP, Published, blip_image_size, recognise
from ..weights.tensors import Tensors, read_local

_VISION_PARTS = ("vision_model", "vision_encoder")
"""Where a model of transformers that is more than an image encoder keeps it."""


def load_vision(entry: Entry) -> nn.Module:
    """The image encoder of an entry with its weights; see `Adapter.load`."""
    tensors = _read_one_file(entry)
    layout = recognise(tensors) if tensors else None
    if tensors and layout:
        return _from_published(entry, tensors, layout)
    with _quiet():
        network, loading_info = _from_tensors(entry, tensors) if tensors else _from_folder_or_hub(entry)
    vision = _vision_part(network)
    prefix = next((f"{name}." for name in _VISION_PARTS if getattr(network, name, None) is vision), "")
    missing = sorted(name.removeprefix(prefix) for name in loading_info["missing_keys"] if name.startswith(prefix))
    _require_fit(vision, prefix, missing, loading_info, entry, prefix_hint(tensors or {}, vision.state_dict()))
    _do_without(vision, missing)
    return vision


def untrained_vision(config: Any) -> nn.Module:
    """The image encoder of a config, with random weights."""
    from transformers import AutoModel, BlipVisionModel

    if config.model_type == "blip":
        # transformers makes no BLIP of its image side alone by itself, and the text side would be built in vain.
        return BlipVisionModel(config.vision_config)
    with _quiet():
        return _vision_part(AutoModel.from_config(config))


def _from_published(entry: Entry, tensors: Tensors, layout: Published) -> nn.Module:
    """The architecture with a file of its authors' own names."""
    assert isinstance(entry.weights, Local)
    config = config_of(entry)
    if layout is BLIP and config.model_type == "blip":
        config.vision_config.image_size = blip_image_size(tensors)  # the file alone says at which it was trained
    network = untrained_vision(config)
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
    if not entry.weights.prefix and entry.weights.path.is_dir() and any(entry.weights.path.glob("*.safetensors")):
        return None
    return read_local(entry.weights)


_REPORTING: dict[str, Any] = {"output_loading_info": True, "ignore_mismatched_sizes": True}
"""transformers is to report what did not fit, and we refuse it, with the tensors' names."""


def _from_tensors(entry: Entry, tensors: Tensors) -> tuple[nn.Module, dict[str, Any]]:
    """The model with tensors that our own reader has read; transformers knows the names of its older versions."""
    from transformers import MODEL_MAPPING

    assert isinstance(entry.weights, Local)
    config = config_of(entry)
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
    network: nn.Module, prefix: str, missing: list[str], loading_info: dict[str, Any], entry: Entry, hint: str
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
            f"{entry.name}: the tensors do not fit the architecture that the config describes; {problems}.{looks}"
            f"{hint or ' Use the config.json that was published with these weights.'}"
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
def config_of(entry: Entry) -> Any:
    """The architecture of an entry: its own, that of its folder, or the hub's."""
    from transformers import AutoConfig

    if entry.config is not None:
        options = dict(entry.config)
        return AutoConfig.for_model(options.pop("model_type"), **options)
    if file := entry.beside("config.json"):
        return _read_config(file.parent)
    with advice_without_hub(entry, entry.model):
        return AutoConfig.from_pretrained(entry.model)

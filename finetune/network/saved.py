"""Fine-tuned networks on disk: safetensors, and a JSON that rebuilds them; nothing in them is ever executed."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import nn

from ...base import WeightsError, atomic_folder
from ...base.files import sha256_of
from ...cache.index import digest_keys
from ...extract.adapters import ADAPTERS
from ...extract.architecture import untrained_vectors
from ...extract.catalogue import LIBRARIES
from ...extract.weights.fine_tuned import TRAINED_ON, WEIGHTS, FineTuned
from ...extract.weights.loading import as_is, load_file
from .classifier import Classifier, assemble
from .lora import merge_updates
from .modes import Mode

_HEAD = "head.safetensors"


def save_weights(classifier: Classifier, folder: Path, about: Mapping[str, Any], trained_on: np.ndarray) -> None:
    """Writes a folder with `weights.safetensors`, `head.safetensors`, `trained_on.safetensors` and `network.json`.

    The first is the backbone as its library has it, updates of LoRA added to its weights: `NAME@FOLDER` is a backbone
    like any other, unless it is without its last blocks. A folder that is there already stays as it is. `about` is what
    else is known, in words of JSON: classes, recipe, seed; no paths. `trained_on`, (n, 16) uint8, has digests of the
    images of train and val; the file has those of earlier trainings of the backbone too.

    Raises:
        OutputError: it cannot be written.
    """
    entry, spec = classifier.made_of
    mode, network = classifier.mode, classifier.vectors.network
    config = entry.config or ADAPTERS[entry.source].config(network, entry) or None
    if mode.kind == "lora":
        network = deepcopy(network)
        merge_updates(network)
    with atomic_folder(folder) as draft:
        # Not by `save_file`, whose files nobody else may read.
        (draft / WEIGHTS).write_bytes(save(_tensors(network)))
        (draft / _HEAD).write_bytes(save(_tensors(classifier.head)))
        (draft / TRAINED_ON).write_bytes(save(_seen(classifier, trained_on)))
        FineTuned(
            backbone=entry.name,
            source=entry.source,
            model=entry.model,
            channels=entry.channels,
            options=entry.options,
            config=config,
            pretrained=spec.weights_digest,
            transform=classifier.vectors.transform,
            pooling=spec.poolings[0],
            mode=mode.name,
            dropped=mode.dropped,
            deit=mode.deit.partition("@")[0],
            outputs=classifier.head.output.out_features,
            about=about,
            versions={name: version(name) for name in sorted({"medprobe", "torch", LIBRARIES[entry.source]})},
            digests={name: sha256_of(draft / name) for name in sorted(file.name for file in draft.iterdir())},
        ).write(draft)


def load_classifier(folder: Path, *, device: str = "cpu") -> Classifier:
    """The network and head that `save_weights` wrote, frozen and in evaluation mode.

    Raises:
        WeightsError: a file is missing, damaged or of another version, or the tensors do not fit.
        BackboneError: the installed library does not have the architecture.

    Examples:
        >>> import numpy as np
        >>> import torch
        >>> from medprobe.extract import load_backbone
        >>> from medprobe.finetune import load_classifier
        >>> from medprobe.finetune.network.classifier import make_classifier
        >>> from medprobe.finetune.network.saved import save_weights
        >>> backbone = load_backbone("timm:test_resnet@random", image_size=64, device="cpu", runtime="torch")
        >>> images = np.zeros((1, 16), np.uint8)
        >>> save_weights(make_classifier(backbone, "full", 3), folder / "tuned", {"classes": ["a", "b", "c"]}, images)
        >>> classifier = load_classifier(folder / "tuned")
        >>> classifier(torch.zeros(1, 3, 64, 64, dtype=torch.uint8)).shape
        torch.Size([1, 3])
    """
    tuned = FineTuned.read(folder)
    if tuned.source == "python":
        name = f"python:{tuned.model}@{folder.name}"
        raise WeightsError(
            f"{folder.name}: this network is made by code of your own, which a file must not call. Name it yourself: "
            f'load_backbone("{name}") gives the network without its head.'
        )
    entry = tuned.entry(folder)
    mode = Mode.parse(tuned.mode)
    tensors, head = tuned.read_weights(folder / WEIGHTS), tuned.read_weights(folder / _HEAD)
    vectors = untrained_vectors(entry, pooling=tuned.pooling, device="cpu")
    # Updates of LoRA are part of the weights, and what reads tokens has its weights in the head's file.
    plain = replace(mode, kind="linear", number=None) if mode.kind == "lora" else mode
    plain = replace(plain, deit=f"{tuned.deit}@random") if tuned.deit else plain
    classifier = assemble(vectors, plain, tuned.outputs)
    load_file(classifier.vectors.network, tensors, WEIGHTS, entry, as_is)
    load_file(classifier.head, head, _HEAD, entry, as_is)
    classifier.mode = mode
    classifier.requires_grad_(False).eval()
    return classifier.to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def _seen(classifier: Classifier, images: np.ndarray) -> dict[str, torch.Tensor]:
    """Digests of all images that the network was ever trained on, and which of them its backbone has learnt from."""
    entry = classifier.made_of[0]
    tuned = FineTuned.of(entry)
    earlier = images[:0] if tuned is None else tuned.trained_on(entry)
    digests = np.unique(np.concatenate([images, earlier]), axis=0)
    learnt = digests if classifier.mode.trains_backbone else earlier
    known = np.isin(digest_keys(digests), digest_keys(learnt))
    return {"digests": torch.from_numpy(digests), "backbone": torch.from_numpy(known)}


def _tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().cpu().contiguous().clone() for name, value in module.state_dict().items()}

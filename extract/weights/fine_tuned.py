"""A fine-tuned network on disk: what `network.json` beside its weights says of it, so that it is a backbone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...base import WeightsError, canonical_json, fingerprint
from ...base.files import sha256_of
from ...base.text import first_line
from ...cache import TransformSpec
from ..catalogue import Entry, Local
from .tensors import read_tensors

WEIGHTS, TRAINED_ON, DESCRIPTION = "weights.safetensors", "trained_on.safetensors", "network.json"
_SCHEMA = 3
"""Version of the folder."""


@dataclass(frozen=True, kw_only=True)
class FineTuned:
    """The network that `weights.safetensors` belongs to."""

    backbone: str
    """What it was called before: a name of the catalogue or `source:model`, a weights file without its folder."""
    source: str
    model: str
    channels: int
    options: Mapping[str, Any]
    config: Mapping[str, Any] | None
    """As in `Entry`, so that no catalogue and no hub is needed."""
    pretrained: str
    """Digest of the weights that it was before."""
    transform: TransformSpec
    """The preprocessing that it was trained with. Its positions are those of this size."""
    pooling: str
    """The vector that the head was trained on."""
    mode: str
    dropped: int
    """Blocks that it is without, from its end."""
    deit: str
    """The architecture that reads tokens; empty where none does."""
    outputs: int
    """Logits of the head, which is in a file of its own."""
    about: Mapping[str, Any]
    """What it was trained for: data set, classes, loss, intensity policy, seed. Predictions need it."""
    versions: Mapping[str, str]
    """Of the libraries that wrote it."""
    digests: Mapping[str, str]
    """SHA-256 of the files of weights."""

    def write(self, folder: Path) -> None:
        """Writes `network.json`."""
        fields = json.loads(canonical_json({"schema": _SCHEMA, **asdict(self)}))
        text = json.dumps({**fields, "seal": fingerprint(fields, digits=32)}, indent=2)
        (folder / DESCRIPTION).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> FineTuned:
        """Reads what `write` wrote; WeightsError where it is damaged, or of another version."""
        try:
            fields = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
            seal, own = fields.pop("seal", ""), fingerprint(fields, digits=32)
            if (schema := fields.pop("schema")) != _SCHEMA:
                raise WeightsError(
                    f"{folder}: {DESCRIPTION} is of version {schema}, and this medprobe reads {_SCHEMA}; install the"
                    " one that wrote it, or train again with --keep-weights."
                )
            if seal != own:
                raise WeightsError(f"{folder}: {DESCRIPTION} was edited or damaged; copy it again from the run.")
            return cls(**{**fields, "transform": TransformSpec(**fields["transform"])})
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise WeightsError(
                f"{DESCRIPTION} beside the weights cannot be read ({first_line(error)}); copy it again from the run."
            ) from error

    @classmethod
    def of(cls, entry: Entry) -> FineTuned | None:
        """What lies beside fine-tuned weights of an entry; None for others. WeightsError where it does not fit."""
        if not isinstance(entry.weights, Local) or entry.beside(DESCRIPTION) is None:
            return None
        path = entry.weights.path
        if path.is_file() and path.name != WEIGHTS:
            return None
        tuned = cls.read(path if path.is_dir() else path.parent)
        if (tuned.source, tuned.model) != (entry.source, entry.model):
            raise WeightsError(
                f"{entry.name}: these weights are of {tuned.source}:{tuned.model}, tuned from {tuned.backbone}, and "
                f'not of {entry.source}:{entry.model}; name them "{tuned.backbone.partition("@")[0]}@FILE".'
            )
        return tuned

    def tensors(self, entry: Entry) -> dict[str, torch.Tensor]:
        """The weights of that entry, in the names of its library."""
        assert isinstance(entry.weights, Local)
        path = entry.weights.path
        return self.read_weights(path / WEIGHTS if path.is_dir() else path)

    def read_weights(self, file: Path) -> dict[str, torch.Tensor]:
        """The tensors of a file of this network; WeightsError where it is another network's, or was altered."""
        if not file.is_file() or sha256_of(file) != self.digests[file.name]:
            raise WeightsError(
                f"{file}: is not the file that {DESCRIPTION} beside it describes: it is missing, was altered or is of"
                " another network. Copy the whole folder again from the run."
            )
        return read_tensors(file)

    def trained_on(self, entry: Entry) -> np.ndarray:
        """Digests of the images that the backbone has learnt from, (n, 16) uint8."""
        assert isinstance(entry.weights, Local)
        path = entry.weights.path
        seen = self.read_weights((path if path.is_dir() else path.parent) / TRAINED_ON)
        return seen["digests"][seen["backbone"]].numpy()

    def completed(self, entry: Entry) -> Entry:
        """The entry with what its name alone does not say, and with the vector that was trained as its first."""
        poolings = (self.pooling, *(pooling for pooling in entry.poolings if pooling != self.pooling))
        config = entry.config if self.config is None else dict(self.config)
        return replace(entry, config=config, options=dict(self.options), poolings=poolings)

    def entry(self, folder: Path) -> Entry:
        """The network as a backbone, whatever the catalogue says."""
        options: dict[str, Any] = {"source": self.source, "model": self.model, "channels": self.channels}
        own = self.backbone.partition("@")[0]
        return self.completed(Entry(f"{own}@{WEIGHTS}", weights=Local(folder / WEIGHTS), **options))

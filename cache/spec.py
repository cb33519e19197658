"""What an embedding was computed with, as a value that names itself, and the file names that follow from it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from ..base import CacheError, canonical_json, fingerprint

SPEC_VERSION = 1
"""Version of the *meaning* of the spec's fields; part of every fingerprint. docs/cache.md says when it goes up."""

Resize = Literal["short-side", "squash"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
Precision = Literal["fp32", "bf16"]
Runtime = Literal["torch", "openvino"]
Colour = Literal["rgb", "grey", "red-filters"]
Positions = Literal["", "bicubic", "bicubic-antialias", "bicubic-offset-0.1"]

_ADDED_LATER = ("transform", "config_digest", "reading", "positions", "digest")
"""Fields of specs that are left out of their JSON while they are empty."""
IMPORTED = "imported:"
"""Begins the names of embeddings that were imported."""
_LONGEST = 100
"""Characters of a readable name; with fingerprint and suffixes it stays far below a file system's 255 bytes."""

# An absolute path would tell who computed the cache and where; a backbone's name must not hold one.
_ABSOLUTE = re.compile(r"(?:^|[@:])(?:/|~|[A-Za-z]:[\\/])")


@dataclass(frozen=True, kw_only=True)
class TransformSpec:
    """How decoded pixels become the network's input: resize, centre crop to `size`, scale to 0..1, normalise.

    Raises:
        ValueError: a value is out of range or of the wrong kind.

    Examples:
        >>> from medprobe.cache import TransformSpec
        >>> transform = TransformSpec(
        ...     size=(224, 224),
        ...     resize="short-side",
        ...     resize_to=256,
        ...     interpolation="bicubic",
        ...     mean=(0.485, 0.456, 0.406),
        ...     std=(0.229, 0.224, 0.225),
        ... )
        >>> transform.size
        (224, 224)
    """

    size: tuple[int, int]
    """Height and width that the network sees, in pixels."""
    resize: Resize
    """`short-side` keeps the aspect and crops the centre; `squash` ignores the aspect."""
    resize_to: int | tuple[int, int]
    """Pixels of the shorter side for `short-side`; height and width for `squash`."""
    interpolation: Interpolation
    mean: tuple[float, ...]
    """Per channel, on the 0..1 scale."""
    std: tuple[float, ...]
    """Per channel, on the 0..1 scale."""
    colour: Colour = "rgb"
    """`rgb`: a grey image is replicated to three channels. `grey`: one channel, of an RGB image its ITU-R 601 luma.
    `red-filters`: as `grey`, for a network of three channels, whose other two are zero after normalising, so that of
    its first filters only the red ones see the image."""

    def __post_init__(self) -> None:
        _set(self, "size", _pixels(self.size, "size"))
        _choice(self.resize, Resize, "resize")
        _choice(self.interpolation, Interpolation, "interpolation")
        _choice(self.colour, Colour, "colour")
        check = _pixel if self.resize == "short-side" else _pixels
        _set(self, "resize_to", check(self.resize_to, f"resize_to of {self.resize}"))
        _set(self, "mean", _floats(self.mean, "mean"))
        _set(self, "std", _floats(self.std, "std"))
        if not len(self.mean) == len(self.std) == self.channels:
            raise ValueError(
                f"{self.colour} has {self.channels} channels, mean has {len(self.mean)} and std {len(self.std)}"
            )
        if min(self.std) <= 0:
            raise ValueError(f"std must be positive, got {self.std}")

    @property
    def channels(self) -> int:
        """How many channels the images have that are normalised."""
        return 3 if self.colour == "rgb" else 1

    def __str__(self) -> str:
        """In words, such as `shorter side to 256 px (bicubic), centre crop of 224 x 224 px, mean ..., std ...`."""
        height, width = self.size
        mean, std = (", ".join(f"{value:.4g}" for value in values) for values in (self.mean, self.std))
        if isinstance(self.resize_to, int):
            steps = [f"shorter side to {self.resize_to} px ({self.interpolation})"]
        else:
            steps = [f"squashed to {self.resize_to[0]} x {self.resize_to[1]} px ({self.interpolation})"]
        if self.resize_to != self.size:
            steps.append(f"centre crop of {height} x {width} px")
        if self.colour == "red-filters":
            steps.append("grey through the red filters alone")
        return "; ".join([*steps, f"mean {mean}", f"std {std}"])


class _Named:
    """A spec whose JSON has all fields but those that were added later and are empty, so that old names stay."""

    @cached_property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits that follow from every field and from `SPEC_VERSION`."""
        return fingerprint({"version": SPEC_VERSION, **self._fields()})

    def to_json(self) -> str:
        """The spec as canonical JSON; `spec_from_json` gives an equal spec back."""
        return canonical_json(self._fields())

    def _fields(self: Any) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value or name not in _ADDED_LATER}


@dataclass(frozen=True, kw_only=True)
class EmbeddingSpec(_Named):
    """Everything that could change the numbers. Equal specs give equal numbers; any difference, another fingerprint.

    Raises:
        ValueError: a value is out of range or of the wrong kind, or a name holds an absolute path.
        TypeError: `poolings` is one text.

    Examples:
        >>> from medprobe.cache import EmbeddingSpec
        >>> spec = EmbeddingSpec(
        ...     backbone="timm:resnet18",
        ...     model="timm:resnet18",
        ...     weights_digest="0" * 64,
        ...     transform=caches[0].spec.transform,
        ...     poolings=("mean",),
        ...     precision="fp32",
        ... )
        >>> len(spec.fingerprint)
        12
    """

    backbone: str
    """The name given to `--backbone`; a local weights file without its folder."""
    model: str
    """The architecture in its library, with the library in front, as in `--backbone`."""
    weights_digest: str
    """SHA-256 of the weights as read, not of the file; of an ONNX or pt2 file, of the file."""
    transform: TransformSpec | None
    """None where the network has a preprocessing of its own, in code that `config_digest` identifies."""
    poolings: tuple[str, ...]
    """Which tensors became vectors, in the order in which they are stored."""
    precision: Precision
    """What the network computed in."""
    runtime: Runtime = "torch"
    config_digest: str = ""
    """Of the architecture's config where one came with the weights, as the number of heads or the activation change no
    tensor; empty where `model` says it all."""
    reading: str = ""
    """How stored values became 8-bit pixels (`IntensityPolicy.in_spec`); empty at the default."""
    positions: Positions = ""
    """How absolute position embeddings were resampled to another size than the weights'; empty where they were not."""

    def __post_init__(self) -> None:
        for field in ("backbone", "model", "weights_digest"):
            _name(getattr(self, field), field)
        _set(self, "poolings", _poolings(self.poolings))
        _choice(self.precision, Precision, "precision")
        _choice(self.runtime, Runtime, "runtime")
        _choice(self.positions, Positions, "positions")
        if not re.fullmatch(r"[0-9a-f]*", self.config_digest):
            raise ValueError(f"config_digest must be hexadecimal digits, got {self.config_digest!r}")

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments of `load_backbone` that lead to this spec, besides name, poolings and intensity policy.

        `normalization` is a pair of means and standard deviations. Unequal sides are always the model's.
        """
        found: dict[str, Any] = {}
        if transform := self.transform:
            sides, resized = {*transform.size}, {*np.ravel(transform.resize_to).tolist()}
            if len(sides) == len(resized) == 1:
                found |= {"image_size": sides.pop(), "resize": resized.pop(), "resize_mode": transform.resize}
            found["interpolation"] = transform.interpolation
            if transform.colour == "red-filters":
                found["grey"] = "red-filters"
            found["normalization"] = transform.mean, transform.std
        return {**found, "precision": self.precision, "runtime": self.runtime}

    @property
    def options(self) -> tuple[str, ...]:
        """The options of `medprobe extract` that lead to this spec, besides `--backbone`.

        The rest is the folder of local weights and the card's intensity policy.
        """
        settings = {f"--{name.replace('_', '-')}": value for name, value in self.settings.items()}
        if pair := settings.get("--normalization"):
            # Never with an exponent.
            means, stds = (",".join(np.format_float_positional(one, trim="-") for one in values) for values in pair)
            settings["--normalization"] = f"{means}/{stds}"
        named = [("--pooling", pooling) for pooling in self.poolings]
        return tuple(str(word) for option in [*named, *settings.items()] for word in option)

    @classmethod
    def from_json(cls, text: str) -> EmbeddingSpec:
        """Reads what `to_json` wrote.

        Raises:
            CacheError: `text` is not the JSON of a spec that this version knows.
        """
        spec = spec_from_json(text)
        if not isinstance(spec, cls):
            raise CacheError(f"{spec.backbone}: this is the spec of imported embeddings, whose network is not known.")
        return spec


@dataclass(frozen=True, kw_only=True)
class ImportedSpec(_Named):
    """What identifies embeddings that another program computed: the name under which they were imported, and their
    lengths.

    How they were computed is not known here: to import two data sets under one name is to declare that one network
    computed both. The JSON has other keys than that of an `EmbeddingSpec`, so the two never have one fingerprint.

    Raises:
        ValueError: a value is out of range or of the wrong kind, or a name holds an absolute path.

    Examples:
        >>> from medprobe.cache import ImportedSpec
        >>> ImportedSpec(backbone="imported:uni", dims={"cls": 1024}).poolings
        ('cls',)
    """

    backbone: str
    """The name given to `medprobe cache import`, after the prefix of what is imported."""
    dims: Mapping[str, int] | tuple[tuple[str, int], ...]
    """Vector length by pooling, in the order in which they are stored; kept as pairs."""
    digest: str = ""
    """Of the vectors, where they are in no file that could be imported for another data set; left out of the JSON while
    it is empty."""

    def __post_init__(self) -> None:
        _name(self.backbone, "backbone")
        pairs = self.dims.items() if isinstance(self.dims, Mapping) else self.dims
        _set(self, "dims", tuple((name, _whole(dim, f"dims of {name}")) for name, dim in pairs))
        _poolings(self.poolings)
        if not re.fullmatch(r"[0-9a-f]*", self.digest):
            raise ValueError(f"digest must be hexadecimal digits, got {self.digest!r}")

    @property
    def poolings(self) -> tuple[str, ...]:
        """Names of the matrices, in the order in which they are stored."""
        return tuple(name for name, _ in self.dims)


Spec = EmbeddingSpec | ImportedSpec
"""What names the embeddings of a cache: computed here, or imported."""


@lru_cache(maxsize=1024)
def spec_from_json(text: str) -> Spec:
    """Reads what `to_json` of either kind of spec wrote.

    Raises:
        CacheError: `text` is not the JSON of a spec that this version knows.
    """
    try:
        fields: Mapping[str, Any] = json.loads(text)
        if "dims" in fields:
            return ImportedSpec(**fields)
        transform = TransformSpec(**fields["transform"]) if "transform" in fields else None
        return EmbeddingSpec(**{**fields, "transform": transform})
    except (ValueError, TypeError, KeyError, ArithmeticError, RecursionError) as error:
        raise CacheError(f"the embedding spec cannot be read ({error}); it was written by another version.") from error


def _set(spec: TransformSpec | Spec, field: str, value: object) -> None:
    object.__setattr__(spec, field, value)


def _choice(value: object, choices: Any, field: str) -> None:
    if value not in get_args(choices):
        raise ValueError(f"{field} must be one of {', '.join(get_args(choices))}, got {value!r}")


def _name(value: object, field: str) -> str:
    if not isinstance(value, str) or not value or not value.isprintable():
        raise ValueError(f"{field} must be printable text, got {value!r}")
    if _ABSOLUTE.search(value):
        raise ValueError(f"{field} must not hold an absolute path (a cache can be shared); name the file alone")
    return value


def _poolings(names: Iterable[str]) -> tuple[str, ...]:
    if isinstance(names, str):
        raise TypeError(f"poolings must be a tuple of names, got the text {names!r}")
    poolings = tuple(_name(pooling, "pooling") for pooling in names)
    if not poolings or len(set(poolings)) != len(poolings):
        raise ValueError(f"poolings must be at least one name, none twice, got {poolings}")
    if any("/" in pooling or pooling.startswith(".") for pooling in poolings):
        raise ValueError(f"a pooling's name must not hold '/' or begin with '.', got {poolings}")
    return poolings


def _whole(value: Any, field: str, of: str = "") -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__") or int(value) < 1:
        raise ValueError(f"{field} must be a whole number{of}, at least 1, got {value!r}")
    return int(value)


def _pixel(value: Any, field: str) -> int:
    return _whole(value, field, " of pixels")


def _pixels(value: Any, field: str) -> tuple[int, int]:
    if isinstance(value, str) or not hasattr(value, "__len__") or len(value) != 2:
        raise ValueError(f"{field} must be (height, width), got {value!r}")
    return _pixel(value[0], field), _pixel(value[1], field)


def _floats(values: Any, field: str) -> tuple[float, ...]:
    numbers = tuple(float(value) + 0.0 for value in values)  # + 0.0: one zero, so equal specs have one JSON
    if not all(math.isfinite(number) for number in numbers):
        raise ValueError(f"{field} must be finite, got {numbers}")
    return numbers


def safe_name(name: str) -> str:
    """`name` with every character that some file system refuses replaced: `hf:org/net` becomes `hf_org_net`."""
    return re.sub(r"[^A-Za-z0-9._+=@-]+", "_", name).lstrip(".-")[:_LONGEST] or "_"


def dataset_folder(store: Path, dataset: str) -> Path:
    """The folder of a data set's caches. Two names never share one: a name that had to change gets a digest."""
    safe = safe_name(dataset)
    return store / (safe if safe == dataset else f"{safe}~{blake2b(dataset.encode(), digest_size=3).hexdigest()}")


def file_stem(spec: Spec) -> str:
    """`<backbone>--<fingerprint>`; the fingerprint alone makes it unique, the rest is for readers."""
    return f"{safe_name(spec.backbone)}--{spec.fingerprint}"


def published_path(store: Path, dataset: str, spec: Spec) -> Path:
    """Where the cache of `dataset` under `spec` is published."""
    return dataset_folder(store, dataset) / f"{file_stem(spec)}.h5"


def parts_folder(published: Path) -> Path:
    """Where the segments of an unfinished cache lie."""
    return published.with_name(f"{published.stem}.parts")


def whole_files(folder: Path) -> list[Path]:
    """The published files or segments in a folder, by name; temporary files begin with a dot."""
    return sorted(path for path in folder.glob("*.h5") if not path.name.startswith("."))

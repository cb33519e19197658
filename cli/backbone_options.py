"""Options that name a backbone and what its network sees, shared by `extract` and `finetune`: types and help."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from .terminal.console import remark

if TYPE_CHECKING:
    from ..manifests import Manifest

_option = partial(typer.Option, rich_help_panel="Images")
ImageSize = Annotated[
    int | None,
    _option(
        "--image-size",
        "--crop",
        min=1,
        help="Input size in pixels: the centre crop. Without --resize, the resizing before it is scaled along.",
    ),
]
Resize = Annotated[
    int | None, _option(min=1, help="Pixels of the shorter side before the crop; with squash, of both sides.")
]
ResizeMode = Annotated[
    Literal["short-side", "squash"] | None,
    _option(help="Keep the aspect, or make every image square. [default: the model's own]"),
]
Interpolation = Annotated[
    Literal["nearest", "bilinear", "bicubic", "lanczos"] | None,
    _option(help="Filter of the resizing. [default: the model's own]"),
]
Grey = Annotated[
    Literal["replicate", "red-filters"],
    _option(
        help="Grey images in a network of three channels: the same in all three, or seen by its red filters alone."
    ),
]
Normalization = Annotated[
    str,
    _option(
        metavar="model|dataset|MEAN/STD",
        help="Mean and std: the model's own, those of this data set's (training) images, or numbers on the 0..1 "
        "scale such as 0.29/0.27.",
    ),
]
StripPrefix = Annotated[
    str,
    typer.Option(
        metavar="PREFIX",
        help="Take every NAME@FILE for NAME@FILE#PREFIX: only tensors under PREFIX, such as net.encoder., are read.",
        show_default=False,
    ),
]


def named(texts: Iterable[str], strip_prefix: str = "") -> list[dict[str, Any]]:
    """The name of each backbone, and its own poolings if it ends in `[cls,mean]`: arguments of `load_backbone`.

    Raises:
        BackboneError: there is no such backbone, as far as that is known without its library.
    """
    from ..extract import resolve

    found = [_named(text, strip_prefix) for text in dict.fromkeys(texts)]
    for one in found:
        resolve(one["name"])
    return found


def _named(text: str, strip_prefix: str) -> dict[str, Any]:
    from ..extract.catalogue import with_prefix

    match = re.fullmatch(r"(?P<name>.+)\[(?P<poolings>[^\[\]]+)\]", text)
    name = match["name"] if match else text
    named = {"name": with_prefix(name, strip_prefix) if strip_prefix else name}
    if not match:
        return named
    return {**named, "poolings": [pooling.strip() for pooling in match["poolings"].split(",")]}


def normalization_of(
    text: str, manifest: Manifest, store: Path, *, grey: str, workers: int | None, keep: bool = True
) -> Any:
    """What `--normalization` stands for, as `load_backbone` takes it; shows the numbers of the data set."""
    from ..extract import dataset_normalization, read_normalization

    normal = read_normalization(text)
    if normal != "dataset":
        return None if normal == "model" else normal
    found = dataset_normalization(manifest, store, workers=workers, keep=keep)
    seen = found["rgb" if grey == "replicate" else "grey"]
    numbers = (",".join(f"{value:.3f}" for value in values) for values in (seen.mean, seen.std))
    remark(f"normalization of {manifest.name}: {'/'.join(numbers)}")
    return found

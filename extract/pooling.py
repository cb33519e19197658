"""Which tensors of a network become the vector of an image."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from ..base import BackboneError, did_you_mean
from .adapters import Features, Inside, Place, Wanted


@dataclass(frozen=True)
class Term:
    """One vector that a pooling is put together from."""

    what: str
    """A field of `Features` that holds vectors, or `mean` for the mean of its patches."""
    where: Place | None = None
    """The block or map inside the network that it is taken from; None for the network's end."""


Recipe = tuple[Term, ...]
"""What a pooling's name stands for: vectors that are put one after the other."""


def available(features: Features) -> tuple[str, ...]:
    """The poolings that a network's end allows, the usual one first.

    `cls`: the class token after the last norm; `mean`: the mean of the patch tokens, or of the last feature map;
    `cls+mean`: both, one after the other; `pooled`: what the library itself would hand to a classifier; `proj`: what a
    network of images and texts compares with a text; `patch0`: the first patch token, top left, which a published
    study took for the class token.
    """
    names = [] if features.proj is None else ["proj"]
    if features.cls is not None:
        names.append("cls")
    if features.patches is not None:
        names.append("mean")
    if features.cls is not None and features.patches is not None:
        names += ["cls+mean", "patch0"]
    if features.pooled is None:
        return tuple(names)
    return (*names, "pooled") if "cls" in names else ("pooled", *names)


def read_pooling(name: str, pooling: str, there: Sequence[str], inside: Inside) -> Recipe:
    """What `pooling` stands for in one backbone.

    A pooling is one term or several joined by `+`. A term is what `available` lists; `cls@9`, `mean@9`, `patch0@9` or
    `proj@9`, the same of block 9 counted from 1; `cls@last4`, of the last four blocks one after the other, the deepest
    last; or a map of `inside`, for its mean.

    `there` is what the network's end allows, `inside` what can be named inside it; `name` is for the error.

    Raises:
        BackboneError: the backbone has no such thing; says what it has.
    """
    recipe: list[Term] = []
    for text in pooling.split("+"):
        terms = _terms(text, there, inside)
        if not terms:
            near = did_you_mean(text, (*there, *inside.maps))
            raise BackboneError(f'{name} has no pooling "{pooling}".{near} It has {_offer(there, inside)}.')
        recipe.extend(terms)
    return tuple(recipe)


def _terms(text: str, there: Sequence[str], inside: Inside) -> list[Term]:
    """The vectors that one term means; none where the backbone does not have it."""
    if text in inside.maps:
        return [Term("mean", text)]
    what, at, where = text.partition("@")
    if what not in there:
        return []
    if not at:
        return [Term(what)]
    block = re.fullmatch(r"(last)?([1-9][0-9]{0,3})", where)
    if what not in _of_blocks(there, inside) or block is None or int(block[2]) > inside.blocks:
        return []
    number = int(block[2])
    numbers = range(inside.blocks - number + 1, inside.blocks + 1) if block[1] else [number]
    return [Term(what, number) for number in numbers]


def _of_blocks(there: Sequence[str], inside: Inside) -> list[str]:
    """What of `there` blocks give as well, if there are any."""
    possible = ("cls", "mean", "patch0", *(["proj"] if inside.projected else []))
    return [what for what in possible if what in there] if inside.blocks else []


def _offer(there: Sequence[str], inside: Inside) -> str:
    """The poolings in few words, the blocks as a pattern."""
    whats = _of_blocks(there, inside)
    blocks = [f"{what}@K (block K, 1 to {inside.blocks})" for what in whats]
    several = [f"{what}@lastN (the last N blocks)" for what in whats]
    return ", ".join((*there, *inside.maps, *blocks, *several))


def wanted(recipes: Iterable[Recipe]) -> Wanted:
    """The outputs that these poolings are made of."""
    places = {term.where for recipe in recipes for term in recipe}
    return Wanted(end=None in places, inside=frozenset(place for place in places if place is not None))


def pool(features: Features, recipe: Recipe) -> torch.Tensor:
    """The vectors (B, D) of one pooling, float32."""
    return torch.cat([_vector(features, term) for term in recipe], dim=1)


def _vector(features: Features, term: Term) -> torch.Tensor:
    source = features if term.where is None else features.inside[term.where]
    if term.what not in ("mean", "patch0"):
        return getattr(source, term.what).float()
    assert source.patches is not None
    # Summed in float32 whatever the network computed in: an average of 256 bfloat16 numbers would lose digits.
    return source.patches.float().mean(dim=1) if term.what == "mean" else source.patches[:, 0].float()

"""What a study compares: backbones, probes and modes of fine-tuning by their names, checked without torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..base.errors import StudyError
from ..extract import Entry, resolve
from ..finetune.network.modes import Mode
from ..finetune.training.recipe import Recipe, candidates
from ..probe import Probe, resolve_probes
from .arguments import slug
from .data_sets import digest, relative
from .schema import Embedder, FineTuning, Images


@dataclass(frozen=True)
class Network:
    """A backbone as the commands take it."""

    label: str
    """What files of the study are called after."""
    text: str
    """After `-b`, without poolings; weights relative to the folder of the results."""
    poolings: tuple[str, ...]
    images: Images | None
    """Of its own."""
    entry: Entry
    key: str
    """Of its name and its weights, if these are a file."""

    def named(self, *, most: int | None = None) -> str:
        """With its poolings, or the first few of them."""
        chosen = self.poolings[:most]
        return f"{self.text}[{','.join(chosen)}]" if chosen else self.text


@dataclass(frozen=True)
class Trained:
    """One entry of `finetune`, checked."""

    given: FineTuning
    networks: list[Network]
    modes: list[tuple[str, str]]
    """Each as the command takes it, and a key."""
    epochs: int
    candidates: int
    """Recipes of the search; 1 without."""


def read_network(one: Embedder, place: Path, out: Path) -> Network:
    """The backbone that a name stands for.

    Raises:
        MedprobeError: there is none, or no such weights.
    """
    text, key = _with_weights(one.name, place, out)
    entry = resolve(one.name)
    label = one.label or slug(entry.name)
    return Network(label, text, tuple(one.poolings), one.images, entry, key)


def _with_weights(name: str, place: Path, out: Path) -> tuple[str, str]:
    """The name with its weights as seen from the folder of the results, and a key of the name and the weights."""
    model, at, file = name.partition("@")
    if not at or file == "random":
        return name, name
    path = place / file
    if not path.exists():
        raise StudyError(f'"{name}": there are no weights {path}.')
    return f"{model}@{relative(path, out)}", f"{model}@{path.name}@{digest(path)}"


def read_probes(texts: Iterable[str]) -> list[tuple[str, Probe[Any]]]:
    """The probes by their texts, each of which is one.

    Raises:
        ProbeError: one is unknown, or has a wrong setting.
    """
    texts = list(texts)
    return list(zip(texts, resolve_probes(texts), strict=True))


def read_training(one: FineTuning, usual: list[Embedder], place: Path, out: Path) -> Trained:
    """An entry of `finetune`, with its own backbones or the `usual` ones.

    Raises:
        MedprobeError: there is no such backbone, mode, recipe or setting.
    """
    recipe = Recipe.named(one.recipe).changed(**one.settings)
    modes = [_mode(text, place, out) for text in one.modes]
    return Trained(
        given=one,
        networks=[read_network(each, place, out) for each in one.backbones or usual],
        modes=modes,
        epochs=recipe.epochs,
        candidates=len(candidates(recipe, one.search)) if one.search else 1,
    )


def _mode(text: str, place: Path, out: Path) -> tuple[str, str]:
    own, at, reader = text.partition("@")
    Mode.parse(text)
    if not at:
        return text, text
    written, key = _with_weights(reader, place, out)
    return f"{own}@{written}", f"{own}@{key}"

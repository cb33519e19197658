"""What a study compares: backbones, probes and modes of fine-tuning by their names, checked without torch."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..base import no_such, one_of
from ..base.errors import StudyError
from ..base.text import install_command
from ..extract import Entry, resolve
from ..extract.catalogue import OWN, PROCESSOR, ByHand, split_prefix
from ..finetune.network.modes import Mode
from ..finetune.training.recipe import Recipe, candidates
from ..probe import Probe, resolve_probes
from .arguments import slug, versions_key
from .contents import content
from .data_sets import AbsentError, Missing, located, relative
from .schema import Embedder, FineTuning, Images

_POOLINGS = ("cls", "mean", "pooled", "proj", "patch0", "logits")
_MAP = re.compile(r"(stage|res)\d+|neck")
"""Names of maps inside networks."""


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
    lacks_normalization: bool
    """Whether mean and standard deviation are not known; of a network in Python code that is not known before it is
    loaded."""

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
    """Each as the command takes it, and a key of it and of the versions of its libraries."""
    recipe: Recipe
    candidates: int
    """Recipes of the search; 1 without."""


def read_network(one: Embedder, place: Path, out: Path) -> Network:
    """The backbone of a name, with files of weights relative to `place`; `out` is the folder of the results.

    Raises:
        AbsentError: its weights are not there.
        MedprobeError: there is no such backbone.
    """
    entry = resolve(one.name)
    if entry.source not in OWN:  # whose outputs have names of their own
        for pooling in one.poolings:
            _check_pooling(entry, pooling)
    text, key = _of_ones_own(one.name, place, out) or _with_weights(one.name, place, out)
    label = one.label or slug(entry.name)
    beside = located(place, one.name.partition(":")[2]).parent
    lacks_normalization = entry.source in ("onnx", "pt2") and not (beside / PROCESSOR).is_file()
    return Network(label, text, tuple(one.poolings), one.images, entry, key, lacks_normalization)


def _check_pooling(entry: Entry, pooling: str) -> None:
    """Refuses a word that is no pooling of any network; which of them this one has, its library knows."""
    known = {*_POOLINGS, *(term for one in entry.poolings for term in one.split("+"))}
    words = [term.partition("@")[0] for term in pooling.split("+")]
    unknown = [word for word in words if word not in known and not _MAP.fullmatch(word)]
    if unknown:
        raise StudyError(f"poolings: {no_such('pooling', unknown[0], sorted(known))}")


def _of_ones_own(name: str, place: Path, out: Path) -> tuple[str, str] | None:
    """As `_with_weights`, of a network in a file or a module beside the study; None for all others."""
    source, _, rest = name.partition(":")
    file, colon, function = rest.rpartition(":") if source == "python" else (rest, "", "")
    if source not in OWN or "@" in name:
        return None
    path = located(place, file if source != "python" or file.endswith(".py") else f"{file}.py")
    if path.is_file():
        return f"{source}:{relative(path, out)}{colon}{function}", f"{source}:{path.name}:{function}@{content(path)}"
    if source == "python" and not file.endswith(".py"):
        return None  # an installed module
    raise AbsentError(Missing(name, path, ""))


def _with_weights(name: str, place: Path, out: Path) -> tuple[str, str]:
    """The name with its weights as seen from the folder of the results, and a key of the name and the weights."""
    model, at, source = name.partition("@")
    file, prefix = split_prefix(source)
    if not at or file == "random":
        return name, name
    path = located(place, file)
    if not path.exists():
        known = resolve(model).weights
        raise AbsentError(Missing(name, path, known.where if isinstance(known, ByHand) else ""))
    under = f"#{prefix}" if prefix else ""
    return f"{model}@{relative(path, out)}{under}", f"{model}@{path.name}@{content(path)}{under}"


def read_probes(texts: Iterable[str]) -> list[tuple[str, Probe[Any]]]:
    """The probes by their texts, each of which is one.

    Raises:
        StudyError: two are the same.
        ProbeError: one is unknown, or has a wrong setting.
    """
    texts = list(texts)
    probes = resolve_probes(texts)
    if len(probes) < len(texts):
        raise StudyError(f"two of {one_of(texts, most=20)} are the same probe; leave one out.")
    return list(zip(texts, probes, strict=True))


def read_training(one: FineTuning, networks: list[Network], modes: list[tuple[str, str]]) -> Trained:
    """An entry of `finetune`, with its networks and modes.

    Raises:
        MedprobeError: there is no such recipe or setting, or two modes are the same.
    """
    try:
        recipe = Recipe.named(one.recipe).changed(**one.settings)
        count = len(candidates(recipe, one.search)) if one.search else 1
    except ModuleNotFoundError as error:  # unusual optimizers and policies are timm's to know
        raise StudyError(f"{error.name} is not installed: {install_command('finetune')}.") from error
    if len({Mode.parse(text) for text, _ in modes}) < len(modes):
        raise StudyError(f"two of {one_of(one.modes, most=20)} are the same mode; leave one out.")
    return Trained(one, networks, modes, recipe, count)


def read_mode(text: str, place: Path, out: Path) -> tuple[str, str]:
    """A mode as the command takes it, and its key; a backbone that it names is as for `read_network`."""
    own, at, reader = text.partition("@")
    versions = versions_key(Mode.parse(text).libraries)
    if not at:
        return text, f"{text} {versions}"
    written, key = _with_weights(reader, place, out)
    return f"{own}@{written}", f"{own}@{key} {versions}"

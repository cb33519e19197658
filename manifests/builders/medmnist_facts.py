"""The published facts of MedMNIST's 18 sets, from `medmnist.toml`."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from ..schema.card import Task

_RECORD = "https://zenodo.org/records/10519652/files"


@dataclass(frozen=True)
class SetFacts:
    """One of the 18 sets."""

    name: str
    """As in its file name, `pneumoniamnist`."""
    title: str
    """As in its paper, `PneumoniaMNIST`."""
    task: Task
    classes: list[str]
    """In the order of the labels 0, 1, ...; for `multilabel` in the order of columns."""
    license: str
    samples: Mapping[str, int]
    """Published number of samples of each split."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """In pixels, of the published files."""
        return (28, 64) if self.name.endswith("3d") else (28, 64, 128, 224)

    def file_name(self, size: int) -> str:
        """The published file name: `pneumoniamnist.npz` at 28 pixels, `pneumoniamnist_224.npz` at other sizes."""
        return f"{self.name}.npz" if size == 28 else f"{self.name}_{size}.npz"

    def url(self, size: int) -> str:
        """Where the file of this size is published."""
        return f"{_RECORD}/{self.file_name(size)}?download=1"


def name_and_size(stem: str) -> tuple[str, str | None]:
    """The name of the set, in lower case, and the size in pixels (None without one) in a file name without suffix."""
    name, _, size = stem.lower().rpartition("_")
    return (name, size) if name and re.fullmatch(r"\d+", size) else (stem.lower(), None)


@cache
def all_sets() -> dict[str, SetFacts]:
    """Every set by name."""
    text = files(__package__ or "").joinpath("medmnist.toml").read_text(encoding="utf-8")
    return {name: SetFacts(name=name, **table) for name, table in tomllib.loads(text).items()}

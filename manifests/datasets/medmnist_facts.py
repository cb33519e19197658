"""What is known of MedMNIST's 18 sets before a file of theirs is opened.

From `INFO` of the installed package `medmnist`; where it is not installed, from `medmnist.toml`, which says the same.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ..schema.card import Task

_TASKS: dict[str, Task] = {
    "binary-class": "binary",
    "multi-class": "multiclass",
    "ordinal-regression": "ordinal",
    "multi-label, binary-class": "multilabel",
}
"""The package's words for tasks, and ours."""
_RECORD = "https://zenodo.org/records/10519652/files"
SIZES = (28, 64, 128, 224)


@dataclass(frozen=True)
class SetFacts:
    """One of the 18 sets."""

    name: str
    """As its file is called, `pneumoniamnist`."""
    title: str
    """As its paper calls it, `PneumoniaMNIST`."""
    task: Task
    classes: list[str]
    """In the order of the labels 0, 1, ...; for `multilabel` in the order of columns."""
    license: str
    samples: Mapping[str, int]
    """Of each split, as published."""
    md5: Mapping[int, str]
    """Of the published file of each size; its keys are the sizes that there are."""

    def file_name(self, size: int) -> str:
        """How the package names the file, `pneumoniamnist.npz` at 28 pixels and `pneumoniamnist_224.npz` at others."""
        return f"{self.name}.npz" if size == 28 else f"{self.name}_{size}.npz"

    def differences(self, samples: Mapping[Any, int]) -> list[str]:
        """Where the numbers of `samples` in each split are not the published ones, such as `3 of 524 in val`."""
        return [
            f"{samples.get(split, 0):,} of {published:,} in {split}"
            for split, published in self.samples.items()
            if samples.get(split, 0) != published
        ]

    def url(self, size: int) -> str:
        """Where the file is published."""
        return f"{_RECORD}/{self.file_name(size)}?download=1"


def name_and_size(stem: str) -> tuple[str, str | None]:
    """What a file's name without its suffix says: the set, in small letters, and the size, None where it says none."""
    match = re.fullmatch(r"(.*?)(?:_(\d+))?", stem.lower())
    assert match is not None
    return match[1], match[2]


def recognise(stem: str, samples: Mapping[str, int], labels: np.ndarray) -> SetFacts | None:
    """The set that a file most likely holds: it is called so, and is the published one or a part of it.

    Args:
        stem: the file's name without its suffix.
        samples: of each split that the file has. One has the published number, and none has more.
        labels: (N, K) whole numbers, of all splits; they fit the classes of the set.
    """
    facts = all_sets().get(name_and_size(stem)[0])
    if facts is None:
        return None
    columns = len(facts.classes) if facts.task == "multilabel" else 1
    fits = labels.shape[1] == columns and (columns > 1 or labels.max() < len(facts.classes))
    whole = any(count == facts.samples[split] for split, count in samples.items())
    return facts if fits and whole and all(count <= facts.samples[split] for split, count in samples.items()) else None


def all_sets() -> dict[str, SetFacts]:
    """Every set by name: of the installed package, else of the table here."""
    return packaged_sets() or listed_sets()


@cache
def listed_sets() -> dict[str, SetFacts]:
    """The sets as `medmnist.toml` has them."""
    text = files(__package__ or "").joinpath("medmnist.toml").read_text(encoding="utf-8")
    return {
        name: SetFacts(name=name, **{**table, "md5": {int(size): digest for size, digest in table["md5"].items()}})
        for name, table in tomllib.loads(text).items()
    }


@cache
def packaged_sets() -> dict[str, SetFacts]:
    """The sets as the installed package `medmnist` has them; none where it is not installed or is of another make."""
    try:
        return {name: _from_info(name, info) for name, info in _read_info().items()}
    except (OSError, SyntaxError, ValueError, LookupError, TypeError, AttributeError):
        return {}  # the table here is always there


def _read_info() -> dict[str, Any]:
    """`medmnist.INFO`, read and not imported: importing it would load torch, and make a folder in the user's home."""
    spec = find_spec("medmnist")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for statement in ast.parse((Path(folder) / "info.py").read_text(encoding="utf-8")).body:
            if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "INFO":
                return ast.literal_eval(statement.value)
    return {}


def _from_info(name: str, info: dict[str, Any]) -> SetFacts:
    keys = {28: "MD5", **{size: f"MD5_{size}" for size in SIZES[1:]}}
    return SetFacts(
        name=name,
        title=info["python_class"],
        task=_TASKS[info["task"]],
        classes=[info["label"][str(number)] for number in range(len(info["label"]))],
        license=info["license"],
        samples=info["n_samples"],
        md5={size: info[key] for size, key in keys.items() if key in info},
    )

"""What commands are given and what their outputs are called: options, blocks of seeds, names with keys."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from itertools import pairwise
from typing import Any, NamedTuple

from ..base import fingerprint
from ..probe.run_info import versions_of
from .schema import Images


class File(NamedTuple):
    """What a job made: a path relative to the folder of the results, and the key of all that it depends on."""

    path: str
    key: str


def output(stem: str, kind: str, settings: Iterable[str], keys: Iterable[str], suffix: str = "/") -> File:
    """An output of a command with these settings, on inputs of these keys; by default a folder."""
    key = fingerprint([kind, list(settings), list(keys), _version()], digits=10)
    return File(f"{stem}--{key}{suffix}", key)


@cache
def _version() -> str:
    # Kept, as reading it takes milliseconds, and a study has thousands of outputs.
    return version("medprobe")


@cache
def versions_key(libraries: tuple[str, ...] = ()) -> str:
    """Of the versions that a run states, with those of `libraries` that are here: others cannot be merged with it."""
    return fingerprint(versions_of(name for name in libraries if find_spec(name)), digits=10)


def blocks(seeds: int, size: int) -> list[tuple[int, int]]:
    """The seeds 0 to `seeds` in blocks, cut at multiples of `size`.

    Examples:
        >>> from medprobe.study.arguments import blocks
        >>> blocks(60, 25)
        [(0, 25), (25, 50), (50, 60)]
    """
    return list(pairwise([*range(0, seeds, size), seeds]))


def image_options(images: Images) -> list[str]:
    """As `extract` and `finetune` take them; those that are not the defaults."""
    usual = Images()
    changed = {name: value for name, value in images if value != getattr(usual, name)}
    return [word for name, value in changed.items() for word in (f"--{name.replace('_', '-')}", str(value))]


def recipe_options(settings: Mapping[str, Any]) -> list[str]:
    """Settings of a recipe, as `finetune` takes them."""
    return [word for name, value in sorted(settings.items()) for word in ("--set", f"{name}={_flow(value)}")]


def _flow(value: Any) -> str:
    if isinstance(value, list):
        return f"[{','.join(map(_flow, value))}]"
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def numbers(values: Iterable[float]) -> str:
    """As `--shots 1,5,10`."""
    return ",".join(f"{value:g}" for value in values)


def slug(text: str) -> str:
    """A text as part of a file name."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-.")[:60] or "x"

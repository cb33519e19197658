"""Tensors by their names: renamed, left out, taken from under a prefix."""

from __future__ import annotations

import re

from .tensors import Tensors


def rename(tensors: Tensors, *rules: tuple[str, str]) -> Tensors:
    """The same tensors under names in which each pattern, in this order, is replaced."""
    renamed: Tensors = {}
    for name, value in tensors.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        renamed[name] = value
    return renamed


def without(tensors: Tensors, *patterns: str) -> Tensors:
    """The tensors of which no pattern matches the name's beginning."""
    return {name: value for name, value in tensors.items() if not any(re.match(each, name) for each in patterns)}


def part(tensors: Tensors, prefix: str) -> Tensors:
    """The tensors under a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

"""What the user's object holds besides its code: networks, arrays and settings, which all decide about its vectors."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from enum import Enum
from functools import partial
from hashlib import sha256
from typing import Any

import numpy as np
import torch
from torch import nn

from .tensors import tensors_digest

_MODULES_OWN = {*nn.Module().__dict__}
"""Attributes that each module of torch has."""


def networks_in(made: object) -> list[nn.Module]:
    """The modules with weights that an object holds, also in lists, dictionaries and other objects; the outermost."""
    found = [one for _, one in _walk(made, "", set(), _package(made)) if isinstance(one, nn.Module)]
    inner = {id(part) for one in found for part in one.modules() if part is not one}
    return [one for one in found if id(one) not in inner]


def state_digest(made: object) -> str:
    """SHA-256 over the arrays, numbers and words in an object, by name; "" where there are none.

    Weights of modules are another matter, and so are attributes of networks of other packages than the object's, which
    follow from their weights and versions. Words with a slash are not read, as folders differ between machines.
    """
    tensors, words = dict[str, torch.Tensor](), list[str]()
    for name, found in _walk(made, "", set(), _package(made)):
        if isinstance(found, torch.Tensor):
            tensors[name] = found
        elif isinstance(found, np.ndarray):
            words.append(f"{name} {found.dtype} {found.shape} {sha256(found.tobytes()).hexdigest()}")
        elif not isinstance(found, nn.Module):
            words.append(f"{name} {found}")
    if not tensors and not words:
        return ""
    return sha256("\n".join([tensors_digest(tensors), *sorted(words)]).encode()).hexdigest()


def _walk(held: Any, name: str, seen: set[int], own: str) -> Iterator[tuple[str, Any]]:
    """Networks, tensors, arrays and plain values, each with where it is; what was seen before is left out."""
    if held is None or isinstance(held, bool | int | float | complex | torch.dtype | Enum):
        yield name, repr(held)
    elif isinstance(held, np.generic):
        yield name, repr(held.item())
    elif isinstance(held, str):
        if "/" not in held and "\\" not in held:
            yield name, repr(held)
    elif isinstance(held, torch.Tensor | np.ndarray):
        if not (isinstance(held, np.ndarray) and held.dtype.hasobject):
            yield name, held
    elif callable(held) and hasattr(held, "__qualname__"):
        yield name, held.__qualname__  # a function or a class; its code is in the digest of the source
    elif id(held) not in seen:
        seen.add(id(held))
        is_network = isinstance(held, nn.Module) and bool([*held.parameters(), *held.buffers()])
        if is_network:
            yield name, held
        if not is_network or _package(held) == own:
            for key, value in _parts(held):
                yield from _walk(value, f"{name}.{key}", seen, own)


def _package(made: object) -> str:
    return type(made).__module__.partition(".")[0]


def _parts(held: Any) -> Iterator[tuple[object, Any]]:
    if isinstance(held, Mapping):
        yield from held.items()
    elif isinstance(held, list | tuple | set | frozenset):
        yield from enumerate(sorted(held, key=repr) if isinstance(held, set | frozenset) else held)
    elif isinstance(held, partial):
        yield from enumerate((held.func, held.args, held.keywords))
    elif isinstance(held, nn.Module):
        yield from ((key, value) for key, value in held.__dict__.items() if key not in _MODULES_OWN)
        yield from held.named_children()
    elif _package(held) not in sys.stdlib_module_names:
        yield from getattr(held, "__dict__", {}).items()

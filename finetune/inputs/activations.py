"""Activations on disk: kept by labels of images, in files that are there whole or not at all, within a limit."""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Collection, Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from ...base import atomic_path, canonical_json, fingerprint
from ...base.files import make_folder, sweep
from ...base.text import size
from ...cache.locking import exclusive
from ...cache.spec import dataset_folder

Tensors = tuple[torch.Tensor, ...]

FOLDER = "activations"
_FILE_BYTES = 64 * 2**20
"""About how much one file holds: what a kill loses of the work."""
_SHARE_OF_FREE = 0.25
"""Of the free space of the disk, what activations may take by default."""
_GB = 1e9


class Activations:
    """The activations of images at one cut of one network, by label.

    A file that was damaged or cut off is removed, and what it held is missing again. Several processes may share a
    folder: each adds files of its own names, and one that is removed stays readable for who has opened it.
    """

    def __init__(self, store: Path, dataset: str, about: dict[str, object]) -> None:
        """Opens or begins those of `about`, JSON-like, which says everything that decides their values."""
        self.folder = dataset_folder(store, dataset) / FOLDER / fingerprint(about, digits=16)
        self._parts: dict[str, Tensors] = {}
        """By name of a file, which is mapped into memory."""
        self._places: dict[str, tuple[str, int]] = {}
        self.refresh()

    def refresh(self) -> None:
        """Takes in what other processes have added."""
        with suppress(OSError):
            os.utime(self.folder)  # the oldest ones are removed first
        for path in sorted(self.folder.glob("*.safetensors")):
            if path.name in self._parts or path.name.startswith("."):
                continue
            part = _read(path)
            if part is None:
                path.unlink(missing_ok=True)
                continue
            labels, self._parts[path.name] = part
            self._places |= {label: (path.name, row) for row, label in enumerate(labels)}

    def missing(self, labels: Iterable[str]) -> set[str]:
        """Those of `labels` that are not kept."""
        return {label for label in labels if label not in self._places}

    def filling(self) -> AbstractContextManager[None]:
        """Waits for other processes that fill the same folder; look for what is missing after it."""
        return exclusive(self.folder / ".lock")

    def add(self, labels: Sequence[str], tensors: Sequence[torch.Tensor]) -> None:
        """Writes one file, of B images; of `tensors` (B, ...) of floating-point types, but vectors, 16 bits are kept.

        Raises:
            OutputError: it cannot be written.
        """
        rows = [_compact(tensor) for tensor in tensors]
        named = {str(number): tensor for number, tensor in enumerate(rows)}
        # In one text, since safetensors writes several entries in any order.
        about = {"about": canonical_json({"labels": list(labels), "crc": _crc(rows)})}
        path = self.folder / f"{fingerprint(list(labels), digits=16)}.safetensors"
        with atomic_path(path) as temporary:
            temporary.write_bytes(save(named, metadata=about))
        self.refresh()

    def rows(self, labels: Sequence[str]) -> Tensors:
        """The activations of B images, (B, ...) each, as they are kept."""
        by_file: dict[str, list[tuple[int, int]]] = {}
        for place, label in enumerate(labels):
            name, row = self._places[label]
            by_file.setdefault(name, []).append((place, row))
        kept = [(self._parts[name], *map(torch.tensor, zip(*both, strict=True))) for name, both in by_file.items()]
        found = []
        for number, first in enumerate(kept[0][0]):
            whole = torch.empty(len(labels), *first.shape[1:], dtype=first.dtype)
            for tensors, places, rows in kept:
                whole[places] = tensors[number][rows]
            found.append(whole)
        return tuple(found)


def images_per_file(bytes_each: int, step: int) -> int:
    """How many images go into one file, a multiple of `step`."""
    return max(1, _FILE_BYTES // (bytes_each * step)) * step


def kept_bytes(shapes: Sequence[tuple[int, ...]]) -> int:
    """Bytes that the activations of one image take on the disk."""
    return sum(torch.Size(shape).numel() * (4 if len(shape) == 1 else 2) for shape in shapes)


def make_room(store: Path, own: Collection[Path], bytes_needed: int, limit_gb: float | None) -> str:
    """Makes room for further activations, for which those of other networks are removed, the oldest first.

    The new ones go to the folders `own`. Activations of all data sets of the store may take `limit_gb` together, by
    default what they take already and a quarter of the free disk.

    Returns:
        Nothing, or why there is no room.
    """
    make_folder(store)
    if bytes_needed and not all(os.access(_nearest(folder), os.W_OK) for folder in own):
        return f"{store} cannot be written"
    held = {folder: _bytes_of(folder) for folder in store.glob(f"*/{FOLDER}/*") if folder.is_dir()}
    total, free = sum(held.values()), shutil.disk_usage(store).free
    limit = limit_gb * _GB if limit_gb is not None else total + _SHARE_OF_FREE * free
    at_least = bytes_needed + sum(held.get(folder, 0) for folder in own)
    if at_least > limit:
        return f"they would take {size(at_least)}, and {size(limit)} are allowed"
    for folder in sorted(held.keys() - set(own), key=_last_used):
        if total + bytes_needed <= limit and bytes_needed <= free:
            break
        shutil.rmtree(folder, ignore_errors=True)
        total, free = total - held[folder], free + held[folder]
    return (
        "" if bytes_needed <= free else f"they would take {size(bytes_needed)}, and {size(free)} of the disk are free"
    )


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(one for one in (folder, *folder.parents) if one.is_dir())


def _last_used(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _bytes_of(folder: Path) -> int:
    total = 0
    with suppress(FileNotFoundError):
        sweep(folder)
        for path in folder.iterdir():
            with suppress(FileNotFoundError):
                total += path.stat().st_size
    return total


def _compact(tensor: torch.Tensor) -> torch.Tensor:
    halved = tensor.is_floating_point() and tensor.ndim > 2
    return tensor.detach().to("cpu", torch.bfloat16 if halved else tensor.dtype).contiguous()


def _read(path: Path) -> tuple[list[str], Tensors] | None:
    """The labels and activations of a file; None where it is not whole."""
    try:
        with torch.inference_mode(False), safe_open(path, framework="pt") as file:
            about = json.loads(file.metadata()["about"])
            tensors = tuple(file.get_tensor(str(number)) for number in range(len(file.keys())))
    except (SafetensorError, OSError, KeyError, TypeError, ValueError):
        return None
    return (about["labels"], tensors) if _crc(tensors) == about["crc"] else None


def _crc(tensors: Sequence[torch.Tensor]) -> int:
    value = 0
    for tensor in tensors:
        value = zlib.crc32(tensor.flatten().view(torch.uint8).numpy().data, value)
    return value

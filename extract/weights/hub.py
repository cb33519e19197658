"""The model hub's client: where it keeps what it downloaded, and no minute of retries where there is no hub."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from ...base import first_line
from ..catalogue import Entry

_PATIENCE_S = 5.0


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

"""The state of a training on disk: written whole, read as tensors and numbers alone, used only where it belongs."""

from __future__ import annotations

import pickle
import time
import zipfile
from pathlib import Path
from typing import Any

import torch

from ...base import OutputError, atomic_path
from ...base.text import first_line

_SCHEMA = 1
_SHARE = 0.1
"""Of the time that may go into writing."""


class Interrupted(Exception):  # noqa: N818  (no error: somebody wanted it)
    """Training was to stop; its checkpoint is of the end of an epoch, from where the same call continues."""


class Checkpoint:
    """A file with the state of one training after an epoch.

    Attributes:
        path: of the file; None keeps nothing.
        key: of everything that decides the result. A file with another one is as good as none, and so is one under
            another name, which says what is trained.
    """

    def __init__(self, path: Path | None, key: str) -> None:
        self.path, self.key = path, f"{path.name}/{key}" if path else key
        self._next = 0.0

    def read(self) -> dict[str, Any] | None:
        """The state that was written last; None where there is none, or none that belongs here."""
        if self.path is None:
            return None
        try:
            found = torch.load(self.path, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError, zipfile.BadZipFile):
            return None
        belongs = isinstance(found, dict) and (found.get("schema"), found.get("key")) == (_SCHEMA, self.key)
        return found["state"] if belongs else None

    def write(self, state: dict[str, Any], *, at_once: bool = False) -> None:
        """Writes a state of tensors, numbers, text, lists and dicts.

        Unless `at_once`, not if so much time would go into writing: what is on disk then is an earlier epoch's, from
        where training gives the same.

        Raises:
            OutputError: it cannot be written.
        """
        start = time.monotonic()
        if self.path is None or (start < self._next and not at_once):
            return
        with atomic_path(self.path) as draft:
            try:
                torch.save({"schema": _SCHEMA, "key": self.key, "state": state}, draft)
            except RuntimeError as error:  # torch notices that the file is too short, and not why
                raise OutputError(
                    f"{self.path}: cannot be written ({first_line(error)}): the disk or your quota is likely full; free"
                    " some space, then run the same command again."
                ) from error
        end = time.monotonic()
        self._next = end + (end - start) / _SHARE

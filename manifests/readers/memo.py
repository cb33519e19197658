"""The last few files that a process opened or decoded: rows of one file are mostly next to each other.

The state of the file is part of the key, so a file that has changed or was exchanged is read again.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from ...base import ImageError
from ...base.files import file_state
from .read_errors import is_damage, reason_of

Kept = TypeVar("Kept")


@dataclass
class _Slot:
    lock: threading.Lock = field(default_factory=threading.Lock)
    value: object = None
    size: int = -1
    """Bytes; -1 until it is made."""


class Memo(Generic[Kept]):
    """A few values by key, each made once however many threads request it.

    What is wrong with a damaged file is kept like a value, so that a damaged volume of 300 slices is decoded once; a
    failing disk or a lack of memory is not.
    A forked process starts with none: it must not share positions in files, nor locks that were held.
    """

    def __init__(self, most: int, most_bytes: int = 2**63) -> None:
        self._most, self._most_bytes = most, most_bytes
        self.forget()
        os.register_at_fork(after_in_child=self.forget)

    def forget(self) -> None:
        """Drops all values."""
        self._lock = threading.Lock()
        self._slots: OrderedDict[Hashable, _Slot] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], tuple[Kept, int]]) -> Kept:
        """The value of `key`; where there is none, `make` gives it with the bytes that it holds.

        The most recently used value is kept whatever its size.

        Raises:
            ImageError: the file is damaged; `make` raised something now or before.
        """
        with self._lock:
            slot = self._slots.setdefault(key, _Slot())
            self._slots.move_to_end(key)
        with slot.lock:
            if slot.size < 0:
                self._fill(key, slot, make)
        if isinstance(slot.value, ImageError):
            raise type(slot.value)(str(slot.value))
        return slot.value  # pyright: ignore[reportReturnType]

    def _fill(self, key: Hashable, slot: _Slot, make: Callable[[], tuple[Kept, int]]) -> None:
        try:
            slot.value, slot.size = make()
        except BaseException as error:
            if not is_damage(error):
                with self._lock:
                    self._slots.pop(key, None)
                raise
            kind = type(error) if isinstance(error, ImageError) else ImageError
            slot.value, slot.size = kind(reason_of(error)), 0
        with self._lock:
            held = sum(max(0, slot.size) for slot in self._slots.values())
            while len(self._slots) > 1 and (len(self._slots) > self._most or held > self._most_bytes):
                _, oldest = self._slots.popitem(last=False)
                held -= max(0, oldest.size)


def file_key(path: Path) -> tuple[str, tuple[int, int, int, int]]:
    """Identifies a file in its present state."""
    return str(path), file_state(path.stat())

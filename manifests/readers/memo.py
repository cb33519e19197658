"""The last few files that a process opened or decoded: rows of one file are mostly next to each other."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache, wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from ...base import ImageError
from ...base.files import file_state
from .read_errors import is_damage, reason_of

Others = ParamSpec("Others")
Kept = TypeVar("Kept")


def remembered(
    most: int,
) -> Callable[[Callable[Concatenate[Path, Others], Kept]], Callable[Concatenate[Path, Others], Kept]]:
    """Keeps the last `most` values of a function of a file, as long as the file is in the same state.

    What is wrong with a damaged file is kept like a value, so that a damaged volume of 300 slices is decoded once; a
    failing disk or a lack of memory is not. A forked process starts with none: it must not share positions in files.
    """

    def keeping(make: Callable[Concatenate[Path, Others], Kept]) -> Callable[Concatenate[Path, Others], Kept]:
        @lru_cache(most)
        def made(state: object, path: Path, *args: Others.args, **kwargs: Others.kwargs) -> Kept | ImageError:
            try:
                return make(path, *args, **kwargs)
            except Exception as error:
                if not is_damage(error):
                    raise
                kind = type(error) if isinstance(error, ImageError) else ImageError
                return kind(reason_of(error))

        os.register_at_fork(after_in_child=made.cache_clear)

        @wraps(make)
        def kept(path: Path, *args: Others.args, **kwargs: Others.kwargs) -> Kept:
            found = made(file_state(path.stat()), path, *args, **kwargs)
            if isinstance(found, ImageError):
                raise type(found)(str(found))
            return found

        return kept

    return keeping

"""Pseudonyms of patient ids: keyed hashes, whose key is in a file next to the manifest."""

from __future__ import annotations

import os
import re
import secrets
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from ..base import ManifestError, writing
from ..base.files import fsync, temporary_path
from .manifest import Manifest
from .schema.table_io import TEXT, as_words, column_of

_DIGITS = 20
"""Of a pseudonym: 80 bits, so that even ten million ids do not collide."""
_KEY_BYTES = 32
_REVEALING_DIGITS, _REVEALING_LETTERS = 4, 3
"""Minimum length of numbers and names that are searched for within others; shorter ones match by chance."""
_WORD, _BETWEEN = re.compile(r"[^\W\d_]+|\d+"), re.compile(r"[\W_]+")
_UID = r"(?:^|[^0-9.])[0-2](?:\.(?:0|[1-9][0-9]*)){5,}"
"""A DICOM UID (PS3.5, 9.1), alone or within an id: numbers without leading zeros and dots between, six or more."""


@dataclass(frozen=True)
class Pseudonyms:
    """Replaces ids by keyed hashes: the same for the same key, and not to be guessed without it.

    Keyed BLAKE2b (RFC 7693), a pseudorandom function, so no separate HMAC is needed.
    """

    key: bytes

    @classmethod
    def at(cls, file: Path) -> Pseudonyms:
        """With the key in `file`, created if missing, readable by its owner only.

        Raises:
            ManifestError: the file does not hold a key.
            OutputError: it is not there and cannot be made.
        """
        with writing(file):
            if not file.exists():
                _make_key(file)
            return cls(_read_key(file))

    def of(self, name: str) -> str:
        """The pseudonym of one id; an empty one stays empty."""
        return blake2b(name.encode(), key=self.key, digest_size=_DIGITS // 2).hexdigest() if name else ""

    def hide_ids(self, manifest: Manifest, columns: Sequence[str]) -> Manifest:
        """`manifest` with the ids in `columns` hashed; `columns_with_ids` says which columns identify a patient."""
        renamed = {}
        for column in columns:
            codes, names = pd.factorize(as_words(column_of(manifest.table, column)))
            renamed[column] = pd.Series(np.array([self.of(name) for name in names], object)[codes], dtype=TEXT)
        return Manifest(manifest.table.assign(**renamed), manifest.card, manifest.path)


def columns_with_ids(manifest: Manifest) -> list[str]:
    """The columns of `manifest` whose ids may identify a patient.

    Those of groups and units; and sample ids where groups or units are named and any sample id reveals that of its row
    (`_reveals`) or holds the path of its file, since files and folders are often called after the patient; or where one
    holds a DICOM UID, which every archive that the image went through can look up.
    """
    table = manifest.table
    columns = [name for name in ("group_id", "unit_id") if name in table]
    rows = (as_words(column_of(table, name)) for name in ("sample_id", "path", *columns))
    reveals = (
        _holds(sample, path) or any(_reveals(sample, path, name) for name in names)
        for sample, path, *names in zip(*rows, strict=True)
    )
    if column_of(table, "sample_id").str.contains(_UID, regex=True).any() or (columns and any(reveals)):
        columns.append("sample_id")
    return columns


def _reveals(sample: str, path: str, name: str) -> bool:
    """Whether a sample id holds an id, or holds the stem of its file and a part of the id.

    Such a part is a word of letters or a long number; a short one may be the same by chance.
    """
    if _holds(sample, name):
        return True
    words = {*_words(sample)}
    shared = words.intersection(_words(name))
    return any(map(_is_long, shared)) and words.issuperset(_words(PurePosixPath(path).stem))


def _holds(text: str, name: str) -> bool:
    """Whether all words of `name` are words of `text`, in any order, or `name` is within it and long enough."""
    words = _words(name)
    if not words:
        return False
    joined = _joined(name)
    return (_is_long(joined) and joined in _joined(text)) or {*words}.issubset(_words(text))


def _is_long(word: str) -> bool:
    return len(word) >= (_REVEALING_DIGITS if word.isdecimal() else _REVEALING_LETTERS)


@lru_cache(maxsize=1024)
def _words(text: str) -> tuple[str, ...]:
    """The names and numbers in `text`, whatever separates them, without case and leading zeros.

    `Kowalczyk_007`, `kowalczyk7` and `KOWALCZYK 07` are one.
    """
    return tuple(word.lstrip("0") or "0" for word in _WORD.findall(_folded(text)))


@lru_cache(maxsize=1024)
def _joined(text: str) -> str:
    """The letters and digits of `text` without what is between them."""
    return _BETWEEN.sub("", _folded(text))


def _folded(text: str) -> str:
    """`text` without case and accents, which file systems and tables write in several ways."""
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", text).casefold()
    return "".join(character for character in decomposed if not unicodedata.combining(character))


def _make_key(file: Path) -> None:
    """Puts a new key at `file`, whole or not at all; one that another process puts there meanwhile stays."""
    with temporary_path(file, mode=0o600) as temporary:
        temporary.write_text(secrets.token_hex(_KEY_BYTES) + "\n", encoding="ascii")
        fsync(temporary)
        try:
            # A link, because a rename would take the place of a key with which another process hashes already.
            os.link(temporary, file)
        except FileExistsError:
            pass  # whatever it is, if only a link to a key on a drive that is not there, it is not replaced
        except OSError:
            # exFAT and some network drives know no links; what else may be wrong a rename meets too.
            if not file.exists():
                temporary.rename(file)
        fsync(file.parent)


def _read_key(file: Path) -> bytes:
    key = b""
    with suppress(OSError, ValueError):
        if file.is_file():  # a named pipe would be waited for
            with file.open("rb") as opened:
                # A little more than a key and its line end, so that a large file is not read whole.
                key = bytes.fromhex(opened.read(2 * _KEY_BYTES + 8).decode("ascii"))
    if len(key) != _KEY_BYTES:
        raise ManifestError(
            f"{file}: does not hold a key of {2 * _KEY_BYTES} hexadecimal digits; name another file with --key, move "
            "this one away, or give --keep-ids."
        )
    return key

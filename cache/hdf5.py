"""The HDF5 layout that published files and segments share, and the only code that opens one.

Every dataset is chunked with Fletcher32, strings are of fixed length (a variable-length string lives in a heap that
HDF5 does not checksum), and the 1.10 format is used because its own structures and attributes are checksummed:
no byte that matters can change unseen. What was changed by way of HDF5 shows in the seal: a CRC-32 of each chunk of a
matrix, a digest of the index, and a digest over these and all attributes.
"""

from __future__ import annotations

import errno
import os
import stat
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from hashlib import blake2b
from io import FileIO
from math import prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5f, h5g, h5l, h5p, h5t  # pyright: ignore[reportAttributeAccessIssue]

from ..base import CacheError, canonical_json
from ..base.text import first_line

SCHEMA = 2
"""Version of the file layout; docs/cache.md says when it goes up."""

_TEXTS_AT_ONCE = 8192
"""Texts that are in memory twice while they are read."""
_CHUNK_BYTES = 512 * 1024
_CACHE_BYTES = 2 * _CHUNK_BYTES
"""Of HDF5's cache of chunks, for each matrix. Whole chunks are read and written in order, so that more is of no use."""
_CACHE_SLOTS = 101
"""Places of chunks in that cache; HDF5's 8,191 would be cleared for each dataset that is opened."""
_READ_BYTES = 2 * 2**20
"""What is read of a matrix at a time."""
_FORMAT = ("v110", "v110")
_MOST_DEFLATED = 1032
"""Bytes that one byte of gzip can stand for."""


class DamagedError(CacheError):
    """The bytes of a file are not what was written; reading it again would not help."""

    def __init__(self, message: str, path: Path | None = None) -> None:
        super().__init__(message)
        self.path = path


class GoneError(CacheError):
    """The file does not exist, or not any more."""


class _Sink(FileIO):
    """The file that HDF5 writes into; keeps the first error of the operating system to itself until HDF5 has closed.

    HDF5's own driver leaves a file that it could not finish (a full disk) open inside the library, which then crashes
    at the end of the process. Here HDF5 always succeeds, and `error` says afterwards that the file is worthless.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "r+b", closefd=False)
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        done = 0
        try:
            while done < len(view) and self.error is None:
                done += super().write(view[done:])
        except OSError as error:
            self.error = error
        return len(view)

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        got = super().readinto(view)
        view[got:] = bytes(len(view) - got)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        try:
            if self.error is None:
                super().truncate(size)
        except OSError as error:
            self.error = error
        return size or 0


@contextmanager
def hdf5_into(descriptor: int) -> Iterator[h5py.File]:
    """Writes a new HDF5 file into an open, empty one; OSError where the system refused a write, and it is worthless."""
    sink = _Sink(descriptor)
    try:
        with h5py.File(sink, "w", libver=_FORMAT, rdcc_nbytes=_CACHE_BYTES) as file:  # pyright: ignore[reportArgumentType]
            yield file
    except Exception as error:
        if sink.error is not None:
            raise sink.error from error
        raise
    if sink.error is not None:
        raise sink.error


@contextmanager
def hdf5_from(path: Path) -> Iterator[h5py.File]:
    """Opens a file for reading, without a lock (NFS); what HDF5 raises inside the block becomes a `CacheError`.

    Raises:
        CacheError: the file is absent, unreadable, truncated, damaged, not of this layout, or leads to other files.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a named pipe would wait for ever
            raise DamagedError(f"{path}: is not a regular file; move it away.", path)
        with _ReadFile(h5f.open(os.fsencode(path), h5f.ACC_RDONLY, fapl=_reading())) as file:
            if (schema := int(get_text(file, "schema"))) != SCHEMA:
                other = "Update medprobe, or move" if schema > SCHEMA else "An older medprobe wrote it; move"
                raise CacheError(
                    f"{path}: has schema {schema}; this medprobe reads {SCHEMA}. {other} the file away and run the"
                    " extraction again."
                )
            _check_links(file)
            yield file
    except FileNotFoundError as error:
        raise GoneError(f"{path}: does not exist; `medprobe cache ls` lists the caches of a folder.") from error
    except MemoryError as error:
        raise CacheError(f"{path}: needs more memory than there is ({first_line(error)}).") from error
    except (OSError, LookupError, RuntimeError, ValueError, TypeError, AttributeError, ArithmeticError) as error:
        number = getattr(error, "errno", None)
        if number == errno.ESTALE:
            raise GoneError(f"{path}: was replaced while it was read; run the same command again.") from error
        if number not in (None, errno.EIO):
            raise CacheError(f"{path}: cannot be read: {os.strerror(number)}.") from error
        raise DamagedError(
            f"{path}: is damaged or not a cache ({first_line(error)}). Move it away and run the extraction again.",
            path,
        ) from error


class _ReadFile(h5py.File):
    """A cache or segment that is read, with its datasets by path, each opened once."""

    def __init__(self, opened: h5f.FileID) -> None:
        super().__init__(opened)
        self.datasets: dict[str, h5py.Dataset] = {}


@cache
def _reading() -> h5p.PropFAID:
    """How files are opened: as `h5py.File(path, "r", locking=False)` does, which builds it again for each."""
    how = h5p.create(h5p.FILE_ACCESS)
    how.set_fclose_degree(h5f.CLOSE_STRONG)
    elements, _, _, preemption = how.get_cache()
    how.set_cache(elements, _CACHE_SLOTS, _CACHE_BYTES, preemption)
    how.set_file_locking(False, False)
    return how


def _check_links(file: h5py.File) -> None:
    """ValueError where a name is a link, to another file or within this one."""
    found: list[tuple[bytes, int]] = []
    # Exceptions must not be raised within this visit: HDF5's own frames are between.
    file.id.links.visit(lambda name, info: found.append((name, info.type)), info=True)
    for name, kind in found:
        if kind != h5l.TYPE_HARD:
            raise ValueError(f"{name.decode()} is a link, whose target is not sealed")


def chunk_rows(rows: int, row_bytes: int) -> int:
    """Rows of one chunk: about 512 KiB, at least one row and never more than there are."""
    return max(1, min(rows, _CHUNK_BYTES // max(1, row_bytes)))


class Matrix:
    """The vectors of a pooling in an open file; every read is checked against the CRC-32 of the chunks it touches."""

    def __init__(self, file: h5py.File, pooling: str) -> None:
        self.stored = dataset(file, f"embedding/{pooling}")
        self.crcs = get_array(file, f"seal/{pooling}", np.uint32, ())
        self.chunk = int(self.stored.chunks[0]) if self.stored.chunks else 0
        if self.stored.ndim != 2 or not self.chunk or len(self.crcs) != -(-len(self.stored) // self.chunk):
            raise ValueError(f"{self.stored.name} is not the matrix that was sealed")
        row_bytes = self.stored.shape[1] * self.stored.dtype.itemsize
        self._window = max(1, _READ_BYTES // max(1, self.chunk * row_bytes)) * self.chunk

    def check(self) -> None:
        """Reads all of it; ValueError or OSError where a value is not what was written."""
        for start in range(0, len(self.stored), self._window):
            self._read(start, start + self._window)

    def read(self, out: np.ndarray, rows: np.ndarray, places: np.ndarray) -> None:
        """`out[places] = matrix[rows]`, reading forwards and a window at a time."""
        order = np.argsort(rows, kind="stable")
        rows, places = rows[order], places[order]
        cuts = (np.flatnonzero(np.diff(rows // self._window)) + 1).tolist()
        for first, last in zip([0, *cuts], [*cuts, len(rows)], strict=True) if len(rows) else ():
            wanted, to = rows[first:last], places[first:last]
            low = int(wanted[0]) // self.chunk * self.chunk
            out[to] = self._read(low, (int(wanted[-1]) // self.chunk + 1) * self.chunk)[wanted - low]

    def _read(self, low: int, high: int) -> np.ndarray:
        """Rows of whole chunks; ValueError where they are not what was sealed."""
        block = self.stored[low:high]
        found = crcs_of(block, self.chunk)
        wrong = np.flatnonzero(found != self.crcs[low // self.chunk :][: len(found)])
        if len(wrong):
            start = low + int(wrong[0]) * self.chunk
            raise ValueError(f"{self.stored.name}: the vectors from row {start:,} on are not those that were written")
        return block


def crcs_of(block: np.ndarray, chunk: int) -> np.ndarray:
    """The CRC-32 of every `chunk` rows of a C-contiguous block: uint32."""
    return np.array([zlib.crc32(block[at : at + chunk].data) for at in range(0, len(block), chunk)], np.uint32)


def put_matrix(file: h5py.File, pooling: str, shape: tuple[int, int], dtype: Any, blocks: Iterable[np.ndarray]) -> None:
    """Writes a matrix from blocks of whole chunks (`chunk_rows`), and the CRC-32 of its chunks."""
    matrix, start = new_dataset(file, f"embedding/{pooling}", shape, dtype), 0
    crcs = [np.empty(0, np.uint32)]
    for block in blocks:
        matrix[start : start + len(block)] = block
        crcs.append(crcs_of(block, chunk_rows(shape[0], shape[1] * matrix.dtype.itemsize)))
        start += len(block)
    put_array(file, f"seal/{pooling}", np.concatenate(crcs))


def put_seal(file: h5py.File) -> None:
    """Seals a file whose datasets and attributes are all written."""
    put_attributes(file, {"seal": _seal(file, get_texts(file))})


def check_seal(file: h5py.File, texts: Mapping[str, str] | None = None) -> None:
    """ValueError where attributes or checksums of matrices are not those that were written; reads no vectors.

    `texts` are the attributes, where `get_texts` has read them already.
    """
    texts = get_texts(file) if texts is None else texts
    if texts["seal"] != _seal(file, texts):
        raise ValueError("its description was altered since it was written")


def sealed_poolings(file: h5py.File) -> list[str]:
    """Which matrices a file has, by name."""
    return sorted(name.decode() for name in h5g.open(file.id, b"seal")) if file.id.links.exists(b"seal") else []


def _seal(file: h5py.File, texts: Mapping[str, str]) -> str:
    total = blake2b(digest_size=16)
    total.update(canonical_json([[name, texts[name]] for name in sorted(texts) if name != "seal"]).encode())
    for pooling in sealed_poolings(file):
        matrix = dataset(file, f"embedding/{pooling}")
        total.update(f"{pooling} {matrix.dtype.str} {matrix.shape} {matrix.chunks} ".encode())
        total.update(get_array(file, f"seal/{pooling}", np.uint32, ()).tobytes())
    return total.hexdigest()


def new_dataset(file: h5py.File, name: str, shape: tuple[int, ...], dtype: Any, **options: Any) -> h5py.Dataset:
    """An empty dataset chunked by rows, with Fletcher32."""
    row_bytes = int(np.prod(shape[1:], dtype=np.int64)) * np.dtype(dtype).itemsize
    if shape[0] == 0:
        return file.create_dataset(name, shape, dtype)
    chunks = (chunk_rows(shape[0], row_bytes), *shape[1:])
    return file.create_dataset(name, shape, dtype, chunks=chunks, fletcher32=True, **options)


def put_array(file: h5py.File, name: str, values: np.ndarray) -> None:
    """Writes a whole array."""
    new_dataset(file, name, values.shape, values.dtype)[...] = values


def put_strings(file: h5py.File, name: str, texts: Sequence[str] | np.ndarray) -> None:
    """Writes texts as UTF-8 of one fixed length; gzip makes one long text cheap for all the short ones."""
    encoded = encode(texts)
    dtype = h5py.string_dtype("utf-8", max(1, encoded.itemsize))
    new_dataset(file, name, encoded.shape, dtype, compression="gzip", compression_opts=1)[...] = encoded.astype(dtype)


def get_strings(file: h5py.File, name: str) -> np.ndarray:
    """Reads what `put_strings` wrote; (n,) object array of str, which is smaller than numpy's fixed-width text."""
    raw = dataset(file, name)[...]
    blocks = (raw[start : start + _TEXTS_AT_ONCE].tolist() for start in range(0, len(raw), _TEXTS_AT_ONCE))
    return object_array([text.decode() for block in blocks for text in block])


def get_array(file: h5py.File, name: str, dtype: Any, row_shape: tuple[int, ...]) -> np.ndarray:
    """Reads a whole dataset; ValueError where it is not (n, *row_shape) of `dtype`."""
    found = dataset(file, name)
    if found.dtype != np.dtype(dtype) or found.shape[1:] != row_shape:
        raise ValueError(f"{name} is {found.dtype} {found.shape}, which is not this layout")
    return found[...]


def dataset(file: h5py.File, name: str) -> h5py.Dataset:
    """The dataset called `name`; KeyError where there is none, ValueError where it cannot be in a file of that size.

    Of a cache, ValueError where its values are in other files or other datasets.
    """
    ours = isinstance(file, _ReadFile)
    if ours and name in file.datasets:
        return file.datasets[name]
    found = h5py.Dataset(h5d.open(file.id, name.encode()), readonly=ours)
    if ours and (found.is_virtual or found.external):
        raise ValueError(f"{name} has its values outside the file, where they are not sealed")
    # Before anything is allocated: a damaged header may declare terabytes.
    declared, held = prod(found.shape) * found.dtype.itemsize, file.id.get_filesize()
    if declared > held and not (found.compression and declared <= held * _MOST_DEFLATED):
        raise ValueError(f"{name} declares {found.dtype} {found.shape}, more than the file holds")
    if ours:
        file.datasets[name] = found
    return found


def put_attributes(file: h5py.File, attributes: Mapping[str, Any]) -> None:
    """Writes attributes: integers as they are, text at a fixed length, anything else as canonical JSON."""
    for name, value in attributes.items():
        if isinstance(value, int):
            file.attrs[name] = value
            continue
        text = (value if isinstance(value, str) else canonical_json(value)).encode()
        dtype = h5py.string_dtype("utf-8", max(1, len(text)))
        file.attrs.create(name, np.array(text, dtype=dtype), dtype=dtype)


def get_text(file: h5py.File, name: str) -> str:
    """Reads a text attribute."""
    return _text_of(h5a.open(file.id, name.encode()))


def get_texts(file: h5py.File) -> dict[str, str]:
    """Reads all attributes, as `get_text` does, in order of their names."""
    names: list[bytes] = []
    h5a.iterate(file.id, lambda name, *_: names.append(name))
    return {name.decode(): _text_of(h5a.open(file.id, name)) for name in names}


def _text_of(attribute: h5a.AttrID) -> str:
    # By the low-level interface, in a third of the time of `file.attrs`: stores have thousands of files.
    stored = attribute.get_type()
    is_text = isinstance(stored, h5t.TypeStringID) and not stored.is_variable_str()
    value = np.zeros((), f"S{stored.get_size()}" if is_text else attribute.dtype)
    attribute.read(value, stored if is_text else None)
    text = value[()]
    return text.decode() if isinstance(text, bytes) else str(text)


def encode(texts: Sequence[str] | np.ndarray) -> np.ndarray:
    """`texts` as a numpy array of UTF-8; CacheError for a NUL at the end or half a surrogate pair."""
    try:
        encoded = [str(text).encode() for text in texts]
    except UnicodeEncodeError as error:
        raise CacheError(f"the sample id {error.object!r} is not valid Unicode; rename the sample.") from error
    odd = next((text for text in encoded if text.endswith(b"\0")), None)
    if odd is not None:
        raise CacheError(f"the sample id {odd!r} ends in a NUL character, which cannot be stored; rename the sample.")
    return np.array(encoded, dtype=np.bytes_) if encoded else np.empty(0, "S1")


def object_array(values: Sequence[Any]) -> np.ndarray:
    """`values` as a one-dimensional object array, whatever they are."""
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array

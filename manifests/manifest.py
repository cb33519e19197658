"""The manifest: a table of samples and its dataset card."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from glob import escape
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ..base import ManifestError, OutputError, atomic_path, canonical_json, writing
from ..base.files import fsync
from .readers.source import Source, Sources
from .schema.card import DatasetCard
from .schema.groups import Units, group_ids, names_patients, unit_ids
from .schema.labels import label_codes
from .schema.table_io import (
    SUFFIXES,
    as_arrow,
    as_numbers,
    as_text,
    as_words,
    column_of,
    is_blank,
    read_table,
    write_table,
)
from .validation.diagnostics import Diagnostic, refusal
from .validation.structure import STRUCTURE, require_columns

_TEXT = ("sample_id", "path", "unit_id", "group_id", "split", "modality", "window")


@dataclass(frozen=True, eq=False)
class Manifest:
    """What to embed and what it is: one row per 2-D image, and the card that gives the rows their meaning.

    Columns: `sample_id` (unique), `path` (relative to the card's `root`; `file.npz#array` for an array), one column of
    labels (one per class for `multilabel`; none for an unlabelled manifest, whose card has no task), and optionally
    `frame`, `unit_id` (default: the sample), `group_id` (default: the unit), `split`, `modality` and the card's
    attributes. docs/formats.md has the whole of it.

    Examples:
        >>> import pandas as pd
        >>> from medprobe.manifests import DatasetCard, Manifest
        >>> table = pd.DataFrame({"sample_id": ["a", "b"], "path": ["a.png", "b.png"], "label": ["no", "yes"]})
        >>> card = DatasetCard(name="lesions", task="binary", classes=["no", "yes"])
        >>> len(Manifest(table, card))
        2
    """

    table: pd.DataFrame
    """Made into columns of the right type when it is given; other columns are left as they are."""
    card: DatasetCard
    path: Path | None = None
    """The table's file; None before `save`, when the card's `root` is absolute or starts at the working folder."""

    def __post_init__(self) -> None:
        require_columns(self.table, self.card, str(self.path or self.card.name))
        object.__setattr__(self, "table", _typed(self.table, self.card))

    @classmethod
    def load(cls, path: Path | str, *, strict: bool = True) -> Manifest:
        """Reads a CSV or Parquet table and the card `<stem>.yaml` next to it.

        Args:
            path: the table.
            strict: refuse a manifest with structural errors. The checks load with False, and report them.

        Raises:
            ManifestError: a file is missing or damaged, a column is missing, or (`strict`) rows are wrong: a blank
                or repeated id, a blank or unknown label, an unknown split, a unit with two labels. All are listed.
        """
        path = Path(path)
        _refuse_other_suffixes(path)
        table = _settled(path)
        if not table.is_file():
            read_table(path, text=())  # says that it is missing, and names the near ones
        card = DatasetCard.load(path.with_suffix(".yaml"))
        manifest = cls(read_table(table, text=_text_columns(card)), card, path)
        return manifest.require_sound() if strict else manifest

    def save(self, path: Path | str, *, overwrite: bool = True) -> Manifest:
        """Writes the table to `path` and the card next to it, both or neither; returns the saved manifest.

        The card's `root` becomes relative to the card's new folder. A kill leaves the older pair, or the new one as
        `load` sees it (and completes it): the table waits under a name with its card's digest until the card is there.

        Raises:
            ManifestError: the manifest is not sound, or `path` is neither .parquet nor .csv.
            OutputError: the files cannot be written, or are there and `overwrite` is False.
        """
        path = Path(path)
        _refuse_other_suffixes(path)
        self.require_sound()
        if not overwrite:
            refuse_existing(path)
        root = Path(os.path.relpath(self.root.resolve(), path.parent.resolve())).as_posix()
        card = self.card.model_copy(update={"root": root})
        _settled(path)
        for killed in path.parent.glob(f".{escape(path.stem)}.medprobe-*.next{path.suffix}"):
            with suppress(OSError):
                killed.unlink()
        waiting = _waiting(path, card.to_yaml().encode())
        with atomic_path(waiting) as temporary:
            write_table(self.table, temporary)
        try:
            card.save(path.with_suffix(".yaml"))  # from here on the new pair counts
        except BaseException:
            waiting.unlink(missing_ok=True)
            raise
        with writing(path), suppress(FileNotFoundError):  # another process, which loaded it, has completed it
            waiting.replace(path)
            fsync(path.parent)
        return Manifest(self.table, card, path)

    def __len__(self) -> int:
        return len(self.table)

    @property
    def name(self) -> str:
        """The data set's name, from the card."""
        return self.card.name

    @property
    def names_patients(self) -> bool:
        """Whether a column tells which images are of one patient (or of one lesion, or whatever a group is)."""
        return names_patients(self.table, self.card)

    @property
    def root(self) -> Path:
        """The folder that paths start from; absolute."""
        start = Path.cwd() if self.path is None else self.path.parent.resolve()
        return Path(os.path.normpath(start / self.card.root))

    @cached_property
    def sample_ids(self) -> np.ndarray:
        """(N,) object array of str, in the order of rows."""
        return as_words(column_of(self.table, "sample_id"))

    @property
    def unit_ids(self) -> pd.Series:
        """The unit of each row; the sample's own id where the manifest names no units."""
        return unit_ids(self.table)

    @property
    def group_ids(self) -> pd.Series:
        """The group of each row; the unit's id where the manifest names no groups."""
        return group_ids(self.table)

    def source(self, row: int) -> Source:
        """Where the image of row `row` (from 0) is."""
        return self.sources()[row]

    def sources(self) -> Sequence[Source]:
        """Where the images are, in the order of rows; each `Source` is made on access."""
        return self._sources

    def stamps(self) -> tuple[np.ndarray, np.ndarray]:
        """What tells the files apart from their older versions.

        Returns:
            The stamp of each row's file, (N,) uint64, and why it has none, (N,) object, empty where it has one.
        """
        return self._sources.stamps()

    def parts(self) -> np.ndarray:
        """A number for what each row takes of its file: (N,) uint32; 0 where that is all, under the card's window.

        Stamps have it in their lower half, so that it can be compared with that of another time, without the files.
        """
        return self._sources.parts()

    @cached_property
    def _sources(self) -> Sources:
        frames = column_of(self.table, "frame") if "frame" in self.table else None
        windows = column_of(self.table, "window") if "window" in self.table else None
        return Sources(self.root, column_of(self.table, "path"), frames, self.card.reading, windows)

    def units(self) -> Units:
        """What gets one label and one prediction each, sorted by unit id.

        Raises:
            ManifestError: the manifest is not sound.
        """
        return self._units

    @cached_property
    def _units(self) -> Units:
        return Units.of(self.require_sound().table, self.card)

    @cached_property
    def digest(self) -> str:
        """32 hex digits over task, classes, and every sample's id, unit, group, split, modality, label and part.

        The order of rows, the file format, the paths of files and attributes make no difference: two manifests of one
        digest give a probe the same problem. The part is the frame, array or window that a sample takes of its file.
        """
        hasher = blake2b(digest_size=16)
        hasher.update(canonical_json([1, self.card.task, self.card.classes]).encode())
        ids = column_of(self.table, "sample_id")
        optional = [column_of(self.table, name) for name in ("split", "modality") if name in self.table]
        order = pc.call_function("sort_indices", [as_arrow(ids)])
        for column in (ids, self.unit_ids, self.group_ids, *optional):
            _digest_text(hasher, as_arrow(column).take(order))
        hasher.update(label_codes(self.table, self.card)[order.to_numpy()].astype("<i8").tobytes())
        if (parts := self.parts()).any():
            hasher.update(parts[order.to_numpy()].astype("<u4").tobytes())
        return hasher.hexdigest()

    @cached_property
    def faults(self) -> list[Diagnostic]:
        """The structural errors, found without opening an image; empty for a manifest that loads."""
        return [fault for check in STRUCTURE for fault in check(self.table, self.card)]

    def require_sound(self) -> Manifest:
        """This manifest, if nothing is structurally wrong with it.

        Raises:
            ManifestError: lists the errors.
        """
        if self.faults:
            messages = [fault.message for fault in self.faults]
            counts = [fault.count for fault in self.faults]
            raise ManifestError(refusal(str(self.path or self.name), messages, counts))
        return self


def refuse_existing(path: Path, *, overwrite: bool = False) -> None:
    """Makes sure that a manifest at `path` replaces nothing, or (`overwrite`) nothing but another manifest.

    Raises:
        OutputError: the table or its card is there; with `overwrite`, and is not of a manifest that can be read, or the
            card is that of a table with the other suffix, which would be left under a card that is not its own.
    """
    _settled(path)
    card = path.with_suffix(".yaml")
    there = [file for file in (path, card) if file.exists()]
    if not there:
        return
    others = (path.with_suffix(suffix) for suffix in SUFFIXES)
    owner = next((other for other in others if other.exists()), None)
    if owner and not path.exists():
        raise OutputError(
            f"{path}: its card would be {card.name}, which is that of {owner.name}; choose another --out."
        )
    try:
        if path.exists():
            Manifest.load(path, strict=False)
        else:
            DatasetCard.load(card)
    except ManifestError as error:
        why = f" ({str(error).rstrip('.')})" if card.exists() else ""
        raise OutputError(
            f"{there[0]}: exists already and is not a manifest{why}, and nothing else is ever replaced; choose another "
            "--out, or move it away."
        ) from error
    if not overwrite:
        raise OutputError(f"{there[0]}: exists already; choose another --out, or add --overwrite to replace it.")


def _waiting(path: Path, card: bytes) -> Path:
    """Where the table for `path` waits until the card of these bytes is in its place."""
    return path.with_name(f".{path.stem}.medprobe-{blake2b(card, digest_size=6).hexdigest()}.next{path.suffix}")


def _settled(path: Path) -> Path:
    """`path`, after a save that was killed between card and table is completed; the waiting table if it cannot be."""
    card = path.with_suffix(".yaml")
    if not card.is_file() or not (waiting := _waiting(path, card.read_bytes())).is_file():
        return path
    try:
        waiting.replace(path)
        fsync(path.parent)
    except FileNotFoundError:  # another process has completed it
        return path
    except OSError:
        return waiting
    return path


def _refuse_other_suffixes(path: Path) -> None:
    if path.suffix.lower() not in SUFFIXES:
        hint = " Name the table, not its card." if path.suffix.lower() in (".yaml", ".yml") else ""
        raise ManifestError(f"{path}: the table of a manifest is a .parquet or a .csv file.{hint}")


def _text_columns(card: DatasetCard) -> list[str]:
    return list(_TEXT) if card.task == "multilabel" else [*_TEXT, *card.label_columns]


def _typed(table: pd.DataFrame, card: DatasetCard) -> pd.DataFrame:
    """A copy with text as text and frames as whole numbers; a frame that is none is left for the checks to report."""
    table = table.reset_index(drop=True)
    for column in _text_columns(card):
        if column in table:
            table[column] = as_text(column_of(table, column))
    if "frame" in table and table["frame"].dtype != pd.Int64Dtype():
        numbers = as_numbers(column_of(table, "frame"))
        if ((numbers % 1 == 0) | is_blank(column_of(table, "frame"))).all():
            table["frame"] = pd.array(numbers, dtype="Float64").astype("Int64")
    return table


def _digest_text(hasher: blake2b, column: pa.Array) -> None:
    """Feeds the lengths, then the bytes, so that two different columns of text never hash the same bytes."""
    lengths = pc.call_function("binary_length", [column]).to_numpy().astype("<i8")
    hasher.update(lengths)
    _, offsets, data = column.buffers()
    if len(column) and data is not None:
        start = int(np.frombuffer(offsets, np.int64)[column.offset])
        hasher.update(memoryview(data)[start : start + int(lengths.sum())])

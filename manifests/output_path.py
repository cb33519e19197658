"""Checks where a new manifest may be written, before anything is read."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..base import ManifestError, OutputError
from .manifest import refuse_existing
from .schema.card import DatasetCard


def require_place(out: Path, inputs: Iterable[tuple[str, Path]], *, overwrite: bool) -> None:
    """Makes sure that a new manifest and its card can be written to the table `out`.

    `inputs` are what the command reads, in words, and its path; they are never replaced. With `overwrite` an existing
    manifest is; other files never are.
    """
    if out.suffix.lower() not in (".parquet", ".csv"):
        raise OutputError(f"{out}: --out must end in .parquet or .csv.")
    for what, file in inputs:
        if any(_is_same(written, file) for written in (out, out.with_suffix(".yaml"))):
            raise OutputError(f"{out}: this is {what}, which is never replaced; give another --out.")
    if not out.absolute().parent.is_dir():
        raise OutputError(f"{out}: the folder {out.parent} does not exist; create it, or give another --out.")
    refuse_existing(out, overwrite=overwrite)


def require_name(name: str, what: str) -> None:
    """Makes sure that a data set can be called `name`, which a message calls `what`, such as `--name "x"`."""
    try:
        DatasetCard.of("", name=name, task="binary", classes=["no", "yes"])
    except ManifestError as error:
        raise ManifestError(f"{what}{str(error).removeprefix(': name')}") from error


def _is_same(file: Path, other: Path) -> bool:
    if file.resolve() == other.resolve():
        return True
    # Where Brain.csv and brain.csv are one file, the file system shows it only for existing files.
    return file.exists() and other.exists() and file.samefile(other)

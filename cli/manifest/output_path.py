"""Where a new manifest may go: found out before anything is read, so that neither work nor a file is lost."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def require_place(out: Path, inputs: Iterable[tuple[str, Path]], *, overwrite: bool) -> None:
    """Makes sure that a new manifest may go to `out`, and its card beside it.

    Args:
        out: the table.
        inputs: what the command reads, in words, and where it is; it is never replaced.
        overwrite: a manifest that is there may be replaced; anything else is not.

    Raises:
        OutputError: it may not.
    """
    from ...base import OutputError
    from ...manifests import refuse_existing

    if out.suffix.lower() not in (".parquet", ".csv"):
        raise OutputError(f"{out}: --out must end in .parquet or .csv.")
    for what, file in inputs:
        if any(_is_same(written, file) for written in (out, out.with_suffix(".yaml"))):
            raise OutputError(f"{out}: this is {what}, which is never changed; give another name with --out.")
    if not out.absolute().parent.is_dir():
        raise OutputError(f"{out}: the folder {out.parent} does not exist; make it, or choose another --out.")
    refuse_existing(out, overwrite=overwrite)


def require_name(name: str, told: str, remedy: str = "") -> None:
    """Makes sure that a data set can be called `name`.

    Args:
        name: of the data set.
        told: what the message calls it, such as `--name "x"`.
        remedy: what to do, as a sentence; put after the reason.

    Raises:
        ManifestError: it cannot.
    """
    from ...base import ManifestError
    from ...manifests import DatasetCard

    try:
        DatasetCard.of("", name=name, task="binary", classes=["no", "yes"])
    except ManifestError as error:
        raise ManifestError(f"{told}{str(error).removeprefix(': name')}{remedy and f' {remedy}'}") from error


def _is_same(file: Path, other: Path) -> bool:
    if file.resolve() == other.resolve():
        return True
    # File systems that take Brain.csv and brain.csv for one say so only of files that are there.
    return file.exists() and other.exists() and file.samefile(other)

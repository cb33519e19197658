"""A manifest of a published data set in class folders, from its TOML file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from ...base import ManifestError, counted
from ..builders.common import Notice, assemble
from ..builders.folder import class_folder_table, unpacked
from ..manifest import Manifest
from ..schema.table_io import as_words, column_of
from ..validation.diagnostics import refusal
from .set_format import FolderSet

_FEW = 100
"""Images of val, below which it is too small for model selection."""


def build_from_folders(spec: FolderSet, src: Path, options: Mapping[str, Any], notice: Notice) -> Manifest:
    """A manifest of the data set in `src`.

    Raises:
        ManifestError: no such folder, a class has no folder, there are no images, or file names are not of the set or
            mean another class than their folder; all such files are listed.
    """
    src = unpacked(src, spec.inner, spec.classes)
    table = class_folder_table(src, notice, classes=spec.classes, layout=spec.layout)
    table = pd.concat([table, _read_names(spec, table, src)], axis=1)
    if subtype := options.get("subtype", False):
        table["label"] = table["cause"]
    _report_counts(spec, table, notice)
    if spec.warning:
        notice(spec.warning)
    return assemble(
        table.drop(columns="cause", errors="ignore"),
        src,
        name=options["name"] or spec.name,
        notice=notice,
        task="multiclass" if subtype else spec.task,
        classes=list(spec.subtypes) if subtype else spec.classes,
        license=spec.license,
        citation=spec.citation,
    )


def _read_names(spec: FolderSet, table: pd.DataFrame, src: Path) -> pd.DataFrame:
    """The patient (`group_id`) and the cause that the file names mean, as far as the set's patterns have them."""
    faults, found = [], []
    for path, folder in zip(as_words(column_of(table, "path")), as_words(column_of(table, "label")), strict=True):
        stem = PurePosixPath(path).stem
        matches = ((re.fullmatch(pattern.regex, stem, re.IGNORECASE), pattern.cause) for pattern in spec.names)
        match, cause = next(((match, cause) for match, cause in matches if match), (None, ""))
        parts = match.groupdict() if match else {}
        cause = cause or parts.get("cause", "").upper()
        named = spec.subtypes.get(cause, cause) or folder
        if match is None and spec.unnamed:
            faults.append(f"{path} {spec.unnamed}")
        elif named != folder:
            faults.append(f"{path} is in {folder}, but its name means {cause}; move it to the right folder")
        found.append({"group_id": parts["patient"], "cause": cause} if "patient" in parts else {})
    if faults:
        raise ManifestError(refusal(str(src), faults))
    return pd.DataFrame(found, table.index)


def _report_counts(spec: FolderSet, table: pd.DataFrame, notice: Notice) -> None:
    counts = {name: int((table["label"] == name).sum()) for name in spec.published}
    if counts != spec.published:
        here, published = (
            " and ".join(f"{count:,} {name}" for name, count in part.items()) for part in (counts, spec.published)
        )
        notice(f"{here} photographs are here; as published, there are {published}.")
    rows = int((table["split"] == "val").sum()) if "split" in table else 0
    if 0 < rows < _FEW:
        notice(
            f"The published val has only {counted(rows, 'image')}, too few for model selection; a new split, such "
            "as --split grouped:80/10/10, has more, and keeps patients together."
        )

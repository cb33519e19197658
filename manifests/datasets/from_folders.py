"""A manifest of a published data set in class folders, from its TOML file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from ...base import ManifestError
from ..builders.common import Notice, assemble
from ..builders.folder import class_folder_table, unpacked
from ..manifest import Manifest
from ..schema.table_io import as_words, column_of
from ..validation.diagnostics import refusal
from .set_format import FolderSet


def build_from_folders(spec: FolderSet, src: Path, options: Mapping[str, Any], notice: Notice) -> Manifest:
    """A manifest of the data set in `src`.

    Raises:
        ManifestError: no such folder, a class has no folder, there are no images, or file names are not of the set or
            mean another class than their folder; all such files are listed.
    """
    src = unpacked(src, spec.inner, spec.classes)
    table = class_folder_table(src, notice, classes=spec.classes, layout=spec.layout)
    table = pd.concat([table, _read_names(spec, table, src)], axis=1)
    if spec.warning:
        notice(spec.warning)
    return assemble(
        table,
        src,
        name=options["name"] or spec.name,
        notice=notice,
        task=spec.task,
        classes=spec.classes,
        license=spec.license,
        citation=spec.citation,
    )


def _read_names(spec: FolderSet, table: pd.DataFrame, src: Path) -> pd.DataFrame:
    """The patient (`group_id`) of each file name, as far as the set's patterns have them."""
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
        found.append({"group_id": parts["patient"]} if "patient" in parts else {})
    if faults:
        raise ManifestError(refusal(str(src), faults))
    return pd.DataFrame(found, table.index)

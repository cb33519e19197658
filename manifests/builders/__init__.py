"""Builds manifests from what people have: class folders, tables of labels, npz files, published data sets.

In: a folder or file, left as it is. Out: an unsaved `Manifest`; `Manifest.save` puts it beside its card.
A further data set is one file here with one function, and one line in `BUILDERS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..manifest import Manifest
from .folder import build_folder
from .medmnist import build_npz
from .table import build_csv

__all__ = ["BUILDERS", "Builder", "build_csv", "build_folder", "build_npz"]


@dataclass(frozen=True)
class Builder:
    """One way to come by a manifest."""

    summary: str
    """One line for a list of builders."""
    build: Callable[..., Manifest]
    """Takes the path of what is there, and keyword options; raises `ManifestError` with all faults at once."""


BUILDERS: dict[str, Builder] = {
    "folder": Builder("class folders, with or without train/, val/, test/ above them", build_folder),
    "csv": Builder("a table of image paths and labels (CSV or Parquet)", build_csv),
    "npz": Builder("arrays of images and labels in MedMNIST's layout", build_npz),
}

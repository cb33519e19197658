"""Builds manifests from what people have: class folders, tables of labels, npz files, published data sets.

In: a folder or file, left as it is. Out: an unsaved `Manifest`; `Manifest.save` puts it beside its card.
A further data set is one file here with one function, and one line in `BUILDERS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ..manifest import Manifest
from ..splits import SplitPreset
from .folder import build_folder
from .medmnist import build_npz
from .table import build_csv

__all__ = ["BUILDERS", "Builder", "build_csv", "build_folder", "build_npz"]


@dataclass(frozen=True)
class Builder:
    """One way to come by a manifest. The command line makes its options from the function's signature and docstring."""

    summary: str
    """One line for a list of builders."""
    build: Callable[..., Manifest]
    """Takes the path of what is there, and keyword options; raises `ManifestError` with all faults at once."""
    example: str
    """What one types after `medprobe manifest build NAME`."""
    splits: Mapping[str, SplitPreset] = field(default_factory=dict)
    """Splits of studies that used this data set, by name; they count rows in the order in which `build` gives them."""


BUILDERS: dict[str, Builder] = {
    "folder": Builder(
        "class folders, with or without train/, val/, test/ above them", build_folder, "images --out brain.parquet"
    ),
    "csv": Builder(
        "a table of image paths and labels (CSV or Parquet)",
        build_csv,
        "labels.csv --image-column file --label-column dx --group-column patient --out skin.parquet",
    ),
    "npz": Builder(
        "arrays of images and labels in MedMNIST's layout",
        build_npz,
        "pneumoniamnist.npz --classes normal,pneumonia --out pneumonia.parquet",
    ),
}

"""iChallenge-AMD (the training images of the ADAM challenge): `Training400/AMD/A0001.jpg`, `Non-AMD/N0001.jpg`.

Layout as described at https://amd.grand-challenge.org and in Fang et al. 2022 (IEEE TMI 41, 2828).
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pandas as pd

from ...base import ManifestError
from ..builders.common import Notice, assemble, silent
from ..builders.folder import class_folder_table, unpacked
from ..manifest import Manifest
from ..schema.columns import as_words, column_of
from ..validation.diagnostics import refusal

_CLASSES = ["Non-AMD", "AMD"]
_LAYOUT = "Training400/AMD/A0001.jpg and Training400/Non-AMD/N0001.jpg"
_INITIALS = {"N": "Non-AMD", "A": "AMD"}
_PUBLISHED = {"Non-AMD": 311, "AMD": 89}


def build_ichallenge_amd(src: Path | str, *, name: str | None = None, notice: Notice = silent) -> Manifest:
    """A manifest of the 400 fundus photographs of iChallenge-AMD: `Training400/AMD/*.jpg`, `Training400/Non-AMD/*.jpg`.

    Binary, AMD against Non-AMD (89 and 311 photographs as published). The masks of discs and lesions and the table of
    foveas are skipped. The set has no official split and names no patients: every photograph is a
    group.

    Args:
        src: the folder Training400, or the folder that contains it.
        name: name of the data set; by default ichallenge-amd.
        notice: called with messages: what was skipped, and counts that are not the published ones.

    Raises:
        ManifestError: no such folder, a class has no folder, or a photograph's name is of the other class.
    """
    src = unpacked(Path(src), "Training400", _CLASSES)
    table = class_folder_table(src, notice, classes=_CLASSES, layout=_LAYOUT)
    _refuse_misplaced(table, src)
    _report_counts(table, notice)
    return assemble(
        table,
        str(src),
        src,
        name=name or "ichallenge-amd",
        task="binary",
        classes=_CLASSES,
        license="terms of the ADAM challenge, https://amd.grand-challenge.org",
        citation=(
            "Fang H, Li F, Fu H, et al. ADAM challenge: detecting age-related macular degeneration from fundus images. "
            "IEEE Transactions on Medical Imaging 41(10):2828-2847, 2022. doi:10.1109/TMI.2022.3172773"
        ),
    )


def _refuse_misplaced(table: pd.DataFrame, src: Path) -> None:
    """Makes sure that A0001.jpg is not in Non-AMD, nor N0001.jpg in AMD; other names say nothing."""
    misplaced = [
        f"{path} is in {label}, but its name means {named}; move it to the right folder"
        for path, label in zip(as_words(column_of(table, "path")), as_words(column_of(table, "label")), strict=True)
        if (named := _INITIALS.get(PurePosixPath(path).name[0].upper(), label)) != label
    ]
    if misplaced:
        raise ManifestError(refusal(str(src), misplaced))


def _report_counts(table: pd.DataFrame, notice: Notice) -> None:
    counts = {label: int((table["label"] == label).sum()) for label in _CLASSES}
    if counts != _PUBLISHED:
        notice(
            f"{counts['AMD']:,} AMD and {counts['Non-AMD']:,} Non-AMD photographs are here; as published, "
            f"Training400 has {_PUBLISHED['AMD']} and {_PUBLISHED['Non-AMD']}."
        )

"""What is in a manifest, in numbers; told after it was built and when it is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .console import say, show_table

if TYPE_CHECKING:
    from ..manifests import Manifest


def tell_counts(manifest: Manifest) -> None:
    from ..base import counted
    from ..manifests import class_counts

    units, table = manifest.units(), manifest.table
    said = [counted(len(manifest), "image")]
    said += [counted(len(units), "unit")] if "unit_id" in table else []
    said += [counted(len(units.group_id), "group")] if "group_id" in table else []
    said += [f"{len(manifest.card.classes)} {'labels' if manifest.card.task == 'multilabel' else 'classes'}"]
    say(f"{manifest.name} ({manifest.card.task}): {', '.join(said)}")
    counts = class_counts(manifest)
    columns = ["class", *counts.columns]
    rows = [[name, *(f"{count:,}" for count in row)] for name, row in zip(counts.index, counts.to_numpy(), strict=True)]
    if len(rows) > 1 and manifest.card.task != "multilabel":
        rows.append(["total", *(f"{count:,}" for count in counts.sum())])
    show_table(columns, rows, right=columns[1:])

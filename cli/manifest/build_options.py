"""Options that every `manifest build` command has, or many have: their types and help."""

from __future__ import annotations

from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ...manifests.registry import Builder

Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        help="Manifest to write: a .parquet or .csv file. Its dataset card (.yaml) is written next to it.",
        show_default="<source>.parquet",
    ),
]
SHARED: dict[str, Any] = {
    "name": Annotated[str | None, typer.Option(help="Name of the data set.", show_default="file name of the manifest")],
    "task": Annotated[
        str | None,
        typer.Option(help="One of binary, multiclass, ordinal, multilabel.", show_default="from the classes"),
    ],
    "classes": Annotated[
        str | None,
        typer.Option(
            help="Class names in order, separated by commas. For `binary` the second one is positive. Put a name with "
            "a comma in double quotes.",
            show_default="sorted by name",
        ),
    ],
}
"""Options that many builders have: their type."""


def common_options(builder: Builder) -> dict[str, tuple[Any, Any]]:
    """Options of every command, which builders do not see: type and default."""
    own = "".join(f"; or `{name}`, {preset.summary}" for name, preset in builder.splits.items())
    excluded = " Not together with --split-column." if "split_column" in signature(builder.build).parameters else ""
    split = typer.Option(
        help="Draw a new split: `grouped:70/15/15` (train, val, test) or `grouped:80/20` (train, test), in percent, "
        f"stratified by class, with every group (patient) in one part only. Append `@SEED` for another draw{own}."
        f"{excluded}",
        show_default="the split of the data set, if any",
    )
    window = typer.Option(
        help="Intensity window that is mapped to 0..255: stored (the window in the file, or percentiles:0.5,99.5 where "
        "it has none), percentiles, percentiles:LOW,HIGH, or CENTRE,WIDTH in the units of the file. 8-bit images "
        "(PNG, JPEG) are not changed.",
        show_default="stored",
    )
    per_slice = typer.Option("--per-slice", help="Compute percentiles per slice instead of per volume.")
    keep_ids = typer.Option(
        "--keep-ids",
        help="Keep ids of patients and units. By default they are replaced by keyed hashes; the key is written to a "
        ".key file next to the manifest.",
    )
    key = typer.Option(
        help="File of the key for hashing ids, created if missing. A patient gets the same id in all manifests "
        "with the same key.",
        show_default="<manifest>.key",
    )
    overwrite = typer.Option("--overwrite", help="Replace an existing manifest.")
    return {
        "split": (Annotated[str | None, split], None),
        "window": (Annotated[str | None, window], None),
        "per_slice": (Annotated[bool, per_slice], False),
        "keep_ids": (Annotated[bool, keep_ids], False),
        "key": (Annotated[Path | None, key], None),
        "overwrite": (Annotated[bool, overwrite], False),
    }

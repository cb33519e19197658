"""Options that every `manifest build` command has, or many have: their types and help."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

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
Name = Annotated[str | None, typer.Option(help="Name of the data set.", show_default="file name of the manifest")]
Task = Annotated[
    str | None, typer.Option(help="One of binary, multiclass, ordinal, multilabel.", show_default="from the classes")
]
Classes = Annotated[
    str | None,
    typer.Option(
        help="Class names in order, separated by commas. For `binary` the second one is positive. Put a name with a "
        "comma in double quotes.",
        show_default="sorted by name",
    ),
]
Split = Annotated[
    str | None,
    typer.Option(
        help="Draw a new split: `grouped:70/15/15` (train, val, test) or `grouped:80/20` (train, test), in percent, "
        "stratified by class, with every group (patient) in one part only. Append `@SEED` for another draw{own}.",
        show_default="the split of the data set, if any",
    ),
]
KeepIds = Annotated[
    bool,
    typer.Option(
        "--keep-ids",
        help="Keep ids of patients and units. By default they are replaced by keyed hashes; the key is written to a "
        ".key file next to the manifest.",
    ),
]
Key = Annotated[
    Path | None,
    typer.Option(
        help="File of the key for hashing ids, created if missing. A patient gets the same id in all manifests "
        "with the same key.",
        show_default="<manifest>.key",
    ),
]
Window = Annotated[
    str | None,
    typer.Option(
        help="Intensity window that is mapped to 0..255: stored (the window in the file, or percentiles:0.5,99.5 where "
        "it has none), percentiles, percentiles:LOW,HIGH, or CENTRE,WIDTH in the units of the file. 8-bit images "
        "(PNG, JPEG) are not changed.",
        show_default="stored",
    ),
]
PerSlice = Annotated[bool, typer.Option("--per-slice", help="Compute percentiles per slice instead of per volume.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing manifest.")]

COMMON: dict[str, tuple[Any, Any]] = {
    "split": (Split, None),
    "window": (Window, None),
    "per_slice": (PerSlice, False),
    "keep_ids": (KeepIds, False),
    "key": (Key, None),
    "overwrite": (Overwrite, False),
}
"""Options of every command, which builders do not see: type and default."""
SHARED = {"name": Name, "task": Task, "classes": Classes}
"""Options that many builders have: their type."""


def with_own_splits(kind: Any, builder: Builder) -> Any:
    """`kind`; for `--split` with the splits of `builder` in its help."""
    if kind is not Split:
        return kind
    own = "".join(f"; or `{name}`, {preset.summary}" for name, preset in builder.splits.items())
    excluded = " Not together with --split-column." if split_options(builder) else ""
    option = get_args(Split)[1]
    return Annotated[
        str | None, typer.Option(help=option.help.format(own=own) + excluded, show_default=option.show_default)
    ]


def split_options(builder: Builder) -> list[str]:
    """The builder's own options that name a split."""
    return [name for name in inspect.signature(builder.build).parameters if name.startswith("split")]

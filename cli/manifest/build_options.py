"""What every `manifest build` command asks besides its builder's own options: how it is typed, and its help."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

if TYPE_CHECKING:
    from ...manifests import Builder

Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        help="The manifest: a .parquet or .csv file; its card goes beside it.",
        show_default="the source's name, .parquet",
    ),
]
Name = Annotated[str | None, typer.Option(help="Name of the data set.", show_default="stem of the manifest")]
Task = Annotated[
    str | None, typer.Option(help="binary, multiclass, ordinal or multilabel.", show_default="from the classes")
]
Classes = Annotated[
    str | None,
    typer.Option(
        help="Class names in order, separated by commas; for `binary` the second is positive. A name in double quotes "
        "may hold a comma.",
        show_default="sorted",
    ),
]
Split = Annotated[
    str | None,
    typer.Option(
        help="Draw a split in place of the data set's own: `grouped:70/15/15` (train, val, test) or `grouped:80/20` "
        "(train, test), in percent, stratified by class with no group torn, `@SEED` after it for another one{own}.",
        show_default="the data set's own, if any",
    ),
]
KeepIds = Annotated[
    bool,
    typer.Option(
        "--keep-ids",
        help="Keep ids of patients and units as they are. Else they become keyed hashes; the key is put beside the "
        "manifest (.key) and never in it.",
    ),
]
Key = Annotated[
    Path | None,
    typer.Option(
        help="Hash ids with the key in this file, which is made where it is missing. Manifests with one key give a "
        "patient the same id.",
        show_default="the manifest's name, .key",
    ),
]
Window = Annotated[
    str | None,
    typer.Option(
        help="Stored values that become 0 to 255: stored, percentiles, percentiles:LOW,HIGH, or CENTRE,WIDTH in the "
        "file's own units. 8-bit PNG, JPEG and the like stay as they are.",
        show_default="stored, else percentiles:0.5,99.5",
    ),
]
PerSlice = Annotated[
    bool, typer.Option("--per-slice", help="Take percentiles over each slice instead of the whole volume.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a manifest that is there.")]

COMMON: dict[str, tuple[Any, Any]] = {
    "split": (Split, None),
    "window": (Window, None),
    "per_slice": (PerSlice, False),
    "keep_ids": (KeepIds, False),
    "key": (Key, None),
    "overwrite": (Overwrite, False),
}
"""Options of every builder, which are no business of the builders themselves: how they are typed, and their default."""
SHARED = {"name": Name, "task": Task, "classes": Classes}
"""Options that many builders have, and how they are typed."""


def with_own_splits(kind: Any, builder: Builder) -> Any:
    """`kind` as it is; of `--split`, with the splits of `builder` in its help."""
    if kind is not Split:
        return kind
    own = "".join(f"; or `{name}`, {preset.summary}" for name, preset in builder.splits.items())
    beside = " Not beside --split-column." if split_options(builder) else ""
    option = get_args(Split)[1]
    return Annotated[
        str | None, typer.Option(help=option.help.format(own=own) + beside, show_default=option.show_default)
    ]


def split_options(builder: Builder) -> list[str]:
    """The builder's own options that give a split."""
    return [name for name in inspect.signature(builder.build).parameters if name.startswith("split")]

"""What every `manifest build` command asks besides its builder's own options, found wrong before anything is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args

import typer

if TYPE_CHECKING:
    from ..manifests import Builder, Reading

T = TypeVar("T")

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
        help="Class names in order, separated by commas; for `binary` the second is positive.", show_default="sorted"
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
    beside = " Not beside --split-column." if _split_options(builder) else ""
    option = get_args(Split)[1]
    return Annotated[
        str | None, typer.Option(help=option.help.format(own=own) + beside, show_default=option.show_default)
    ]


@dataclass(frozen=True)
class Settled:
    """What the common options ask for."""

    place: Path
    """Where the manifest goes."""
    reading: Reading
    split: str | None
    """As `resplit` takes it; None leaves the data set's own."""
    key: Path | None
    """The file of the key; None keeps ids."""


def settle(
    builder: Builder, source: Path, out: Path | None, common: Mapping[str, Any], options: dict[str, Any]
) -> Settled:
    """Reads the options that are common or shared; those that `builder` takes are put into `options` as it takes them.

    Raises:
        MedprobeError: options are wrong, or the manifest cannot go where it should; all are told.
    """
    from ..base import MedprobeError

    faults: list[MedprobeError] = []

    def asked(ask: Callable[[], T]) -> T | None:
        try:
            return ask()
        except MedprobeError as error:
            faults.append(error)
            return None

    reading = asked(lambda: _reading(common["window"], per_slice=common["per_slice"]))
    split = asked(lambda: _split(common["split"], builder, options))
    place = _place(out, source)
    key = asked(lambda: _key(common["key"], place, keep_ids=common["keep_ids"]))
    for name, read in (("name", _name), ("task", _task), ("classes", _classes)):
        if name in options:
            options[name] = asked(lambda name=name, read=read: read(options[name]))
    if "name" in options:
        options["name"] = options["name"] or place.stem
    asked(lambda: _require_place(place, source, overwrite=common["overwrite"]))
    if len(faults) == 1:
        raise faults[0]
    if faults:
        told = "".join(f"\n  {fault}" for fault in faults)
        raise MedprobeError(f"{len(faults)} options are wrong:{told}") from faults[0]
    assert reading is not None
    return Settled(place, reading, split, key)


def _reading(window: str | None, *, per_slice: bool) -> Reading:
    """The reading that `--window` and `--per-slice` ask for."""
    from pydantic import ValidationError

    from ..base import ManifestError, fault_in_words
    from ..manifests import Reading

    fields: dict[str, Any] = {"scope": "slice"} if per_slice else {}
    kind, _, numbers = (window or "").partition(":")
    try:
        if window in ("stored", "percentiles"):
            fields |= {"window": window}
        elif kind == "percentiles":
            fields |= {"window": kind, "percentiles": _pair(numbers)}
        elif window is not None:
            fields |= {"window": _pair(window)}
        return Reading(**fields)
    except ValidationError as error:
        raise ManifestError(f"--window {window}: {fault_in_words(dict(error.errors()[0]))}.") from error
    except ValueError as error:
        raise ManifestError(
            f"--window {window}: write stored, percentiles, percentiles:LOW,HIGH or CENTRE,WIDTH, such as 40,400."
        ) from error


def _pair(text: str) -> tuple[float, float]:
    """Two numbers, neither infinite nor NaN.

    Raises:
        ValueError: it is none.
    """
    first, second = (float(number) for number in text.split(","))
    if not (isfinite(first) and isfinite(second)):
        raise ValueError
    return first, second


def _split(text: str | None, builder: Builder, options: Mapping[str, Any]) -> str | None:
    """`--split`, of which it is known that there is such a split here, and no other is named."""
    from ..base import ManifestError, one_of
    from ..manifests import BUILDERS, read_split

    if text is None:
        return None
    rival = next((name for name in _split_options(builder) if options.get(name)), None)
    if rival:
        switch = f"--{rival.replace('_', '-')}"
        raise ManifestError(
            f"--split {text}: draws a new split, and {switch} takes one that is there; give one of them."
        )
    having = [name for name, other in BUILDERS.items() if text in other.splits]
    if having and text not in builder.splits:
        raise ManifestError(
            f"--split {text}: is a split of {one_of(having)} alone, whose rows it counts. Here write grouped:70/15/15 "
            "or grouped:80/20."
        )
    read_split(text, builder.splits)
    return text


def _split_options(builder: Builder) -> list[str]:
    """The builder's own options that give a split."""
    import inspect

    return [name for name in inspect.signature(builder.build).parameters if name.startswith("split")]


def _key(asked: Path | None, place: Path, *, keep_ids: bool) -> Path | None:
    """The file of the key: the one that `--key` names, of which it is known that it is one or may be made."""
    from ..base import ManifestError, OutputError
    from ..manifests import Pseudonyms

    if asked is None:
        return None if keep_ids else place.with_suffix(".key")
    if keep_ids:
        raise ManifestError(
            f"--key {asked}: is what ids are hashed with, and --keep-ids hashes none; give one of them."
        )
    if asked.resolve() in (place.resolve(), place.with_suffix(".yaml").resolve()):
        raise OutputError(f"--key {asked}: is where the manifest goes; name another file.")
    if not asked.absolute().parent.is_dir():
        raise OutputError(f"--key {asked}: the folder {asked.parent} does not exist; make it, or name another file.")
    if asked.exists():
        Pseudonyms.at(asked)
    return asked


def _name(name: str | None) -> str | None:
    from ..base import ManifestError
    from ..manifests import DatasetCard

    if name is not None:
        try:
            DatasetCard.of("", name=name, task="binary", classes=["no", "yes"])
        except ManifestError as error:
            raise ManifestError(f'--name "{name}"{str(error).removeprefix(": name")}') from error
    return name


def _task(task: str | None) -> str | None:
    from ..base import ManifestError, no_such
    from ..manifests import TASKS

    if task is not None and task not in TASKS:
        raise ManifestError(f"--task: {no_such('task', task, TASKS)}")
    return task


def _classes(classes: str | None) -> list[str] | None:
    from ..base import ManifestError

    names = None if classes is None else [name.strip() for name in classes.split(",")]
    if names is not None and not all(names):
        raise ManifestError(f"--classes {classes}: a name is blank; write them all, with commas between: no,yes.")
    return names


def _place(asked: Path | None, source: Path) -> Path:
    return asked or Path(f"{source.absolute().name.removesuffix(source.suffix)}.parquet")


def _require_place(out: Path, source: Path, *, overwrite: bool) -> None:
    """Makes sure that the manifest may go to `out`.

    Raises:
        OutputError: it may not.
    """
    from ..base import OutputError
    from ..manifests import refuse_existing

    if out.suffix.lower() not in (".parquet", ".csv"):
        raise OutputError(f"{out}: --out must end in .parquet or .csv.")
    if out.resolve() == source.resolve():
        raise OutputError(f"{out}: this is the table itself, which is never changed; give another name with --out.")
    if not out.absolute().parent.is_dir():
        raise OutputError(f"{out}: the folder {out.parent} does not exist; make it, or choose another --out.")
    if not overwrite:
        refuse_existing(out)

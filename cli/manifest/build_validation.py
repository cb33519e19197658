"""Which options of a `manifest build` command are wrong, and what the others ask for.

Told together, before anything is read: whatever is wrong with the options that all builders share, and a word for
one of the builder's own that is not among those it may be. What can be wrong with the rest (columns, files, slices) the
builder tells itself.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from .build_options import split_options
from .output_path import require_name, require_place

if TYPE_CHECKING:
    from ...manifests import Builder, IntensityPolicy

T = TypeVar("T")


@dataclass(frozen=True)
class BuildOptions:
    """What the options ask for."""

    place: Path
    """Where the manifest goes."""
    reading: IntensityPolicy
    split: str | None
    """As `resplit` takes it; None leaves the data set's own."""
    key: Path | None
    """The file of the key; None keeps ids."""
    options: dict[str, Any]
    """Those that the builder takes, as it takes them."""


def check_build_options(
    builder: Builder, source: Path, out: Path | None, common: Mapping[str, Any], options: Mapping[str, Any]
) -> BuildOptions:
    """Reads the options: `common` as the command line asks them of every builder, `options` as it asks them for one.

    Raises:
        MedprobeError: options are wrong, or the manifest cannot go where it should; all are told.
    """
    from ...base import MedprobeError

    faults: list[MedprobeError] = []

    def asked(ask: Callable[[], T]) -> T | None:
        try:
            return ask()
        except MedprobeError as error:
            faults.append(error)
            return None

    place, hints = _place(out, source), get_type_hints(builder.build)
    reading = asked(lambda: _reading(common["window"], per_slice=common["per_slice"]))
    split = asked(lambda: _split(common["split"], builder, options))
    key = asked(lambda: _key(common["key"], place, options, keep_ids=common["keep_ids"]))
    taken = {
        name: asked(lambda name=name, given=given: _taken(name, given, hints[name], place))
        for name, given in options.items()
    }
    asked(lambda: require_place(place, _inputs(source, options), overwrite=common["overwrite"]))
    if len(faults) == 1:
        raise faults[0]
    if faults:
        told = "".join(f"\n  {fault}" for fault in faults)
        raise MedprobeError(f"{len(faults)} options are wrong:{told}") from faults[0]
    assert reading is not None
    return BuildOptions(place, reading, split, key, taken)


def _reading(window: str | None, *, per_slice: bool) -> IntensityPolicy:
    """The reading that `--window` and `--per-slice` ask for."""
    from pydantic import ValidationError

    from ...base import ManifestError, fault_in_words
    from ...manifests import IntensityPolicy

    fields: dict[str, Any] = {"scope": "slice"} if per_slice else {}
    kind, _, numbers = (window or "").partition(":")
    try:
        if window in ("stored", "percentiles"):
            fields |= {"window": window}
        elif kind == "percentiles":
            fields |= {"window": kind, "percentiles": _pair(numbers)}
        elif window is not None:
            fields |= {"window": _pair(window)}
        return IntensityPolicy(**fields)
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
    from ...base import ManifestError, one_of
    from ...manifests import BUILDERS, read_split

    if text is None:
        return None
    rival = next((name for name in split_options(builder) if options.get(name)), None)
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


def _key(asked: Path | None, place: Path, options: Mapping[str, Any], *, keep_ids: bool) -> Path | None:
    """The file of the key, of which it is known that it is one or may be made.

    The one beside the manifest is looked at where a column of patients or units is named, so that it will be used. Else
    only what a builder finds shows whether there are ids to hash, and a damaged key is no fault of a build without any.
    """
    from ...base import ManifestError, OutputError
    from ...manifests import Pseudonyms

    if asked is None:
        own = None if keep_ids else place.with_suffix(".key")
        if own and own.exists() and any(options.get(name) for name in ("group_column", "unit_column")):
            Pseudonyms.at(own)
        return own
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


def _taken(option: str, given: Any, hint: Any, place: Path) -> Any:
    """What the builder is given for one of its options."""
    match option:
        case "name":
            return _name(given, place)
        case "task":
            return _task(given)
        case "classes":
            return _classes(given)
        case _:
            return _word(option, given, hint)


def _name(name: str | None, place: Path) -> str:
    if name is None:
        told, remedy = f'the name "{place.stem}"', "It is the stem of the manifest: give a --name, or another --out."
        require_name(place.stem, told, remedy)
        return place.stem
    require_name(name, f'--name "{name}"')
    return name


def _task(task: str | None) -> str | None:
    from ...base import ManifestError, no_such
    from ...manifests import TASKS

    if task is not None and task not in TASKS:
        raise ManifestError(f"--task: {no_such('task', task, TASKS)}")
    return task


def _classes(classes: str | None) -> list[str] | None:
    from ...base import ManifestError

    if classes is None:
        return None
    # As a row of CSV, so that a name may hold a comma: 'no,"yes, benign"'.
    names = [name.strip() for name in next(csv.reader([classes], skipinitialspace=True), [])]
    if not names or not all(names):
        raise ManifestError(f"--classes {classes}: a name is blank; write them all, with commas between: no,yes.")
    return names


def _word(option: str, given: Any, hint: Any) -> Any:
    """What was given for an option of the builder's own, which may have to be one of the words of its hint."""
    from ...base import ManifestError, no_such

    words = [word for kind in (hint, *get_args(hint)) if get_origin(kind) is Literal for word in get_args(kind)]
    if words and given is not None and given not in words:
        raise ManifestError(f"--{option.replace('_', '-')}: {no_such('word', given, words)}")
    return given


def _place(asked: Path | None, source: Path) -> Path:
    from ...base import OutputError

    stem = source.absolute().name.removesuffix(source.suffix)
    if not asked and not stem:
        raise OutputError(f"{source}: gives the manifest no name; say with --out where it goes.")
    return asked or Path(f"{stem}.parquet")


def _inputs(source: Path, options: Mapping[str, Any]) -> list[tuple[str, Path]]:
    """What is read, in words: the source, and the paths that options name."""
    named = [(f"what --{name.replace('_', '-')} names", at) for name, at in options.items() if isinstance(at, Path)]
    return [("what the manifest is built from", source), *named]

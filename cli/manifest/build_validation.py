"""Checks the options of `manifest build` before anything is read, so that all wrong ones are reported together.

Checked here: the options of all builders, and options of a builder that must be one of a few words (`Literal`). What
depends on files (columns, slices, labels) the builder checks itself.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

from .build_options import split_options
from .output_path import require_name, require_place

if TYPE_CHECKING:
    from ...manifests.registry import Builder
    from ...manifests.schema.intensity_policy import IntensityPolicy


@dataclass(frozen=True)
class BuildOptions:
    """The checked options."""

    place: Path
    """Where the manifest is written."""
    reading: IntensityPolicy
    split: str | None
    """As `resplit` takes it; None keeps the data set's own split."""
    key: Path | None
    """The key file; None keeps ids."""
    options: dict[str, Any]
    """The builder's own options, as it takes them."""


def check_build_options(
    builder: Builder, source: Path, out: Path | None, common: Mapping[str, Any], options: Mapping[str, Any]
) -> BuildOptions:
    """Parses and checks the options.

    Args:
        builder: of the command.
        source: what the manifest is built from.
        out: `--out`.
        common: options of every builder.
        options: the builder's own options.

    Raises:
        MedprobeError: options are wrong, or the manifest cannot be written to `out`; all problems are listed.
    """
    from ...base.errors import MedprobeError

    errors: list[MedprobeError] = []

    def checked(check: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        try:
            return check(*arguments, **keywords)
        except MedprobeError as error:
            errors.append(error)

    place, hints = _place(out, source), get_type_hints(builder.build)
    reading = checked(_intensity_policy, common["window"], per_slice=common["per_slice"])
    split = checked(_split, common["split"], builder, options)
    key = checked(_key, common["key"], place, options, keep_ids=common["keep_ids"])
    parsed = {}
    for name, given in options.items():
        match name:
            case "name":
                parsed[name] = checked(_name, given, place)
            case "classes":
                parsed[name] = checked(_classes, given)
            case _:
                parsed[name] = checked(_word, name, given, hints[name])
    checked(require_place, place, _inputs(source, options), overwrite=common["overwrite"])
    if len(errors) > 1:
        listed = "".join(f"\n  {error}" for error in errors)
        raise MedprobeError(f"{len(errors)} options are wrong:{listed}") from errors[0]
    if errors:
        raise errors[0]
    return BuildOptions(place, reading, split, key, parsed)


def _intensity_policy(window: str | None, *, per_slice: bool) -> IntensityPolicy:
    """The policy that `--window` and `--per-slice` ask for."""
    from pydantic import ValidationError

    from ...base.errors import ManifestError
    from ...base.pydantic_messages import fault_in_words
    from ...manifests.schema.intensity_policy import IntensityPolicy

    fields: dict[str, Any] = {"scope": "slice"} if per_slice else {}
    try:
        if window is not None:
            kind, _, numbers = window.partition(":")
            named = window == "stored" or kind == "percentiles"
            fields["window"] = kind if named else _pair(window)
            if kind == "percentiles" and window != kind:
                fields["percentiles"] = _pair(numbers)
        return IntensityPolicy(**fields)
    except ValidationError as error:
        raise ManifestError(f"--window {window}: {fault_in_words(dict(error.errors()[0]))}.") from error
    except ValueError as error:
        raise ManifestError(
            f"--window {window}: write stored, percentiles, percentiles:LOW,HIGH or CENTRE,WIDTH, such as 40,400."
        ) from error


def _pair(text: str) -> tuple[float, float]:
    """Two finite numbers; raises ValueError for anything else."""
    first, second = (float(number) for number in text.split(","))
    if not (isfinite(first) and isfinite(second)):
        raise ValueError
    return first, second


def _split(text: str | None, builder: Builder, options: Mapping[str, Any]) -> str | None:
    from ...base.errors import ManifestError
    from ...base.text import one_of
    from ...manifests.registry import BUILDERS
    from ...manifests.splits import read_split

    if text is None:
        return None
    for name in split_options(builder):
        if options.get(name):
            raise ManifestError(
                f"--split {text} draws a new split, but --{name.replace('_', '-')} reads one from the table; give only "
                "one of them."
            )
    having = [name for name, other in BUILDERS.items() if text in other.splits]
    if having and text not in builder.splits:
        raise ManifestError(
            f"--split {text}: is defined for {one_of(having)} only. Write grouped:70/15/15 or grouped:80/20 here."
        )
    read_split(text, builder.splits)
    return text


def _key(key: Path | None, place: Path, options: Mapping[str, Any], *, keep_ids: bool) -> Path | None:
    """The key file, which holds a key or can be created.

    The default one, next to the manifest, is checked only where an option names a column of patients or units, so that
    it will be used. Otherwise only the built manifest shows whether there are ids to hash, and a damaged key file must
    not stop a build without ids.
    """
    from ...base.errors import ManifestError, OutputError
    from ...manifests.pseudonyms import Pseudonyms

    if key is None:
        own = None if keep_ids else place.with_suffix(".key")
        if own and own.exists() and any(options.get(name) for name in ("group_column", "unit_column")):
            Pseudonyms.at(own)
        return own
    if keep_ids:
        raise ManifestError(f"--key {key} hashes ids, but --keep-ids keeps them; give only one of them.")
    if key.resolve() in (place.resolve(), place.with_suffix(".yaml").resolve()):
        raise OutputError(f"--key {key}: the manifest is written there; name another file.")
    if not key.absolute().parent.is_dir():
        raise OutputError(f"--key {key}: the folder {key.parent} does not exist; create it, or name another file.")
    if key.exists():
        Pseudonyms.at(key)
    return key


def _name(name: str | None, place: Path) -> str:
    if name is None:
        remedy = "It is taken from the file name of the manifest: give a --name, or another --out."
        require_name(place.stem, f'the name "{place.stem}"', remedy)
        return place.stem
    require_name(name, f'--name "{name}"')
    return name


def _classes(classes: str | None) -> list[str] | None:
    from ...base.errors import ManifestError

    if classes is None:
        return None
    # As a row of CSV, so that a name may hold a comma: 'no,"yes, benign"'.
    names = [name.strip() for name in next(csv.reader([classes], skipinitialspace=True), [])]
    if not names or not all(names):
        raise ManifestError(f"--classes {classes}: a name is blank; write all names, separated by commas: no,yes.")
    return names


def _word(option: str, given: Any, hint: Any) -> Any:
    """`given`, which must be one of the words of the option's hint if that is a `Literal`."""
    from ...base.errors import ManifestError
    from ...base.text import no_such

    words = [word for kind in (hint, *get_args(hint)) if get_origin(kind) is Literal for word in get_args(kind)]
    if words and given is not None and given not in words:
        raise ManifestError(
            f"--{option.replace('_', '-')}: {no_such('task' if option == 'task' else 'word', given, words)}"
        )
    return given


def _place(out: Path | None, source: Path) -> Path:
    from ...base.errors import OutputError

    stem = source.absolute().name.removesuffix(source.suffix)
    if not out and not stem:
        raise OutputError(f"{source}: has no name to call the manifest by; give one with --out.")
    return out or Path(f"{stem}.parquet")


def _inputs(source: Path, options: Mapping[str, Any]) -> list[tuple[str, Path]]:
    """What is read: in words, and its path."""
    named = [(f"the file of --{name.replace('_', '-')}", at) for name, at in options.items() if isinstance(at, Path)]
    return [("what the manifest is built from", source), *named]

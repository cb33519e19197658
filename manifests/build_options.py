"""Checks the options of `manifest build` before anything is read, so that a wrong one ends it at once.

Checked here: the options of all builders, and what can be known of the others without reading files. What depends on
files (columns, slices, labels) the builder checks itself.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from pydantic import ValidationError

from ..base import ManifestError, OutputError
from ..base.pydantic_messages import fault_in_words
from .builders.common import choose_word
from .output_path import require_name, require_place
from .pseudonyms import Pseudonyms
from .registry import Builder
from .schema.intensity_policy import IntensityPolicy
from .splits import read_split


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
    builder: Builder,
    source: Path,
    out: Path | None,
    common: Mapping[str, Any],
    options: Mapping[str, Any],
    *,
    writes: bool = True,
) -> BuildOptions:
    """Parses and checks the options: `common` to all builders, and the `options` of this one, as words of a command.

    The table `out` is by default called after the `source`. Where it is about to be written (`writes`), that must be
    possible.

    Raises:
        MedprobeError: an option is wrong, or the manifest cannot be written to `out`.
    """
    place = out or Path(f"{source.absolute().name.removesuffix(source.suffix)}.parquet")
    reading = _intensity_policy(common["window"], per_slice=common["per_slice"])
    split = _split(common["split"], builder, options)
    key = _key(common["key"], place, options, keep_ids=common["keep_ids"])
    hints = get_type_hints(builder.build)
    parsed = {name: _parsed(name, given, hints[name], place) for name, given in options.items()}
    inputs = [(f"the file of --{name.replace('_', '-')}", it) for name, it in options.items() if isinstance(it, Path)]
    if writes:
        inputs.append(("what the manifest is built from", source))
        require_place(place, inputs, overwrite=common["overwrite"])
    return BuildOptions(place, reading, split, key, parsed)


def _intensity_policy(window: str | None, *, per_slice: bool) -> IntensityPolicy:
    """The policy that `--window` and `--per-slice` ask for."""
    fields: dict[str, Any] = {"scope": "slice"} if per_slice else {}
    try:
        if window is not None:
            kind, _, percentiles = window.partition(":")
            fields["window"] = kind if window == "stored" or kind == "percentiles" else _numbers(window)
            if window != kind:
                fields["percentiles"] = _numbers(percentiles)
        return IntensityPolicy(**fields)
    except ValueError as error:
        reason = "write stored, percentiles, percentiles:LOW,HIGH or CENTRE,WIDTH, such as 40,400"
        if isinstance(error, ValidationError):
            reason = fault_in_words(dict(error.errors()[0]))
        raise ManifestError(f"--window {window}: {reason}.") from error


def _numbers(text: str) -> list[float]:
    return [float(number) for number in text.split(",")]


def _split(text: str | None, builder: Builder, options: Mapping[str, Any]) -> str | None:
    if text is None:
        return None
    if options.get("split_column"):
        raise ManifestError(
            f"--split {text} draws a new split, but --split-column reads one from the table; give only one of them."
        )
    read_split(text, builder.splits)
    return text


def _key(key: Path | None, place: Path, options: Mapping[str, Any], *, keep_ids: bool) -> Path | None:
    """The key file, which holds a key or can be created.

    The default one, next to the manifest, is checked only where an option names a column of patients or units, so that
    it will be used. Otherwise only the built manifest shows whether there are ids to hash, and a damaged key file must
    not stop a build without ids.
    """
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


def _parsed(option: str, given: Any, hint: Any, place: Path) -> Any:
    """The value of a builder's own option, as the builder takes it."""
    if option == "name":
        if given is None:
            require_name(place.stem, f'the name "{place.stem}", from --out or the source (--name sets another)')
            return place.stem
        require_name(given, f'--name "{given}"')
        return given
    if option == "classes" and given is not None:
        return _classes(given)
    words = [word for kind in (hint, *get_args(hint)) if get_origin(kind) is Literal for word in get_args(kind)]
    if words and given is not None:
        choose_word(option.replace("_", "-"), given, words)
    return given


def _classes(classes: str) -> list[str]:
    # As a row of CSV, so that a name may hold a comma: 'no,"yes, benign"'.
    names = [name.strip() for name in next(csv.reader([classes], skipinitialspace=True), [])]
    if not names or not all(names):
        raise ManifestError(f"--classes {classes}: a name is blank; write all names, separated by commas: no,yes.")
    return names

"""The data sets of a study: manifests that are there, and those that are built from what is below `data_root`."""

from __future__ import annotations

import csv
import inspect
import io
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from ..base import ManifestError, fingerprint, no_such, one_of
from ..base.errors import StudyError
from ..base.pydantic_messages import shown
from ..evaluate.metrics.registry import primary_metric
from ..manifests import BUILDERS, CODES, Manifest
from ..manifests.build_options import check_build_options
from ..manifests.builders.label_tables import read_columns
from ..manifests.builders.medmnist_facts import all_sets, name_and_size
from ..manifests.registry import Builder, table_builder
from ..manifests.schema.card import Task
from .arguments import slug
from .contents import content, images_digest, listing
from .schema import DataSet, StudyFile

_COMMON = {"split": str, "window": str, "per_slice": bool, "keep_ids": bool, "key": Path}
"""Options that every `manifest build` has, besides those that a study gives itself."""
_NOT_OPTIONS = ("notice", "reading", "kind", "name")
_UNKNOWN_CLASSES = 4
"""Of a data set that is not built yet; for estimates."""


@dataclass(frozen=True)
class Facts:
    """What a plan needs of a manifest."""

    rows: int
    classes: int
    name: str
    """Of the card."""
    task: Task
    parts: frozenset[str]
    """That it names: train, val, test."""
    root: Path
    """The folder that paths of images start from."""
    paths: Sequence[str]
    """Of the images, each once."""


@dataclass(frozen=True)
class Source:
    """A data set as the commands read it. Paths are relative to the folder of the results."""

    label: str
    """What files of the study are called after."""
    name: str
    """Of the data set, in its card and in the folder of caches."""
    given: DataSet
    manifest: str
    """Of one that is built, without the key and the suffix that its job adds."""
    key: str
    """Of all that the manifest depends on."""
    rows: int
    """Images; of one that is not built yet, files."""
    classes: int
    """Of one that is not built yet, a guess."""
    facts: Facts | None = None
    """None where it is built by a job."""
    options: tuple[str, ...] = ()
    """Of `manifest build`."""
    reads: tuple[str, ...] = ()
    """Files of the user."""


@dataclass(frozen=True)
class Missing:
    """A data set or a backbone that is left out, as what it needs is not there."""

    label: str
    """Of the data set or the backbone."""
    place: Path
    """Where its files were looked for."""
    published: str
    """Where they are published; empty where the project does not know."""


class AbsentError(StudyError):
    """What a data set or a backbone needs is not there, so that it is left out."""

    def __init__(self, missing: Missing) -> None:
        super().__init__(f"{missing.label}: {missing.place} does not exist.")
        self.missing = missing


def located(folder: Path, text: str) -> Path:
    """A path of the study, which may be absolute or begin with `~`, else starts from `folder`.

    Raises:
        StudyError: there is no user of that name.
    """
    try:
        return folder / Path(text).expanduser()
    except RuntimeError as error:
        raise StudyError(f"{text}: there is no such user's folder; write the whole path.") from error


def results_folder(study: StudyFile, place: Path) -> Path:
    """The folder of the results. `place` is that which paths of the study are relative to."""
    return located(place, study.out or f"studies/{study.name or 'study'}")


def store_folder(study: StudyFile, place: Path) -> Path:
    """The folder of the caches."""
    return located(place, study.store) if study.store else results_folder(study, place) / "embeddings"


def data_folder(study: StudyFile, place: Path) -> Path:
    """The folder that sources of data sets and files of weights are relative to."""
    return located(place, study.data_root or ".")


def label_of(one: DataSet) -> str:
    """What files of the study are called after."""
    return one.name or slug(Path(str(one.manifest or one.build)).stem)


def find_source(study: StudyFile, one: DataSet, place: Path, out: Path) -> Source:
    """One data set of the study, whose paths are relative to `place`; `out` is the folder of the results.

    Raises:
        AbsentError: what it is built from is not there.
        MedprobeError: the manifest cannot be used, or there is no such builder or option.
    """
    unknown = [code for code in one.allow if code not in CODES]
    if unknown:
        raise StudyError(f"allow: {no_such('code', unknown[0], CODES)}")
    return _built(study, one, place, out) if one.build else _found(study, one, located(place, str(one.manifest)), out)


def _found(study: StudyFile, one: DataSet, path: Path, out: Path) -> Source:
    if Path(study.file).resolve() == path.with_suffix(".yaml").resolve():
        raise StudyError(
            f"{path.name} needs its dataset card in {study.file}, which is the study file; rename the latter."
        )
    both = [path, path.with_suffix(".yaml")]
    table_and_card = [content(file) for file in both]
    facts = _facts(path, *table_and_card)
    return Source(
        label=label_of(one),
        name=facts.name,
        given=one,
        manifest=relative(path, out),
        key=fingerprint([*table_and_card, images_digest(facts.root, facts.paths)], digits=10),
        rows=facts.rows,
        classes=facts.classes,
        facts=facts,
        reads=tuple(relative(file, out) for file in both),
    )


@cache
def _facts(path: Path, *_contents: str) -> Facts:
    manifest = Manifest.load(path)
    card, table = manifest.card, manifest.table
    task = card.require_task("a study")
    primary_metric(card)
    parts = frozenset(table["split"].unique()) if "split" in table else frozenset()
    paths = table["path"].unique().tolist()
    return Facts(len(manifest), len(card.classes), card.name, task, parts, manifest.root, paths)


def _built(study: StudyFile, one: DataSet, place: Path, out: Path) -> Source:
    name = str(one.build)
    builder, command, tables = _builder(name, place, out)
    root = data_folder(study, place)
    source = _source(name, one, root)
    _refuse_results_in_place_of(source, study, place)
    options, files = _options(builder, one, source, root, out)
    files += tables
    absent = next((path for path in (source, *files) if not path.exists()), None)
    if absent:
        raise AbsentError(Missing(label_of(one), absent, _published(name, builder, source)))
    left_out = [out, store_folder(study, place), Path(study.file)]
    found = listing(source, left_out) if source.is_dir() else None
    contents = [found.digest if found else content(source)]
    contents += [content(file) for file in files if file.is_file() or name != "csv"]
    contents += [_images_of_table(one, source, root)] if name == "csv" else []
    # Where a study has variants, every row of its tables says of which one it is.
    named = f"{label_of(one)}-{study.protocol}" if study.protocol else label_of(one)
    return Source(
        label=label_of(one),
        name=named,
        given=one,
        manifest=f"manifests/{label_of(one)}",
        key=fingerprint(contents, digits=10),
        # The blocks of seeds depend on it; the rows of the manifest are not known before it is built.
        rows=found.files if found else _rows_of(source),
        classes=_UNKNOWN_CLASSES,
        options=(*command, relative(source, out), *options, "--name", named),
        reads=tuple(relative(path, out) for path in (source, *files) if path.exists()),
    )


def _builder(name: str, place: Path, out: Path) -> tuple[Builder, list[str], list[Path]]:
    """A builder, what names it on the command line, and the user's file that describes it, where there is one."""
    if name.endswith(".toml"):
        file = located(place, name)
        return table_builder(file), ["table", relative(file, out)], [file]
    if name not in BUILDERS:
        raise StudyError(f"build: {no_such('builder', name, BUILDERS)}")
    return BUILDERS[name], [name], []


def _options(builder: Builder, one: DataSet, source: Path, root: Path, out: Path) -> tuple[list[str], list[Path]]:
    """The options as the command line has them, and the files and folders that they name."""
    parameters = dict(list(inspect.signature(builder.build).parameters.items())[1:])
    hints = {**_COMMON, **{name: hint for name, hint in get_type_hints(builder.build).items() if name in parameters}}
    by_switch = {_switch(name, hint): name for name, hint in hints.items() if name not in _NOT_OPTIONS}
    given: dict[str, Any] = {}
    words: list[str] = []
    for written, value in sorted(one.options.items()):
        switch = written.replace("_", "-")
        if switch not in by_switch:
            raise StudyError(f"options: {no_such(f'option of {one.build}', written, by_switch)}")
        name = by_switch[switch]
        given[name] = _read(written, value, hints[name], root)
        words += _words(switch, given[name], out)
    absent = [name for name, one in parameters.items() if one.default is one.empty and name not in given]
    if absent:
        switches = one_of(f"options.{_switch(name, hints[name])}" for name in absent)
        verb = "is" if len(absent) == 1 else "are"
        raise StudyError(f"{switches} {verb} missing; {one.build} needs {'it' if len(absent) == 1 else 'them'}.")
    if given.get("unlabelled") or ("label_columns" in parameters and not given.get("label_columns")):
        raise StudyError(
            f"build: {one.build} without labels; a study needs them. Give label-column, and no unlabelled."
        )
    common = {"split": None, "window": None, "per_slice": False, "keep_ids": False, "overwrite": True}
    common |= {name: value for name, value in given.items() if name in _COMMON} | {"key": None}
    own = {name: value for name, value in given.items() if name not in _COMMON}
    check_build_options(builder, source, Path(f"{label_of(one)}.parquet"), common, own, writes=False)
    return words, [value for value in given.values() if isinstance(value, Path)]


def _read(written: str, value: Any, hint: Any, root: Path) -> Any:
    """The value of an option as the command line would read it; files are found from `root`."""
    if isinstance(value, dict) or value is None or isinstance(value, bool) != (hint is bool):
        kind = "true or false" if hint is bool else "text, a number or a list of these"
        raise StudyError(f"options.{written} must be {kind}, not {shown(value)}.")
    if isinstance(value, list) and (unquoted := [one for one in value if one is None or isinstance(one, bool)]):
        raise StudyError(f"options.{written}: YAML reads an entry as {unquoted[0]}, not as text; put it in quotes.")
    if hint is bool:
        return value
    if get_origin(hint) is Sequence and written != "classes":
        return [str(each) for each in (value if isinstance(value, list) else [value])]
    if Path in (hint, *get_args(hint)):
        return located(root, str(value))
    if not isinstance(value, list):
        return str(value)
    row = io.StringIO()  # a list of classes is written as a row of CSV, so that a name may hold a comma
    csv.writer(row, lineterminator="").writerow(value)
    return row.getvalue()


def _words(switch: str, value: Any, out: Path) -> list[str]:
    """An option on the command line."""
    if isinstance(value, bool):
        return [f"--{switch}"] * value
    values = value if isinstance(value, list) else [relative(value, out) if isinstance(value, Path) else value]
    return [word for each in values for word in (f"--{switch}", each)]


def _switch(option: str, hint: Any) -> str:
    """As the command line makes it of the keyword of a builder."""
    switch = option.replace("_", "-")
    is_list_of_classes = option == "classes"
    return switch.removesuffix("s") if get_origin(hint) is Sequence and not is_list_of_classes else switch


def _source(name: str, one: DataSet, root: Path) -> Path:
    """What the builder reads; sets of MedMNIST are named, and lie in `data_root` under their published names."""
    source = located(root, one.source or ".")
    if name != "medmnist" or source.is_file() or not one.source:
        return source
    stem, size = name_and_size(one.source.removesuffix(".npz"))
    if stem not in all_sets():
        raise ManifestError(f"source: {no_such('data set of MedMNIST', stem, all_sets())}")
    return root / all_sets()[stem].file_name(int(one.options.get("size") or size or 28))


def _published(name: str, builder: Builder, source: Path) -> str:
    """Where a data set is published, by the text of its builder."""
    if name == "medmnist":
        stem, size = name_and_size(source.stem)
        return all_sets()[stem].url(int(size or 28)) if stem in all_sets() else "https://medmnist.com"
    found = re.findall(r"https?://[^\s)]+", inspect.getdoc(builder.build) or "")
    return one_of(link.rstrip(".,;") for link in dict.fromkeys(found))


def _refuse_results_in_place_of(source: Path, study: StudyFile, place: Path) -> None:
    for key, folder in (("out", results_folder(study, place)), ("store", store_folder(study, place))):
        if source.resolve() == folder.resolve():
            raise StudyError(f"source is the folder of {key} too, where files are written; give `{key}` another one.")


def _images_of_table(one: DataSet, table: Path, root: Path) -> str:
    """The images that a table names, for `manifest build csv`."""
    options = {name.replace("_", "-"): str(value) for name, value in one.options.items()}
    column = options["image-column"]
    named = read_columns(table, [column], text=[column], named_by={column: "--image-column"})[column]
    start = located(root, options["root"]) if "root" in options else table.parent
    return images_digest(start, named.dropna().unique())


def _rows_of(file: Path) -> int:
    if file.suffix == ".npz":
        from ..manifests.builders.npz import read_shapes

        return sum(shape[0] for array, (shape, _) in read_shapes(file).items() if array.endswith("_images"))
    with file.open("rb") as stream:
        return sum(1 for _ in stream)


def relative(path: Path, out: Path) -> str:
    """`path` as seen from the folder of the results."""
    # Only the latter is resolved: from there `..` goes up the real folders.
    return Path(os.path.relpath(path.absolute(), out.resolve())).as_posix()

"""A manifest of a published data set whose labels are in tables, from its TOML file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ...base import ManifestError, counted, one_of
from ..builders.common import Notice, assemble, choose_labels, choose_word, require_folder, years_of
from ..builders.frames import check_frames
from ..builders.images import locate_images
from ..builders.label_tables import (
    PublishedTable,
    find_file,
    find_tables,
    open_tables,
    read_split_words,
    whole_numbers,
)
from ..manifest import Manifest
from ..schema.table_io import TEXT, as_words, column_of
from ..validation.faults import Faults, refuse
from .merge_rows import one_row_per_image
from .read_labels import SKIPPED, read_labels
from .set_format import Column, File, Filter, Table, TableSet, fields_of

_OLDEST = 120
"""In years; published tables have ages above 400, which are slips."""
_PLACE = "_place"
"""Column of rows as read: the number of a row in its file."""


def build_from_tables(
    spec: TableSet, src: Path, options: Mapping[str, Any], notice: Notice, layouts: Sequence[TableSet] = ()
) -> Manifest:
    """A manifest of the data set whose tables are in `src`, with `options` as `published.options_of` lists them.

    `layouts` are other layouts of the set, one of which is taken where only its first file is there.

    Raises:
        ManifestError: a file or a column is not there, rows are wrong (all are listed), or there are no images.
    """
    for kind in options.get("kinds", ()):
        choose_word("kind", kind, spec.kinds)
    require_folder(src)
    there = (layout for layout in (spec, *layouts) if _is_there(layout.rows.files[0].names, src))
    spec = next(there, spec)
    classes = choose_labels(options.get("labels", ()), spec.classes)
    rows, where = _read(spec, src, classes, options, notice)
    _report_skipped(spec, column_of(rows, SKIPPED), notice)
    kept = rows[rows[SKIPPED] == ""].reset_index(drop=True)
    if kept.empty:
        raise ManifestError(f"{where}: no row is left; all {len(rows):,} were skipped, for the reasons above.")
    made = _manifest_columns(spec, kept, classes, where, notice)
    if spec.row_numbers and len(kept) < len(rows):
        made["published_row"] = kept[_PLACE]
    by_image = options.get("unit") == "image"
    if by_image:
        made = made.drop(columns=["unit_id", "modality"], errors="ignore")
    places = dict(zip(made["sample_id"][::-1], kept[_PLACE][::-1] - 1, strict=True))
    if spec.labels.merge:
        made = one_row_per_image(spec, made, classes, options.get("agreement", ""), where, notice)
    root, images = Path(options.get("root") or src), spec.images
    column = spec.rows.key or images.name
    place = "give the folder that holds both table and images"
    if images.root_option:
        place = f"name the folder that holds {images.root_option} with --root"
    made["path"] = locate_images(
        column_of(made, "path"),
        root,
        images.folders,
        where=where,
        first=f'row {next(iter(kept[_PLACE]), 1):,}, column "{column}"',
        notice=notice,
        suffix=images.suffix,
        only_file=images.only_file,
        flat=images.flat,
        remedy=f"Unpack the images there, or {place}.",
    )
    faults = Faults(where)
    of_frames = f'column "{spec.columns["frame"].sources[0]}"' if "frame" in made else "[columns] as frame"
    called = f'column "{column if "{" in images.name else images.name or column}"', of_frames
    rows_of = made["sample_id"].map(places).to_numpy(np.int64)
    check_frames(column_of(made, "path"), made.get("frame"), root, called, faults, rows=rows_of)
    return assemble(
        made,
        root,
        faults=faults,
        name=options["name"] or spec.name,
        notice=notice,
        task=spec.task,
        classes=classes,
        attributes=[*spec.attributes, *(spec.image_attributes if by_image else [])],
        license=spec.license,
        citation=spec.citation,
    )


def _report_skipped(spec: TableSet, reasons: pd.Series, notice: Notice) -> None:
    """In the order in which they are looked at: what joined tables lack, labels, filters."""
    counts = reasons[reasons != ""].value_counts()
    others = [part.skip for parts in (spec.joins, spec.filters) for part in parts.values()]
    before = len(spec.joins)
    of_labels = sorted(set(counts.index) - {*others})
    for reason in dict.fromkeys([*others[:before], *of_labels, *others[before:]]):
        if reason in counts:
            notice(f"Skipped {counted(int(counts[reason]), 'image')}: {reason}.")


def _is_there(names: Sequence[str], src: Path) -> bool:
    """Whether `src` has the file of one of `names`, or the subfolder that it is in."""
    return find_file(src, *names) is not None or any("/" in name and (src / name).parent.is_dir() for name in names)


def _read(
    spec: TableSet, src: Path, classes: Sequence[str], options: Mapping[str, Any], notice: Notice
) -> tuple[pd.DataFrame, str]:
    """The rows of the main table with the columns of all others, and its first file."""
    files, joins = _files_to_read(spec, src, options), _joins_to_read(spec, src, options, notice)
    parts = [(spec.rows, file) for file in files] + [(join, join.files[0]) for join in joins.values()]
    wanted = [[name.format_map(options) for name in file.names] for _, file in parts]
    wanted += [[name] for name in spec.split_lists.values()]
    found = find_tables(src, wanted)
    requested = [
        partial(
            PublishedTable, file, spec.wanted(part), optional=spec.optional(part), aliases=part.aliases,
            separator=entry.separator,
        )
        for file, (part, entry) in zip(found, parts, strict=False)
    ]  # fmt: skip
    opened = open_tables([*requested, *(partial(PublishedTable, file, ["name"]) for file in found[len(parts) :])])
    tables, lists = opened[: len(parts)], opened[len(parts) :]
    for table, (part, _) in zip(tables, parts, strict=True):
        table.fold_ids(spec.id_columns, notice)
        _check(spec, table, part)
    main, joined = tables[: len(files)], dict(zip(joins, tables[len(files) :], strict=True))
    rows = []
    for table, file in zip(main, files, strict=True):
        part = _rows(spec, table, joined, classes, options, notice)
        if split := options.get(file.split_option, file.split):
            part["split"] = split
        if lists:
            part["split"] = _listed_split(spec, table, lists)
        rows.append(part.assign(**{name: getattr(file, name) for name in spec.of_files}))
    split_by_file = any(file.split or file.split_option for file in spec.rows.files)
    # Without splits by file, readers may have a file each.
    if (key := spec.rows.key) and (split_by_file or not spec.labels.merge):
        for number, table in enumerate(main[1:], 1):
            before = pd.concat([earlier[key] for earlier in main[:number]])
            table.blame(table[key].isin(before), f'the value in column "{key}" is in another file too')
    refuse(*tables)
    # A file that is not read leaves the others without a split.
    dropped = ["split"] if split_by_file and len(files) < len(spec.rows.files) and not spec.kinds else []
    return pd.concat(rows, ignore_index=True).drop(columns=dropped), str(main[0].file)


def _files_to_read(spec: TableSet, src: Path, options: Mapping[str, Any]) -> list[File]:
    """The files of the main table without those that an option excludes and optional ones that are not there."""
    kinds = options.get("kinds") or spec.kinds
    chosen = [
        file
        for file in spec.rows.files
        if options.get(file.split_option) != "none" and (not file.kind or file.kind in kinds)
    ]
    there = [file for file in chosen if not file.optional or _find(file, src, options)]
    return there or chosen


def _joins_to_read(spec: TableSet, src: Path, options: Mapping[str, Any], notice: Notice) -> dict[str, Table]:
    """The joined tables without optional ones that are not there, which are reported."""
    joins = dict(spec.joins)
    for name, join in spec.joins.items():
        if join.files[0].optional and not _find(join.files[0], src, options):
            notice(f"There is no {join.files[0].names[0]}, which {join.missing}.")
            del joins[name]
    return joins


def _find(file: File, src: Path, options: Mapping[str, Any]) -> Path | None:
    return find_file(src, *(name.format_map(options) for name in file.names))


def _check(spec: TableSet, table: PublishedTable, part: Table) -> None:
    """Notes what is wrong with the rows of one table, and adds the columns of its patterns."""
    for column, known in part.known.items():
        table.blame_unknown(table[column], column, known)
    for column, pattern in part.patterns.items():
        table.rows = table.rows.join(table.need_pattern(column, pattern.regex, pattern.meaning))
    keys = [key for key in part.keys if key not in part.parts or part is not spec.rows]
    table.need_filled(*dict.fromkeys([*part.filled, *keys]))
    may_repeat = bool(spec.labels.merge) if part is spec.rows else part.repeated
    for key in () if may_repeat else keys:
        table.need_distinct(key)
    if part.split:
        words = read_split_words(table[part.split], part.split, table, "fetch the table again")
        if words is not None:
            table.rows["split"] = words


def _rows(
    spec: TableSet,
    table: PublishedTable,
    joined: Mapping[str, PublishedTable],
    classes: Sequence[str],
    options: Mapping[str, Any],
    notice: Notice,
) -> pd.DataFrame:
    """The rows of one file of the main table, with labels and what the joined tables have of them."""
    rows = table.rows.assign(**{_PLACE: np.arange(1, len(table) + 1)})
    labels = read_labels(spec, joined.get(spec.labels.table, table), classes, options.get("uncertain", ""), notice)
    lacking: list[np.ndarray] = []
    for name, other in joined.items():
        join = spec.joins[name]
        keys = table[join.key]
        at = np.max([other.row_of(column, keys) for column in join.keys], axis=0)
        if join.skip:
            lacking.append(np.where(at < 0, join.skip, ""))
        elif not join.files[0].optional:
            table.blame((at < 0) & (keys != ""), f"no row of {other.file.name} {join.missing}")
        for column in join.same:
            theirs, ours = other.matched(column, at), table[column]
            differs = theirs.notna() & (theirs != ours) & (ours != "")
            table.blame(differs, f"{other.file.name} has another {column} for the {join.key}")
        for column in other.rows.columns.difference([*rows, *spec.label_columns]):
            rows[column] = other.matched(column, at).fillna("")
        if name == spec.labels.table:
            labels = labels.iloc[at].reset_index(drop=True)
    always = [only for only in spec.filters.values() if not only.help]
    requested = [only for option, only in spec.filters.items() if only.help and options[option]]
    of_labels = as_words(labels.pop(SKIPPED))
    reasons = [*lacking, *_filtered(rows, always), of_labels, *_filtered(rows, requested)]
    labels[SKIPPED] = np.select([one != "" for one in reasons], reasons, "")
    return pd.concat([rows.drop(columns=labels.columns, errors="ignore"), labels], axis=1)


def _filtered(rows: pd.DataFrame, filters: Iterable[Filter]) -> Iterator[np.ndarray]:
    """For each filter why rows are skipped, "" for those that it keeps."""
    for only in filters:
        kept = whole_numbers(column_of(rows, only.column)).isin(only.values)
        yield np.where(kept, "", only.skip)


def _listed_split(spec: TableSet, table: PublishedTable, lists: Sequence[PublishedTable]) -> np.ndarray:
    """The split whose list has each image; in none or in several is an error."""
    keys, files = table[spec.rows.key], [one.file.name for one in lists]
    listed = [keys.isin(one["name"]).to_numpy(bool) for one in lists]
    count = np.sum(listed, axis=0)
    table.blame(count > 1, f"the image is in both {' and '.join(files)}")
    table.blame((count == 0) & (keys != ""), f"the image is in neither {' nor '.join(files)}")
    return np.select(listed, list(spec.split_lists), "")


def _manifest_columns(
    spec: TableSet, rows: pd.DataFrame, classes: Sequence[str], where: str, notice: Notice
) -> pd.DataFrame:
    """The manifest's table; the column `path` has names of images as published."""
    for name, column in spec.columns.items():
        if len(column.sources) > 1 and not any({*fields_of(source)} <= {*rows} for source in column.sources):
            raise ManifestError(f"{where}: has none of the columns {one_of(column.sources)}, for {name}.")
    columns = {"sample_id": Column(sources=[spec.rows.key]), **spec.columns}
    labels = list(classes) if spec.task == "multilabel" else ["label"]
    ids = _values(rows, columns.pop("sample_id"), notice).str.replace("\\", "/")
    made = pd.DataFrame({"sample_id": ids, "path": _fill(rows, spec.images.name or spec.rows.key)})
    made = pd.concat([made, rows[labels]], axis=1)
    for name, column in columns.items():
        made[name] = _values(rows, column, notice)
        if column.own or column.complete:
            alone = int(made[name].isna().sum())
            if alone == len(made) or (alone and column.complete):
                which = "The" if alone == len(made) else f"{alone:,} of {len(made):,}"
                notice(f"{which} images have no {column.sources[0]}, so no patients are kept together.")
                made = made.drop(columns=name)
            elif alone:
                notice(f"{alone:,} of {len(made):,} images have no {column.sources[0]}; each is its own group.")
                made[name] = made[name].fillna(ids)
    return made.assign(split=rows["split"]) if "split" in rows else made


def _values(rows: pd.DataFrame, column: Column, notice: Notice) -> pd.Series:
    """A column of the manifest, missing where the published one is blank."""
    words = pd.Series("", rows.index, dtype=TEXT)
    for source in column.sources:
        if {*fields_of(source)} <= {*rows}:
            words = words.where(words != "", _fill(rows, source).fillna(""))
    if column.type == "number":
        return pd.Series(pd.to_numeric(words, errors="coerce"))
    return _years(words, notice) if column.type == "age" else words.mask(words == "")


def _fill(rows: pd.DataFrame, template: str) -> pd.Series:
    """`template` with the columns that it names in curly brackets, or the one column that it is the name of."""
    names = fields_of(template)
    if names == [template]:
        return column_of(rows, template)
    cells = zip(*(as_words(column_of(rows, name)) for name in names), strict=True)
    return pd.Series([template.format_map(dict(zip(names, row, strict=True))) for row in cells], rows.index, TEXT)


def _years(ages: pd.Series, notice: Notice) -> pd.Series:
    """Ages in whole years: `58`, or `058Y`, `013M` and `002D`; missing where unreadable or impossible."""
    years = pd.Series([years_of(age) for age in as_words(ages)], ages.index, "float64") // 1
    if slips := int((years > _OLDEST).sum()):
        notice(f"{counted(slips, 'age')} above {_OLDEST} years {'was' if slips == 1 else 'were'} removed.")
    return years.mask(years > _OLDEST)

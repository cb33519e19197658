"""A manifest as an MLCommons Croissant file: what the data set is, where its table lies, and what each column means.

Croissant 1.0 (https://docs.mlcommons.org/croissant/docs/croissant-spec.html) is JSON-LD over schema.org; data
catalogues, search engines and loaders read it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from hashlib import file_digest
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from ..base import ManifestError, OutputError, atomic_path
from .manifest import Manifest
from .readers.source import Source
from .schema.columns import as_words, column_of
from .validation.structure import SPLITS

_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
"""The context that the specification gives; readers compare it with their own."""
_TABLES = {".csv": "text/csv", ".parquet": "application/x-parquet"}
_SPLIT_MEANINGS = {"train": "cr:TrainingSplit", "val": "cr:ValidationSplit", "test": "cr:TestSplit"}
# Formats without a registered name are told by a page about them, as the specification asks.
_FORMATS = {
    ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".tif": "image/tiff", ".tiff": "image/tiff",
    ".bmp": "image/bmp", ".gif": "image/gif", ".webp": "image/webp", ".jp2": "image/jp2",
    ".ppm": "image/x-portable-pixmap", ".pgm": "image/x-portable-graymap",
    ".dcm": "application/dicom", ".nii": "https://nifti.nimh.nih.gov", ".nii.gz": "https://nifti.nimh.nih.gov",
    ".npz": "https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html",
    ".h5": "application/x-hdf5", ".hdf5": "application/x-hdf5", ".zarr": "https://zarr.dev",
}  # fmt: skip
_OTHER = "application/octet-stream"
_SPDX = re.compile(r"CC0-1\.0|CC-BY(-NC)?(-SA|-ND)?-[1-4]\.[05]|MIT|Apache-2\.0|ODbL-1\.0|ODC-By-1\.0|PDDL-1\.0")
_VERSION = re.compile(r"\d+\.\d+\.\d+(?:[-+][0-9A-Za-z.+-]+)?")


@dataclass(frozen=True, kw_only=True)
class Publication:
    """What Croissant asks of a published data set and a dataset card has no field for; all of it may be left empty."""

    url: str = ""
    """The page of the data set."""
    creators: Sequence[str] = ()
    """People who made it."""
    organizations: Sequence[str] = ()
    """Organisations that made it."""
    published: str = ""
    """The day it was published, YYYY-MM-DD."""
    version: str = ""
    """MAJOR.MINOR.PATCH."""

    def require_sound(self) -> None:
        """Makes sure that the values can stand in a Croissant file.

        Raises:
            ManifestError: names every one that cannot.
        """
        faults = []
        if not all(name.strip() for name in (*self.creators, *self.organizations)):
            faults.append("the name of a creator or organisation is blank")
        if self.url and not re.match(r"https?://\S+$", self.url):
            faults.append(f'the URL "{self.url}" does not start with https:// or http://')
        if self.version and not _VERSION.fullmatch(self.version):
            faults.append(f'the version "{self.version}" is not MAJOR.MINOR.PATCH, such as 1.0.0')
        try:
            date.fromisoformat(self.published or "2000-01-01")
        except ValueError:
            faults.append(f'the date "{self.published}" is not YYYY-MM-DD, such as 2024-05-31')
        if faults:
            raise ManifestError(f"Not fit for a Croissant file: {'; '.join(faults)}.")


def write_croissant(
    manifest: Manifest, out: Path, *, publication: Publication | None = None, with_ids: bool = False
) -> Path:
    """Writes a saved manifest's card and columns as a Croissant 1.0 file; returns its path.

    The table stays where it is and is named with its SHA-256, so `out` goes beside it or into a folder above it.

    Args:
        manifest: loaded from its file.
        out: the .json file.
        publication: what the card has no field for.
        with_ids: describe the columns `unit_id` and `group_id` too.

    Raises:
        ManifestError: the manifest was never saved, is not sound, or `publication` is faulty.
        OutputError: `out` is in a folder from which the table cannot be named, or cannot be written.
    """
    values = croissant(manifest, out.parent, publication=publication, with_ids=with_ids)
    text = json.dumps(values, indent=2, ensure_ascii=False)
    with atomic_path(out) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    return out


def croissant(
    manifest: Manifest, folder: Path, *, publication: Publication | None = None, with_ids: bool = False
) -> dict[str, Any]:
    """The JSON-LD that `write_croissant` writes into `folder`.

    Raises:
        ManifestError, OutputError: as `write_croissant`.
    """
    publication = publication or Publication()
    publication.require_sound()
    manifest.require_sound()
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        **_about(manifest, publication),
        "distribution": [_table(manifest, folder), *_images(manifest, folder)],
        "recordSet": [*_enumerations(manifest), _samples(manifest, with_ids)],
    }


def _about(manifest: Manifest, publication: Publication) -> dict[str, Any]:
    card = manifest.card
    ours = f"A medprobe manifest for {card.task} classification; the primary metric is {card.primary_metric}."
    about = {
        "name": card.name,
        "description": f"{card.description or card.name}\n\n{ours}",
        "license": f"https://spdx.org/licenses/{card.license}.html" if _SPDX.fullmatch(card.license) else card.license,
        "citeAs": card.citation,
        "url": publication.url,
        "creator": [
            *({"@type": "sc:Person", "name": name} for name in publication.creators),
            *({"@type": "sc:Organization", "name": name} for name in publication.organizations),
        ],
        "datePublished": publication.published,
        "version": publication.version,
    }
    return {key: value for key, value in about.items() if value}


def _table(manifest: Manifest, folder: Path) -> dict[str, Any]:
    if manifest.path is None:
        raise ManifestError(f"{manifest.name}: save the manifest first; a Croissant file names its table.")
    try:
        place = manifest.path.resolve().relative_to(folder.resolve())
    except ValueError as error:
        raise OutputError(
            f"{folder}: a Croissant file names the table by its path from its own folder, so it goes beside "
            f"{manifest.path.name} or into a folder above; choose another --out."
        ) from error
    with manifest.path.open("rb") as file:
        digest = file_digest(file, "sha256").hexdigest()
    return {
        "@type": "cr:FileObject",
        "@id": "table",
        "name": manifest.path.name,
        "description": "One row per image.",
        "contentUrl": place.as_posix(),
        "contentSize": f"{manifest.path.stat().st_size} B",
        "encodingFormat": _TABLES[manifest.path.suffix.lower()],
        "sha256": digest,
    }


def _images(manifest: Manifest, folder: Path) -> Iterator[dict[str, Any]]:
    """A file set per format; none where the images do not lie below `folder`."""
    try:
        root = manifest.root.resolve().relative_to(folder.resolve())
    except ValueError:
        return
    patterns: dict[str, set[str]] = {}
    for text in set(as_words(column_of(manifest.table, "path"))):
        # Patterns and not names: a file's name, or a folder's, may be a patient's.
        suffix = _suffix(Source.parse(Path(), text).path.name)
        pattern = (root / "**" / f"*{suffix}").as_posix()
        patterns.setdefault(_FORMATS.get(suffix.lower(), _OTHER), set()).add(pattern)
    for number, (kind, includes) in enumerate(sorted(patterns.items())):
        yield {
            "@type": "cr:FileSet",
            "@id": f"images-{number + 1}",
            "name": f"images-{number + 1}",
            "description": "Images, or files of several images, that the column `path` of the table names.",
            "encodingFormat": kind,
            "includes": sorted(includes),
        }


def _suffix(name: str) -> str:
    """The suffix of a file name, as it is written, if it is one of those known."""
    return next((name[-len(known) :] for known in sorted(_FORMATS, key=len)[::-1] if name.lower().endswith(known)), "")


def _enumerations(manifest: Manifest) -> Iterator[dict[str, Any]]:
    card = manifest.card
    order = {
        "binary": "Two classes, of which the second is the positive one.",
        "multiclass": "Classes, of which each sample has one.",
        "ordinal": "Classes in ascending order, of which each sample has one.",
        "multilabel": "Labels, each of which a sample has or has not; a column of the table for each.",
    }[card.task]
    rows = [{"classes/name": name, "classes/position": place} for place, name in enumerate(card.classes)]
    yield _enumeration("classes", "sc:Enumeration", order, rows, position="sc:Integer")
    if "split" in manifest.table:
        words = set(as_words(column_of(manifest.table, "split")))
        rows = [{"splits/name": name, "splits/url": _SPLIT_MEANINGS[name]} for name in SPLITS if name in words]
        yield _enumeration("splits", "cr:Split", "The parts that the data set is divided into.", rows, url="sc:URL")


def _enumeration(name: str, kind: str, description: str, rows: list[dict[str, Any]], **further: str) -> dict[str, Any]:
    fields = {"name": "sc:Text", **further}
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "dataType": kind,
        "description": description,
        "key": {"@id": f"{name}/name"},
        "field": [
            {"@type": "cr:Field", "@id": f"{name}/{field}", "name": field, "dataType": of}
            for field, of in fields.items()
        ],
        "data": rows,
    }


def _samples(manifest: Manifest, with_ids: bool) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": "samples",
        "name": "samples",
        "description": "One record per 2-D image.",
        "key": {"@id": "samples/sample_id"},
        "field": [_field(manifest.table, *column) for column in _columns(manifest, with_ids)],
    }


_Column = tuple[str, str, "str | list[str]", str]
"""Name, what it means, data type (empty: what it looks like), and the enumeration that its values come from."""


def _columns(manifest: Manifest, with_ids: bool) -> Iterator[_Column]:
    card, there = manifest.card, set(manifest.table)
    yield "sample_id", "Names the image; unique.", "sc:Text", ""
    yield (
        "path",
        "Where the image is, from the root folder of images; after # the array inside the file.",
        "sc:Text",
        "",
    )
    if card.task == "multilabel":
        for name in card.classes:
            yield name, f'1 where the image has the label "{name}", else 0.', ["sc:Integer", "cr:Label"], ""
    else:
        yield card.label_column, "The class of the image.", ["sc:Text", "cr:Label"], "classes"
    optional: list[_Column] = [
        ("split", "The part of the data set.", "sc:Text", "splits"),
        ("frame", "Which image of a file of several, from 0.", "sc:Integer", ""),
        ("modality", "Sequence or view.", "sc:Text", ""),
    ]
    if with_ids:
        optional += [
            ("unit_id", "What gets one label and one prediction: an exam, a lesion.", "sc:Text", ""),
            ("group_id", "What never stands on two sides of a split: the patient.", "sc:Text", ""),
        ]
    yield from (column for column in optional if column[0] in there)
    yield from ((name, "", "", "") for name in card.attributes)


def _field(table: pd.DataFrame, name: str, meaning: str, kind: str | list[str], values: str) -> dict[str, Any]:
    field = {
        "@type": "cr:Field",
        # A column may be called anything, but an id is part of an address.
        "@id": f"samples/{quote(name, safe='')}",
        "name": name,
        "description": meaning or f'The attribute "{name}".',
        "dataType": kind or _type_of(column_of(table, name)),
        "source": {"fileObject": {"@id": "table"}, "extract": {"column": name}},
    }
    return field | ({"references": {"field": {"@id": f"{values}/name"}}} if values else {})


def _type_of(column: pd.Series) -> str:
    kinds = pd.api.types
    if kinds.is_bool_dtype(column.dtype):
        return "sc:Boolean"
    if kinds.is_integer_dtype(column.dtype):
        return "sc:Integer"
    if kinds.is_numeric_dtype(column.dtype):
        return "sc:Float"
    return "sc:Date" if kinds.is_datetime64_any_dtype(column.dtype) else "sc:Text"

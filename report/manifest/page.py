"""The page of a manifest: what is in it, in one HTML file that loads nothing and runs nothing."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ...base import atomic_path, counted, percent
from ...evaluate.metrics.registry import primary_metric
from ...manifests import ImageStats, Manifest, attribute_counts, manifest_image_stats
from ...manifests.schema.card import class_words
from ...manifests.schema.labels import has_class, label_codes
from ...manifests.summary.attributes import AttributeCounts
from ...manifests.summary.counts import balance_in_words, class_counts, counted_things
from ...manifests.summary.description import headline
from ...manifests.summary.warnings import manifest_warnings
from ...manifests.validation.diagnostics import by_severity
from ..elements.figure import ReportFigure
from ..elements.html import figure_on_page, render
from ..elements.thumbnails import png_in_base64
from .figures import MOST_BARS, MOST_LINES, classes_figure, intensity_figure, sizes_figure
from .montage import class_examples
from .tables import attribute_table, classes_table, groups_table, sizes


def write_manifest_page(manifest: Manifest, out: Path, *, stats: ImageStats | None = None, per_class: int = 8) -> Path:
    """Writes the page of a manifest: counts, examples of each class, sizes and grey levels of its images.

    It holds pixels, names of classes and values of attributes, but no id of a sample, unit or group and no path.

    Args:
        manifest: what to show.
        out: the HTML file.
        stats: the statistics of the images; by default the kept ones, else every image is decoded.
        per_class: examples of each class.

    Raises:
        ManifestError: the manifest is not sound.
        OutputError: `out` cannot be written.

    Examples:
        >>> from medprobe.report import write_manifest_page
        >>> write_manifest_page(manifest, folder / "lesions.html", per_class=4).name
        'lesions.html'
    """
    seen = manifest_image_stats(manifest) if stats is None else stats
    page = render("manifest.html.j2", _content(manifest, seen, per_class))
    with atomic_path(out) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return out


def _content(manifest: Manifest, stats: ImageStats, per_class: int) -> dict[str, Any]:
    """The values of the template."""
    attributes = attribute_counts(manifest)
    tables = [attribute_table(counts, place, counted_things(manifest)) for place, counts in enumerate(attributes)]
    return {
        "name": manifest.name,
        "headline": headline(manifest),
        "balance": balance_in_words(manifest),
        "remarks": list(_remarks(manifest, stats, attributes)),
        "facts": _facts(manifest),
        "figures": {drawn.name: figure_on_page(drawn) for drawn in _figures(manifest, stats)},
        "classes": classes_table(manifest) if manifest.card.task else None,
        "examples": class_examples(manifest, per_class=per_class),
        "counted": counted,
        "png": png_in_base64,
        "groups": groups_table(manifest) if {"group_id", "unit_id"} & set(manifest.table) else None,
        "attributes": [table for table in tables if table],
        "sizes": _sizes_in_words(sizes(stats)),
    }


def _remarks(manifest: Manifest, stats: ImageStats, attributes: list[AttributeCounts]) -> Iterator[str]:
    """What a reader should know before relying on the numbers."""
    yield from map(str, by_severity(manifest_warnings(manifest, stats)))
    for counts in attributes:
        if counts.values is None and counts.spread is None:
            thing = counted_things(manifest)
            yield f"Nearly every {thing} has its own value of {counts.name}, so the values are not listed here."


def _facts(manifest: Manifest) -> list[tuple[str, str]]:
    card = manifest.card
    facts = [
        ("Description", card.description),
        ("Task", f"{card.task} classification" if card.task else "none: the images are unlabelled"),
        ("Primary metric", primary_metric(card).name if card.task else ""),
        ("Licence", card.license or "not stated"),
        ("Citation", card.citation or "not stated"),
        ("Intensities", card.reading.in_spec or "as each format asks"),
        ("Manifest digest", manifest.digest),
    ]
    return [(name, text) for name, text in facts if text]


def _figures(manifest: Manifest, stats: ImageStats) -> Iterator[ReportFigure]:
    if manifest.card.task:
        yield _classes_figure(manifest)
    found = sizes(stats)
    if len(found) > 1:
        caption = "One disc per size, its area by the number of images. Square images are on the dashed line."
        yield ReportFigure("sizes", "Sizes of images", caption, _sizes_in_words(found), partial(sizes_figure, found))
    histograms = _histograms(manifest, stats)
    if histograms:
        levels = (np.arange(len(histograms[0][1])) + 0.5) * 256 / len(histograms[0][1])
        text = ", ".join(f"{name} {float(shares @ levels):.0f}" for name, shares in histograms)
        caption = (
            "The share of pixels at each grey level (the luma of colours), mean over images, so that large ones count "
            "no more than small ones. Classes with different curves may be predictable from brightness alone."
        )
        draw = partial(intensity_figure, histograms)
        yield ReportFigure("intensities", "Grey levels", caption, f"Mean grey level: {text}.", draw)


def _classes_figure(manifest: Manifest) -> ReportFigure:
    counts = class_counts(manifest).drop(columns="total", errors="ignore")
    cut = f" The first {MOST_BARS} of {len(counts)}." if len(counts) > MOST_BARS else ""
    text = ", ".join(f"{name} {count:,}" for name, count in counts.sum(axis=1).head(MOST_BARS).items())
    parts = "one colour per split; " if len(counts.columns) > 1 else ""
    kind, _ = class_words(manifest.card.task)
    caption = f"One bar per {kind}, {parts}the number is the total.{cut}"
    return ReportFigure(
        "classes", f"Images of each {kind}", caption, f"Images: {text}.", partial(classes_figure, counts)
    )


def _histograms(manifest: Manifest, stats: ImageStats) -> list[tuple[str, np.ndarray]]:
    """The mean histogram of each class that has an image; of all images where classes are none, or too many to draw."""
    read = stats.readable
    if not read.any():
        return []
    shares = stats.histogram[read] / stats.histogram[read].sum(axis=1, keepdims=True)
    if not 0 < len(manifest.card.classes) <= MOST_LINES:
        return [("all images", shares.mean(axis=0))]
    labels = label_codes(manifest.table, manifest.card)[read]
    chosen = ((name, shares[has_class(labels, place)]) for place, name in enumerate(manifest.card.classes))
    return [(name, of_class.mean(axis=0)) for name, of_class in chosen if len(of_class)]


def _sizes_in_words(found: pd.DataFrame) -> str:
    if len(found) == 0:
        return "No image could be read."
    common = found.iloc[0]
    size = f"{common['width']:,} × {common['height']:,} pixels (width × height)"
    if len(found) == 1:
        return f"All images are {size}."
    ranges = [f"{name}s from {found[name].min():,} to {found[name].max():,}" for name in ("width", "height")]
    share = percent(common["images"] / found["images"].sum())
    return f"{len(found):,} different sizes, {ranges[0]} and {ranges[1]} pixels; the commonest is {size}, {share}."

"""A figure of examples, one row per class."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc
from PIL import Image

from ...base import ManifestError, atomic_path, counted
from ...manifests import Manifest
from ...manifests.schema.card import class_words
from ...manifests.schema.labels import has_class, label_codes
from ...manifests.schema.table_io import as_arrow, column_of
from ..elements.theme import LIGHT, drawing, figure_bytes, new_figure
from ..elements.thumbnails import TILE, thumbnails

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_GAP = 6
_HOLE = (238, 240, 242)
_MOST_CLASSES = 40
_LABEL_WIDTH = 26
"""Characters in a line of a class name."""


@dataclass(frozen=True, eq=False)
class Examples:
    """Some images of a class, scaled to tiles."""

    name: str
    """The class; `unlabelled` for images without labels."""
    count: int
    """Images of the class in all."""
    tiles: list[Image.Image | None]
    """Grey or RGB, the longer side `TILE` pixels; None for an image that cannot be read."""


def class_examples(manifest: Manifest, *, per_class: int = 8, seed: int = 0) -> list[Examples]:
    """Examples of each of the first 40 classes, as `draw_montage` takes them; images without labels are one class."""
    labels = label_codes(manifest.table, manifest.card)
    order = pc.call_function("sort_indices", [as_arrow(column_of(manifest.table, "sample_id"))]).to_numpy()
    random, names = np.random.default_rng(seed), manifest.card.classes[:_MOST_CLASSES]
    of_class = [order[has_class(labels, number)[order]] for number in range(len(names))]
    if manifest.card.task is None:
        names, of_class = ["unlabelled"], [order]
    drawn = [np.sort(random.choice(len(rows), min(per_class, len(rows)), replace=False)) for rows in of_class]
    shown = [rows[places].tolist() for rows, places in zip(of_class, drawn, strict=True)]
    if not any(shown):
        raise ManifestError(f"{manifest.name}: no class has a sample to show.")
    tiles = thumbnails(manifest, (row for chosen in shown for row in chosen))
    return [
        Examples(name, len(rows), [tiles.get(row) for row in chosen])
        for name, rows, chosen in zip(names, of_class, shown, strict=True)
    ]


def draw_montage(manifest: Manifest, out: Path, *, per_class: int = 8, seed: int = 0) -> Path:
    """Writes a PNG with up to `per_class` examples of each class, drawn at random but reproducibly.

    The figure has class names, counts and pixels, but no sample, unit or group ids.

    Args:
        manifest: the images to draw from.
        out: the PNG file.
        per_class: tiles per row, at most.
        seed: another seed draws other examples.

    Raises:
        ManifestError: no class has a sample.
        OutputError: `out` cannot be written.

    Examples:
        >>> from medprobe.report import draw_montage
        >>> draw_montage(manifest, folder / "examples.png", per_class=4).name
        'examples.png'
    """
    examples = class_examples(manifest, per_class=per_class, seed=seed)
    with drawing(LIGHT):
        picture = figure_bytes(montage_figure(manifest, examples), "png")
    with atomic_path(out) as temporary:
        temporary.write_bytes(picture)
    return out


def montage_figure(manifest: Manifest, examples: list[Examples]) -> Figure:
    """The figure of `examples`: a row of tiles per class, with its name and number of images on the left."""
    step, across = TILE + _GAP, max(len(shown.tiles) for shown in examples)
    canvas = Image.new("RGB", (across * step - _GAP, len(examples) * step - _GAP), "white")
    figure = new_figure(max(2.4 + across * step / TILE, 5), 0.6 + len(examples) * step / TILE)
    axes = figure.add_subplot()
    for row, shown in enumerate(examples):
        for column, tile in enumerate(shown.tiles):
            left, top, middle = column * step, row * step, TILE / 2
            canvas.paste(_HOLE, (left, top, left + TILE, top + TILE))
            if tile is None:
                axes.text(left + middle, top + middle, "unreadable", ha="center", va="center", color=LIGHT.quiet)
            else:
                canvas.paste(tile, (left + (TILE - tile.width) // 2, top + (TILE - tile.height) // 2))
    axes.imshow(np.asarray(canvas), interpolation="nearest")
    names = ["\n".join([*textwrap.wrap(one.name, _LABEL_WIDTH), counted(one.count, "image")]) for one in examples]
    axes.set_yticks([row * step + TILE / 2 for row in range(len(examples))], names)
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    task, classes = manifest.card.task, len(manifest.card.classes)
    cut = f", the first {_MOST_CLASSES} shown" if classes > _MOST_CLASSES else ""
    of_classes = f", {counted(classes, *class_words(task))}{cut}" if task else ""
    axes.set_title(f"{manifest.name}: {counted(len(manifest), 'image')}{of_classes}")
    return figure

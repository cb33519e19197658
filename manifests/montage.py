"""A picture of examples, one row per class."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from PIL import Image, ImageDraw, ImageFont

from ..base import ImageError, ManifestError, atomic_path, counted
from .labels import label_codes
from .manifest import Manifest
from .readers import read_image
from .tables import as_arrow, column_of

TILE = 120
"""Pixels of the longer side of an example."""
_GAP, _MARGIN, _LINE = 6, 24, 20
_PAPER, _INK, _FAINT, _HOLE = (255, 255, 255), (33, 37, 41), (120, 126, 133), (238, 240, 242)
_MOST_CLASSES = 40


@dataclass(frozen=True, eq=False)
class Examples:
    """Some images of a class, small enough to be shown side by side."""

    name: str
    """The class."""
    count: int
    """Images that it has in all."""
    tiles: list[Image.Image | None]
    """Grey or RGB, the longer side `TILE` pixels; None for an image that cannot be read."""


def class_examples(manifest: Manifest, *, per_class: int = 8, seed: int = 0) -> list[Examples]:
    """Up to `per_class` examples of each of the first 40 classes, drawn at random but the same for the same manifest.

    Args:
        manifest: what to draw from.
        per_class: examples of each class.
        seed: draws other examples.

    Raises:
        ManifestError: there is no class with a sample.
    """
    chosen = _choose(manifest, per_class, seed)
    if not any(len(rows) for _, _, rows in chosen):
        raise ManifestError(f"{manifest.name}: no class has a sample to show.")
    return [Examples(name, count, [_tile(manifest, int(row)) for row in rows]) for name, count, rows in chosen]


def draw_montage(manifest: Manifest, out: Path, *, per_class: int = 8, seed: int = 0) -> Path:
    """Writes a PNG with up to `per_class` examples of each class, drawn at random but the same for the same manifest.

    The picture holds class names, counts and pixels, but no sample, unit or group ids. An image that cannot be read
    leaves an empty tile.

    Args:
        manifest: what to draw from.
        out: the PNG file.
        per_class: tiles in a row.
        seed: draws other examples.

    Raises:
        ManifestError: there is no class with a sample.
        OutputError: `out` cannot be written.
    """
    picture = _draw(manifest, class_examples(manifest, per_class=per_class, seed=seed), per_class)
    with atomic_path(out) as temporary:
        picture.save(temporary, format="PNG", optimize=True)
    return out


def _choose(manifest: Manifest, per_class: int, seed: int) -> list[tuple[str, int, np.ndarray]]:
    """Per class: its name, how many samples it has, and the rows to show."""
    labels = label_codes(manifest.table, manifest.card)
    order = pc.call_function("sort_indices", [as_arrow(column_of(manifest.table, "sample_id"))]).to_numpy()
    random = np.random.default_rng(seed)
    chosen = []
    for number, name in enumerate(manifest.card.classes[:_MOST_CLASSES]):
        of_class = (labels[:, number] == 1) if labels.ndim == 2 else (labels == number)
        rows = order[of_class[order]]
        drawn = np.sort(random.choice(len(rows), min(per_class, len(rows)), replace=False))
        chosen.append((name, len(rows), rows[drawn]))
    return chosen


def _draw(manifest: Manifest, chosen: list[Examples], per_class: int) -> Image.Image:
    title, small = _font(22, bold=True), _font(14)
    label = _font(16, bold=True)
    left = _MARGIN + _label_width(chosen, label, small) + 2 * _GAP
    top = _MARGIN + 2 * _LINE + 2 * _GAP
    width = max(left + per_class * (TILE + _GAP) - _GAP + _MARGIN, 480)
    height = top + len(chosen) * (TILE + _GAP) - _GAP + _MARGIN
    picture = Image.new("RGB", (width, height), _PAPER)
    pen = ImageDraw.Draw(picture)
    pen.text((_MARGIN, _MARGIN), manifest.name, _INK, title, anchor="lt")
    pen.text((width - _MARGIN, _MARGIN + 4), _subtitle(manifest), _FAINT, small, anchor="rt")
    for number, shown in enumerate(chosen):
        y = top + number * (TILE + _GAP)
        pen.text((_MARGIN, y + TILE // 2 - 3), _short(shown.name), _INK, label, anchor="ls")
        pen.text((_MARGIN, y + TILE // 2 + 5), counted(shown.count, "image"), _FAINT, small, anchor="lt")
        for column in range(per_class):
            corner = (left + column * (TILE + _GAP), y)
            pen.rectangle((*corner, corner[0] + TILE - 1, corner[1] + TILE - 1), fill=_HOLE)
            if column < len(shown.tiles):
                _place(picture, shown.tiles[column], corner)
    return picture


def _place(picture: Image.Image, tile: Image.Image | None, corner: tuple[int, int]) -> None:
    if tile is None:
        centre = (corner[0] + TILE // 2, corner[1] + TILE // 2)
        ImageDraw.Draw(picture).text(centre, "unreadable", _FAINT, _font(13), anchor="mm")
    else:
        picture.paste(tile, (corner[0] + (TILE - tile.width) // 2, corner[1] + (TILE - tile.height) // 2))


def _tile(manifest: Manifest, row: int) -> Image.Image | None:
    try:
        image = Image.fromarray(read_image(manifest.source(row)))
    except ImageError:
        return None
    scale = TILE / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    # Enlarged pixels stay square, so that a 28-px image looks like one.
    return image.resize(size, Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.NEAREST)


def _subtitle(manifest: Manifest) -> str:
    classes = len(manifest.card.classes)
    left_out = f", the first {_MOST_CLASSES} shown" if classes > _MOST_CLASSES else ""
    return f"{counted(len(manifest), 'image')}, {counted(classes, 'class', 'classes')}{left_out}"


def _label_width(chosen: list[Examples], label: _Font, small: _Font) -> int:
    names = max(label.getlength(_short(shown.name)) for shown in chosen)
    return int(max(names, max(small.getlength(counted(shown.count, "image")) for shown in chosen)))


def _short(name: str) -> str:
    return name if len(name) <= 24 else name[:23] + "…"


_Font = ImageFont.FreeTypeFont


def _font(size: int, *, bold: bool = False) -> _Font:
    # DejaVu comes with matplotlib and knows Latin, Greek and Cyrillic; Pillow's own knows less.
    import matplotlib as mpl

    file = Path(mpl.get_data_path()) / "fonts" / "ttf" / f"DejaVuSans{'-Bold' if bold else ''}.ttf"
    return ImageFont.truetype(str(file), size)

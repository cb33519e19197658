"""A picture of examples, one row per class."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from PIL import Image, ImageDraw, ImageFont

from ...base import ImageError, ManifestError, atomic_path, counted
from ...manifests.manifest import Manifest
from ...manifests.readers import read_image
from ...manifests.schema.card import class_words
from ...manifests.schema.columns import as_arrow, column_of
from ...manifests.schema.labels import label_codes

TILE = 120
"""Pixels of the longer side of an example."""
_GAP, _MARGIN, _LINE = 6, 24, 20
_PAPER, _INK, _FAINT, _HOLE = (255, 255, 255), (33, 37, 41), (120, 126, 133), (238, 240, 242)
_MOST_CLASSES = 40
_NAME_WIDTH, _NAME_LINES = 210, 4
"""Pixels and lines in which the name of a class must find room."""


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
        per_class: tiles in a row, at most.
        seed: draws other examples.

    Raises:
        ManifestError: there is no class with a sample.
        OutputError: `out` cannot be written.
    """
    picture = _draw(manifest, class_examples(manifest, per_class=per_class, seed=seed))
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


def _draw(manifest: Manifest, chosen: list[Examples]) -> Image.Image:
    texts = "".join([manifest.name, *(shown.name for shown in chosen)])
    title, small, label = _font(22, texts, bold=True), _font(14), _font(16, texts, bold=True)
    names = [_folded(shown.name, label) for shown in chosen]
    left = _MARGIN + _label_width(names, chosen, label, small) + 2 * _GAP
    top = _MARGIN + 2 * _LINE + 2 * _GAP
    across = max(len(shown.tiles) for shown in chosen)
    heading = int(title.getlength(manifest.name) + small.getlength(_subtitle(manifest))) + 2 * _MARGIN
    width = max(left + across * (TILE + _GAP) - _GAP, _MARGIN + heading) + _MARGIN
    height = top + len(chosen) * (TILE + _GAP) - _GAP + _MARGIN
    picture = Image.new("RGB", (width, height), _PAPER)
    pen = ImageDraw.Draw(picture)
    pen.text((_MARGIN, _MARGIN), manifest.name, _INK, title, anchor="lt")
    pen.text((width - _MARGIN, _MARGIN + 4), _subtitle(manifest), _FAINT, small, anchor="rt")
    for number, shown in enumerate(chosen):
        y = top + number * (TILE + _GAP)
        _write_label(pen, y + TILE // 2, [(line, _INK, label) for line in names[number]], shown.count, small)
        for column, tile in enumerate(shown.tiles):
            corner = (left + column * (TILE + _GAP), y)
            pen.rectangle((*corner, corner[0] + TILE - 1, corner[1] + TILE - 1), fill=_HOLE)
            _place(picture, tile, corner)
    return picture


def _write_label(pen: ImageDraw.ImageDraw, middle: int, name: list[_Line], count: int, small: _Font) -> None:
    """The lines of a name, and under them how many images there are, around the height `middle`."""
    lines = [*name, (counted(count, "image"), _FAINT, small)]
    for place, (text, colour, font) in enumerate(lines):
        y = middle + int((place - (len(lines) - 1) / 2) * _LINE)
        pen.text((_MARGIN, y), text, colour, font, anchor="lm")


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
    return f"{counted(len(manifest), 'image')}, {counted(classes, *class_words(manifest.card.task))}{left_out}"


def _label_width(names: list[list[str]], chosen: list[Examples], label: _Font, small: _Font) -> int:
    widths = [label.getlength(line) for name in names for line in name]
    return int(max(*widths, *(small.getlength(counted(shown.count, "image")) for shown in chosen)))


def _folded(name: str, font: _Font) -> list[str]:
    """A name in lines, broken at blanks and underscores, and inside what is still too long; an end that has no room
    is cut off.
    """
    lines = [""]
    for piece in re.findall(r"[^ _]*[ _]?", name):
        for part in [piece] if font.getlength(piece) <= _NAME_WIDTH else piece:
            if font.getlength((lines[-1] + part).rstrip()) > _NAME_WIDTH:
                lines.append("")
            lines[-1] += part
    lines = [line.rstrip() for line in lines if line.strip()]
    return lines if len(lines) <= _NAME_LINES else [*lines[: _NAME_LINES - 1], lines[_NAME_LINES - 1][:-1] + "…"]


_Font = ImageFont.FreeTypeFont
_Line = tuple[str, tuple[int, int, int], _Font]
"""Text with its colour and font."""


def _font(size: int, text: str = "", *, bold: bool = False) -> _Font:
    # DejaVu comes with matplotlib and knows Latin, Greek and Cyrillic; Pillow's own knows less.
    import matplotlib as mpl

    file = Path(mpl.get_data_path()) / "fonts" / "ttf" / f"DejaVuSans{'-Bold' if bold else ''}.ttf"
    letters = {ord(letter) for letter in text if letter.isprintable()}
    return ImageFont.truetype(str(file if _knows(file, letters) else _installed(letters) or file), size)


def _installed(letters: set[int]) -> Path | None:
    """The first font of this machine, by name, that has all `letters`; None where there is none."""
    from matplotlib.font_manager import fontManager

    entries = (entry for entry in fontManager.ttflist if entry.style == "normal" and "Last Resort" not in entry.name)
    files = sorted({Path(entry.fname) for entry in entries})
    return next((file for file in files if _knows(file, letters)), None)


def _knows(file: Path, letters: set[int]) -> bool:
    from matplotlib.ft2font import FT2Font

    try:
        return letters <= FT2Font(str(file)).get_charmap().keys()
    except (OSError, RuntimeError):  # removed since matplotlib listed it, or of a kind that it cannot read
        return False

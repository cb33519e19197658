"""The page of errors: thumbnails of the units that were wrong, with what lies near them. It shows patient images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..base import atomic_path
from ..base.text import number
from ..report.elements.html import render
from ..report.elements.thumbnails import png_in_base64, thumbnails
from .errors import Errors


def write_errors_page(found: Errors, out: Path, *, most: int = 100) -> Path:
    """Writes one HTML file with thumbnails of the units that are worth a look; it loads nothing and runs nothing.

    It holds pixels and names of files, and says so: it is for whoever holds the images.

    Args:
        found: as `find_errors` gives it.
        out: the HTML file.
        most: units (of a multilabel task: labels of units) that are shown, from the top of the table.

    Raises:
        OutputError: `out` cannot be written.

    Examples:
        >>> from medprobe.explore import find_errors, write_errors_page
        >>> found = find_errors(run, manifest, caches)
        >>> write_errors_page(found, folder / "errors.html", most=5).name
        'errors.html'
    """
    page = render("errors.html.j2", _content(found, most))
    with atomic_path(out) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return out


def _content(found: Errors, most: int) -> dict[str, Any]:
    """The values of the template."""
    places = np.flatnonzero(found.worth_a_look)
    shown = places[:most]
    tiles, rows = _tiles(found, found.images[shown]), found.table.to_dict("records")
    items = [_item(rows[place], [tiles.get(image) for image in found.images[place]]) for place in shown]
    suspects = [item for item in items if item["suspect"]]
    return {
        "name": found.manifests[-1].name,
        "headline": found.headline,
        "system": f"{found.system.backbone}, {found.system.pooling}, {found.system.probe}",
        "remarks": [remark.replace("`", "") for remark in found.remarks],
        "has_suspects": found.has_suspects,
        "sections": [
            ("suspects", "Labels suspected to be wrong", suspects),
            ("errors", "Other errors", [item for item in items if not item["suspect"]]),
        ],
        "rest": len(places) - len(shown),
        "png": png_in_base64,
    }


def _tiles(found: Errors, images: np.ndarray) -> dict[int, Image.Image]:
    """Thumbnails by position among the rows of all manifests; without those that cannot be read."""
    wanted, start, tiles = np.unique(images), 0, {}
    for manifest in found.manifests:
        rows = wanted[(wanted >= start) & (wanted < start + len(manifest))] - start
        tiles |= {start + row: tile for row, tile in thumbnails(manifest, rows).items()}
        start += len(manifest)
    return tiles


def _item(row: dict[Any, Any], tiles: list[Image.Image | None]) -> dict[str, Any]:
    """A row of the table as the page shows it: its own image first, then those of its neighbours."""
    finding, images = row.get("finding", ""), row["images"]
    near = [
        (f"near: {row[f'neighbour_{k}_label']}, {number(row[f'neighbour_{k}_similarity'], 2)}", row[f"neighbour_{k}"])
        for k in range(1, len(tiles))
    ]
    return {
        "path": row["path"],
        "frame": row.get("frame", ""),
        "facts": [
            *([("Unit", row["unit_id"])] if row["unit_id"] != row["path"] else []),
            *([("Images", f"{images:,}; the one in the middle is shown")] if images > 1 else []),
            ("Label", f"{finding}: {row['label']}" if finding else row["label"]),
            ("Predicted", f"{row['predicted']}; its label has the probability {number(row['label_probability'], 2)}"),
            ("Wrong", f"{row['wrong']:,} of {row['tested']:,} times"),
        ],
        "suspect": bool(row.get("suspect", False)),
        "tiles": [(tile, *words) for tile, words in zip(tiles, [(row["label"], row["path"]), *near], strict=True)],
    }

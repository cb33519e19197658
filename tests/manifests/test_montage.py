"""What a picture of examples shows: whole names, and no panel where there is no example."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from medprobe.manifests import DatasetCard, Manifest
from medprobe.report.manifest.montage import TILE, draw_montage
from PIL import Image

_HOLE = (238, 240, 242)
"""The colour behind an example that does not fill its tile."""


def _montage(draw, folder: Path, classes: tuple[str, str], counts: tuple[int, int], **card) -> np.ndarray:
    """The pixels of a picture of two classes: (H, W, 3)."""
    rows = [(name, place) for name, count in zip(classes, counts, strict=True) for place in range(count)]
    paths = [draw(folder / f"{row}.png", row, (30, 10)).name for row in range(len(rows))]
    table = pd.DataFrame({"sample_id": paths, "path": paths, "label": [name for name, _ in rows]})
    card = DatasetCard.of(
        "card", **{"name": "m", "task": "binary", "classes": list(classes), "root": str(folder), **card}
    )
    return np.asarray(Image.open(draw_montage(Manifest(table, card), folder / "montage.png")))


def _panels(picture: np.ndarray) -> list[int]:
    """How many tiles there are in the row of each of two classes, from the strips beside the narrow examples."""
    hole = (picture == _HOLE).all(axis=2)
    heights = np.flatnonzero(hole.any(axis=1))
    lines = hole[[heights[5], heights[-5]]]
    edges = np.diff(lines.astype(int), axis=1) == 1
    return (edges.sum(axis=1) // 2).tolist()  # a strip on the left and on the right of each


def test_a_class_has_as_many_panels_as_examples(draw, tmp_path: Path) -> None:
    assert _panels(_montage(draw, tmp_path, ("a", "b"), (5, 2))) == [5, 2]
    # Not wider than the most examples that a class has.
    assert _montage(draw, tmp_path, ("a", "b"), (3, 1)).shape[1] < 6 * TILE


def test_names_that_differ_at_their_ends_are_drawn_differently(draw, tmp_path: Path) -> None:
    long = "consolidation_of_the_lower_lobe_of_the_lung"
    pictures = [_montage(draw, tmp_path, (f"{long}_{side}", "other"), (2, 2))[:, :200] for side in ("left", "right")]
    assert (pictures[0] != pictures[1]).any()


def test_a_name_without_a_blank_stays_beside_its_examples(draw, tmp_path: Path) -> None:
    picture = _montage(draw, tmp_path, ("w" * 300, "other"), (2, 2))
    assert picture.shape[1] < 4 * TILE + 210

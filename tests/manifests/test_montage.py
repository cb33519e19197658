"""The figure of examples: whole names, and as many tiles as there are examples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from medprobe.manifests import DatasetCard, Manifest
from medprobe.report.manifest.montage import TILE, class_examples, montage_figure


def _montage(draw, folder: Path, classes: tuple[str, str], counts: tuple[int, int]) -> Axes:
    rows = [(name, place) for name, count in zip(classes, counts, strict=True) for place in range(count)]
    paths = [draw(folder / f"{row}.png", row, (30, 10)).name for row in range(len(rows))]
    table = pd.DataFrame({"sample_id": paths, "path": paths, "label": [name for name, _ in rows]})
    card = DatasetCard.of("card", name="m", task="binary", classes=list(classes), root=str(folder))
    manifest = Manifest(table, card)
    [axes] = montage_figure(manifest, class_examples(manifest)).axes
    return axes


def test_a_class_has_as_many_tiles_as_examples(draw, tmp_path: Path) -> None:
    picture = np.asarray(_montage(draw, tmp_path, ("a", "b"), (5, 2)).images[0].get_array())
    white = (picture == 255).all(axis=2)
    tiles = [(~white[row]).sum() // TILE for row in (TILE // 2, picture.shape[0] - TILE // 2)]
    assert tiles == [5, 2]
    assert picture.shape[1] < 6 * TILE  # not wider than the most examples that a class has


def test_every_class_has_its_whole_name_and_number_of_images(draw, tmp_path: Path) -> None:
    names = ("consolidation_of_the_lower_lobe_of_the_lung_left", "w" * 300)
    labels = [text.get_text().replace("\n", "") for text in _montage(draw, tmp_path, names, (2, 1)).get_yticklabels()]
    assert labels == [f"{names[0]}2 images", f"{names[1]}1 image"]

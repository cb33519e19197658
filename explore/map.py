"""A map of embedding space: every unit a point, coloured by class, split, an attribute, or how often it was wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..base import OutputError, ProbeError, ReportError, atomic_path, counted, no_such, one_of
from ..cache import EmbeddingCache
from ..evaluate import Run
from ..evaluate.statistics.summary import systems_by_score
from ..manifests import Manifest, Units
from ..manifests.schema.table_io import csv_text
from ..probe.data.probe_data import ProbeData
from ..probe.data.subgroup_labels import subgroup_column
from ..report.elements.figure import ReportFigure
from ..report.elements.html import figure_on_page, render
from .files import files_of_units
from .judged import outcomes
from .map_figure import NOT_KNOWN, layers, map_figure, with_titles
from .projection import METHODS, project

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NOT_COLOURS = {"sample_id", "path", "frame", "unit_id", "group_id"}
_ALL = "all"
"""The one colouring of a manifest that has nothing to colour by."""
_MANY_LABELS = "several labels"


@dataclass(frozen=True, eq=False)
class EmbeddingMap:
    """Points of a plane, a unit each, with what they may be coloured by.

    Examples:
        >>> from medprobe.explore import make_map
        >>> drawn = make_map(manifest, caches[0], color=["class", "sex"])
        >>> drawn.points.columns.tolist()
        ['unit_id', 'path', 'map_x', 'map_y', 'class', 'sex']
        >>> sorted(file.name for file in drawn.save(folder / "map").iterdir())
        ['class.png', 'class.svg', 'coordinates.csv', 'map.html', 'sex.png', 'sex.svg']
    """

    name: str
    """The data set's."""
    features: str
    """Backbone and pooling."""
    method: str
    points: pd.DataFrame
    """`unit_id`, `path`, [`frame`], `map_x`, `map_y`, and a text per colouring, empty where it is not known."""
    colours: tuple[str, ...]
    axes: tuple[str, str]
    total: int
    """Units that the manifest has; fewer are points where a part was drawn at random, or where some have no vector."""

    def figure(self, color: str) -> Figure:
        """The map in one colouring, to be changed and saved; notebooks show it."""
        return self._described(color).figure()

    def save(self, folder: Path | str) -> Path:
        """Writes `coordinates.csv`, `map.html`, and a PNG and an SVG per colouring; returns the folder.

        Coordinates and page name files, so they are for whoever holds the images; the figures name none. The same map
        gives the same bytes with the same version of matplotlib.

        Raises:
            OutputError: the folder is a run's, or a file cannot be written.
        """
        folder = Path(folder)
        if (folder / "run.json").exists() or (folder.exists() and not folder.is_dir()):
            raise OutputError(f"{folder}: is {'a run' if folder.is_dir() else 'not a'} folder; choose another --out.")
        figures = {color: self._described(color) for color in self.colours}
        files = {"coordinates.csv": csv_text(self.points).encode("utf-8"), "map.html": self._page(figures)}
        for drawn in figures.values():
            files |= {f"{drawn.name}.png": drawn.png, f"{drawn.name}.svg": drawn.svg}
        for name, content in files.items():
            with atomic_path(folder / name) as temporary:
                temporary.write_bytes(content)
        return folder

    def _described(self, color: str) -> ReportFigure:
        counts = self.points[color].replace("", NOT_KNOWN).value_counts()
        shown = "; ".join(f"{name} {count:,}" for name, count in counts.head(20).items())
        units = counted(len(self.points), "unit")
        cut = f" of {self.total:,}" if len(self.points) < self.total else ""
        caption = f"{METHODS[self.method]} of {self.features}; {units}{cut}. {_CAUTION[self.method]}"
        title = self.name if color == _ALL else f"{self.name} by {color}"
        xy, drawn = self.points[["map_x", "map_y"]].to_numpy(), layers(self.points[color].to_numpy())
        draw = partial(map_figure, xy, self.axes, drawn)
        names: list[str] = []
        for one in self.colours[: self.colours.index(color) + 1]:
            stem = re.sub(r"[^\w-]+", "-", one) or "color"
            names.append(next(name for n in count(1) if (name := stem if n == 1 else f"{stem}-{n}") not in names))
        return ReportFigure(names[-1], title, caption, f"Units: {shown}.", draw)

    def _page(self, figures: Mapping[str, ReportFigure]) -> bytes:
        titles = self._titles()
        named = {
            drawn.name: figure_on_page(drawn, with_titles(drawn.svg, layers(self.points[color].to_numpy()), titles))
            for color, drawn in figures.items()
        }
        content = {"name": self.name, "headline": f"{METHODS[self.method]} of {self.features}", "figures": named}
        return render("map.html.j2", content).encode("utf-8")

    def _titles(self) -> np.ndarray:
        """(n,) what a browser shows under the pointer: the file, and each colouring."""
        names = [name for name in ("path", "frame") if name in self.points]
        lines = self.points[names].apply(lambda row: " ".join(filter(None, row)), axis=1)
        for color in self.colours:
            lines = lines + [f"\n{color}: {value}" if value else "" for value in self.points[color]]
        return lines.to_numpy(object)


_NEAR_ONLY = "Near points have near vectors; sizes of clusters and distances between clusters mean nothing."
_CAUTION = {
    "pca": "Distances are those of the vectors, as far as two components show them.",
    "tsne": _NEAR_ONLY,
    "umap": _NEAR_ONLY,
}


def make_map(
    manifest: Manifest,
    cache: EmbeddingCache,
    *,
    pooling: str | None = None,
    method: str = "pca",
    color: Sequence[str] | None = None,
    run: Run | None = None,
    neighbours: int | None = None,
    most: int = 5000,
    seed: int = 0,
) -> EmbeddingMap:
    """Places the units of a manifest in a plane by their embeddings.

    Args:
        manifest: with or without labels.
        cache: of it.
        pooling: of the cache; its first by default.
        method: `pca`, `tsne` or `umap`.
        color: what points are coloured by: `class`, `split`, `error` (with `run`), or a column of the manifest such as
            `site`. By default all of these that there are, of the columns the card's attributes.
        run: says how often each unit was wrong, by the best system on this cache.
        neighbours: the perplexity of t-SNE (30 by default) or the neighbours of UMAP (15).
        most: units that are drawn; of more, as many at random.
        seed: of that draw, and of the method.

    Raises:
        ProbeError: too few units, or an unknown method or colouring.
        ReportError: the run is of another manifest or another cache.
        CacheError: the cache does not hold the manifest's samples or has no such pooling.

    Examples:
        >>> from medprobe.explore import make_map
        >>> by_error = make_map(manifest, caches[0], color=["error"], run=run)
        >>> sorted(by_error.points["error"].unique())
        ['always right', 'always wrong', 'not tested']
    """
    pooling = pooling or cache.poolings[0]
    colourings = {name: _values(name, manifest, cache, pooling, run) for name in _colours(manifest, color, run)}
    data = ProbeData.of(manifest, [cache])
    X, units = data.load(cache, pooling), np.flatnonzero(data.usable)
    if len(X) > most:
        drawn = np.sort(np.random.default_rng(seed).choice(len(X), most, replace=False))
        X, units = X[drawn], units[drawn]
    xy, axes = project(X, method, neighbours=neighbours, seed=seed)
    files = files_of_units([manifest]).loc[units].reset_index(drop=True)
    points = files[["unit_id", "path", *({"frame"} & set(files))]].assign(map_x=xy[:, 0], map_y=xy[:, 1])
    points = points.assign(**{name: values[units] for name, values in colourings.items()})
    features = f"{cache.spec.backbone}, {pooling}"
    return EmbeddingMap(manifest.name, features, method, points, tuple(colourings), axes, len(data.units))


def _colours(manifest: Manifest, color: Sequence[str] | None, run: Run | None) -> list[str]:
    """The colourings: those given, else all that there are."""
    if color is not None:
        return list(dict.fromkeys(color))
    there = _own_colours(manifest, run)
    attributes = [name for name in manifest.card.attributes if not _attribute(manifest, name)[1]]
    return [*(name for name in there if there[name]), *attributes] or [_ALL]


def _own_colours(manifest: Manifest, run: Run | None) -> dict[str, bool]:
    """The colourings that are no column of attributes, and whether there is something to colour."""
    return {"class": manifest.card.task is not None, "split": "split" in manifest.table, "error": run is not None}


def _values(name: str, manifest: Manifest, cache: EmbeddingCache, pooling: str, run: Run | None) -> np.ndarray:
    """(U,) object array of str: what each unit is coloured by, empty where it is not known.

    Raises:
        ProbeError: the manifest has nothing of that name.
        ReportError: there is no run to say it, or one of other units or caches.
    """
    if name == "error":
        return _outcomes(manifest, cache, pooling, run)
    if name == "class":
        manifest.card.require_task("a map by class")
        return _classes(manifest)
    if name == _ALL:
        return np.full(len(manifest.units()), "unit", dtype=object)
    if name not in set(manifest.table) - _NOT_COLOURS:
        own = [one for one, there in _own_colours(manifest, run).items() if there]
        columns = [*own, *(one for one in manifest.table if one not in _NOT_COLOURS)]
        raise ProbeError(f"{manifest.name}: {no_such('colour', name, dict.fromkeys(columns))}")
    words, why = _attribute(manifest, name)
    if why:
        raise ProbeError(f"{manifest.name}: {why}; choose another --color.")
    return words


def _attribute(manifest: Manifest, name: str) -> tuple[np.ndarray, str]:
    """What `subgroup_column` makes of a column of the manifest, whether or not the card lists it as an attribute."""
    card = manifest.card.model_copy(update={"attributes": [name]})
    return subgroup_column(name, Units.of(manifest.table, card).attributes[name])


def _classes(manifest: Manifest) -> np.ndarray:
    y, classes = manifest.units().y, np.array(manifest.card.classes, dtype=object)
    if y.ndim == 1:
        return classes[y]
    count = y.sum(axis=1)
    return np.where(count == 1, classes[y.argmax(axis=1)], np.where(count == 0, "no label", _MANY_LABELS))


def _outcomes(manifest: Manifest, cache: EmbeddingCache, pooling: str, run: Run | None) -> np.ndarray:
    if run is None:
        raise ReportError("a map by error needs a run of probes: give it (run=, --run).")
    external = bool(run.info["external"]) and manifest.digest == run.info["external"]["digest"]
    units = run.units_of(manifest, external=external)
    fingerprint = cache.spec.fingerprint
    if fingerprint not in set(run.scores["fingerprint"]):
        backbones = one_of(sorted(run.scores["backbone"].unique()))
        raise ReportError(
            f"the map is of {cache.spec.backbone} (spec {fingerprint}), on which the run has no system: map one of its"
            f" backbones ({backbones}), or give another run."
        )
    return outcomes(run, systems_by_score(run, fingerprint=fingerprint, pooling=pooling)[0], units)

"""Maps: where points are, what colours them, and what the files hold."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from medprobe.base import MedprobeError
from medprobe.evaluate import Run
from medprobe.explore import EmbeddingMap, find_errors, make_map
from medprobe.explore.map_figure import MOST_VALUES, NOT_KNOWN, OTHER, layers
from medprobe.manifests import DatasetCard, Manifest
from sklearn.decomposition import PCA


@pytest.fixture(scope="module")
def drawn(cohort: Any, folds: Run) -> EmbeddingMap:
    """All colourings of `cohort`; to be read only."""
    return make_map(cohort.manifest, cohort.cache, run=folds)


@pytest.fixture(scope="module")
def saved(drawn: EmbeddingMap, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drawn.save(tmp_path_factory.mktemp("maps") / "map")


def test_pca_is_that_of_the_vectors(cohort: Any, drawn: EmbeddingMap) -> None:
    of_unit = cohort.manifest.table.set_index("unit_id").loc[drawn.points["unit_id"], "sample_id"].to_numpy()
    X = cohort.cache.load("cls")[cohort.cache.rows_of(of_unit)].astype(np.float64)
    expected = PCA(2).fit_transform(X)
    got = drawn.points[["map_x", "map_y"]].to_numpy()
    np.testing.assert_allclose(np.abs(got), np.abs(expected), atol=1e-4)


def test_points_are_coloured_by_what_the_manifest_and_the_run_say(cohort: Any, folds: Run, drawn: EmbeddingMap) -> None:
    assert drawn.colours == ("class", "split", "error", "site")
    table = cohort.manifest.table.set_index("unit_id").loc[drawn.points["unit_id"]]
    for color, column in {"class": "label", "split": "split", "site": "site", "path": "path"}.items():
        assert drawn.points[color].tolist() == table[column].tolist()
    errors = find_errors(folds, cohort.manifest, neighbours=0).table.set_index("unit_id").loc[drawn.points["unit_id"]]
    share = (errors["wrong"] / errors["tested"]).map({0.0: "always right", 0.5: "sometimes wrong", 1.0: "always wrong"})
    assert drawn.points["error"].tolist() == share.tolist()


@pytest.mark.parametrize("method", ["tsne", pytest.param("umap", marks=pytest.mark.slow)])
def test_a_seed_draws_one_map(cohort: Any, method: str) -> None:
    if method == "umap":
        pytest.importorskip("umap")

    def points(**settings: Any) -> pd.DataFrame:
        return make_map(cohort.manifest, cohort.cache, method=method, color=["class"], **settings).points

    first = points()
    pd.testing.assert_frame_equal(first, points())
    assert not np.allclose(first[["map_x", "map_y"]], points(neighbours=5)[["map_x", "map_y"]])
    centre = first.groupby("class")[["map_x", "map_y"]].transform("mean")
    apart = np.linalg.norm(first[["map_x", "map_y"]] - centre, axis=1).mean()
    assert apart < np.linalg.norm(first[["map_x", "map_y"]] - first[["map_x", "map_y"]].mean(), axis=1).mean()


def test_the_page_names_the_file_of_every_point_and_figures_name_none(drawn: EmbeddingMap, saved: Path) -> None:
    names = {"class", "split", "error", "site"}
    figures = {f"{name}.{kind}" for name in names for kind in ("png", "svg")}
    assert {file.name for file in saved.iterdir()} == {"coordinates.csv", "map.html", *figures}
    page = (saved / "map.html").read_text()
    titles = re.findall("<title>(img/.*?)</title>", page, re.DOTALL)
    assert len(titles) == len(names) * len(drawn.points)
    rows = drawn.points.set_index("path")
    for title in titles:
        path, *lines = re.sub(" (?=[a-z]+: )", "\n", title).splitlines()
        assert lines == [f"{name}: {rows.loc[path, name]}" for name in drawn.colours]
    assert not re.search(r"<script|https?://", page)
    texts = [(saved / name).read_bytes() for name in figures]
    assert not any(secret in text for text in texts for secret in (b"cohort-0", b"exam-", b"patient-", b"<title"))
    pd.testing.assert_frame_equal(pd.read_csv(saved / "coordinates.csv"), drawn.points, check_dtype=False)
    assert "patient-" not in page + (saved / "coordinates.csv").read_text()


def test_a_map_is_the_same_bytes(cohort: Any, tmp_path: Path) -> None:
    one, other = (
        make_map(cohort.manifest, cohort.cache, color=["site"]).save(tmp_path / name) for name in ("one", "other")
    )
    files = [[file.read_bytes() for file in sorted(folder.iterdir())] for folder in (one, other)]
    assert files[0] == files[1]


def test_colourings_whose_names_differ_in_signs_alone_have_files_of_their_own(cohort: Any, tmp_path: Path) -> None:
    table = cohort.manifest.table
    manifest = Manifest(
        table.assign(**dict.fromkeys(colors := ["site a", "site/a", "site-a-2"], "x")), cohort.manifest.card
    )
    folder = make_map(manifest, cohort.cache, color=colors).save(tmp_path / "map")
    assert {file.name for file in folder.glob("*.png")} == {"site-a.png", "site-a-2.png", "site-a-2-2.png"}
    assert (folder / "map.html").read_text().count("<figure") == 3


def test_of_many_units_some_are_drawn_by_the_seed(cohort: Any) -> None:
    few = [make_map(cohort.manifest, cohort.cache, most=20, seed=seed, color=["class"]) for seed in (0, 0, 1)]
    ids = [one.points["unit_id"].tolist() for one in few]
    assert (len(ids[0]), few[0].total) == (20, 60)
    assert ids[0] == ids[1] != ids[2]


def test_labels_of_a_multilabel_unit_are_one_or_several(make_cohort: Callable[..., Any], tmp_path: Path) -> None:
    cohort = make_cohort(tmp_path, "multilabel")
    points = make_map(cohort.manifest, cohort.cache, color=["class", "nodule"]).points
    rows = cohort.manifest.table.set_index("unit_id").loc[points["unit_id"]]
    kind = {(0, 0): "no label", (1, 0): "effusion", (0, 1): "nodule", (1, 1): "several labels"}
    assert points["class"].tolist() == [kind[pair] for pair in zip(rows["effusion"], rows["nodule"], strict=True)]
    assert points["nodule"].tolist() == rows["nodule"].astype(str).tolist()


def test_an_unlabelled_manifest_has_a_map(cohort: Any, tmp_path: Path) -> None:
    card = DatasetCard(name=cohort.manifest.name)
    bare = Manifest(cohort.manifest.table[["sample_id", "path"]], card)
    drawn = make_map(bare, cohort.cache)
    assert {file.name for file in drawn.save(tmp_path).iterdir()} == {
        "all.png",
        "all.svg",
        "coordinates.csv",
        "map.html",
    }
    with pytest.raises(MedprobeError, match="unlabelled"):
        make_map(bare, cohort.cache, color=["class"])


def test_rare_values_share_grey() -> None:
    values = np.array([f"site {k}" for k in range(MOST_VALUES + 5) for _ in range(30 - k)] + [""] * 3, dtype=object)
    found = dict(layers(values))
    assert list(found)[:3] == [OTHER, NOT_KNOWN, "site 0"]
    assert len(found) == MOST_VALUES + 2
    assert sorted(np.concatenate(list(found.values())).tolist()) == list(range(len(values)))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"color": ["sites"]}, 'Did you mean "site"'),
        ({"color": ["group_id"]}, "unknown colour"),
        ({"color": ["error"]}, "--run"),
        ({"method": "isomap"}, "pca"),
        ({"neighbours": 5}, "PCA has no"),
        ({"method": "tsne", "neighbours": 60}, "from 2 to 59"),
        ({"pooling": "mean"}, "cls"),
        ({"most": 3}, "at least 5"),
    ],
)
def test_what_cannot_be_drawn_is_refused(cohort: Any, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(MedprobeError, match=re.escape(words)):
        make_map(cohort.manifest, cohort.cache, **settings)


def test_only_what_there_is_to_colour_by_is_offered(cohort: Any) -> None:
    table = cohort.manifest.table.drop(columns=["label", "split"], errors="ignore")
    card = DatasetCard.of("", name=cohort.manifest.name, root=cohort.manifest.card.root)
    with pytest.raises(MedprobeError, match="unknown colour") as caught:
        make_map(Manifest(table, card, cohort.manifest.path), cohort.cache, color=["sites"])
    assert not {"class", "split", "error"} & set(re.findall(r"\w+", str(caught.value).partition("there are")[2]))


def test_a_run_of_another_manifest_or_cache_is_refused(
    cohort: Any, make_cohort: Callable[..., Any], tmp_path: Path, folds: Run
) -> None:
    other = make_cohort(tmp_path, name="other")
    with pytest.raises(MedprobeError, match="another manifest"):
        make_map(other.manifest, other.cache, run=folds)
    spec = dataclasses.replace(cohort.cache.spec, backbone="another")
    same = dataclasses.replace(cohort.cache, spec=spec)
    with pytest.raises(MedprobeError, match="on which the run has no system"):
        make_map(cohort.manifest, same, run=folds)


def test_the_command_writes_and_refuses(cohort: Any, tmp_path: Path, medprobe: Callable) -> None:
    said = medprobe("map", cohort.path, "--out", tmp_path / "map", "--color", "site")
    assert (said.status, (tmp_path / "map" / "site.svg").is_file()) == (0, True)
    for more in (["--color", "age"], ["--run", tmp_path], ["--backbone", "nett"], ["--neighbours", 3]):
        said = medprobe("map", cohort.path, "--out", tmp_path / "none", *more)
        assert (said.status, said.out, said.err.count("error: ")) == (1, "", 1)
    assert not (tmp_path / "none").exists()

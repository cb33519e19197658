"""Which units were wrong, which labels are suspected, what is near them, and the page that shows it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from medprobe.base import MedprobeError, MedprobeWarning, ReportError
from medprobe.evaluate import Run, SystemKey
from medprobe.evaluate.statistics.summary import systems_by_score
from medprobe.explore import Errors, find_errors, write_errors_page
from medprobe.manifests import DatasetCard, Manifest
from medprobe.probe import retrieve, run_probes
from sklearn.neighbors import NearestNeighbors


def _by_pandas(run: Run, manifest: Manifest, system: SystemKey) -> pd.DataFrame:
    """Wrong, tested and mean probabilities of each unit id, from the run's own table."""
    rows = run.predictions.query("split == 'test'")
    rows = rows[(rows[list(SystemKey._fields)] == list(system)).all(axis=1)]
    proba = np.stack(rows["proba"].map(np.asarray).tolist()).astype(float)
    flat = pd.DataFrame(proba, columns=[f"p_{name}" for name in run.classes])
    flat["unit_id"] = manifest.units().unit_id[rows["unit"]]
    flat["wrong"] = proba.argmax(axis=1) != rows["y"].to_numpy()
    found = flat.groupby("unit_id").mean()
    return found.assign(wrong=flat.groupby("unit_id")["wrong"].sum(), tested=flat.groupby("unit_id").size())


@pytest.mark.parametrize("protocol", ["kfold", "holdout", "official"])
def test_counts_and_probabilities_are_those_of_the_run(cohort: Any, protocol: str) -> None:
    run = cohort.run(protocol=protocol, seeds=3)
    found = find_errors(run, cohort.manifest, neighbours=0)
    expected = _by_pandas(run, cohort.manifest, found.system)
    columns = ["wrong", "tested", *(f"p_{name}" for name in run.classes)]
    got = found.table.set_index("unit_id").loc[expected.index, columns]
    np.testing.assert_allclose(got.to_numpy(float), expected[columns].to_numpy(float), rtol=1e-12)
    of_label = [row[f"p_{row['label']}"] for row in found.table.to_dict("records")]
    np.testing.assert_array_equal(found.table["label_probability"], of_label)
    if protocol == "official":
        units = cohort.manifest.units()
        assert set(found.table["unit_id"]) == set(units.unit_id[units.split == "test"])


def test_a_flipped_label_is_suspected_as_cleanlab_does(cohort: Any, folds: Run) -> None:
    cleanlab = pytest.importorskip("cleanlab.filter")
    found = find_errors(folds, cohort.manifest, neighbours=0)
    suspects = found.table.loc[found.table["suspect"], "unit_id"]
    assert set(cohort.flipped) <= set(suspects)
    assert found.table["suspect"].iloc[: len(suspects)].all(), "suspects come first"
    y = found.table["label"].map(folds.classes.index).to_numpy()
    proba = found.table[[f"p_{name}" for name in folds.classes]].to_numpy()
    np.testing.assert_array_equal(found.table["suspect"], cleanlab.find_label_issues(y, proba, n_jobs=1))


def test_without_cleanlab_the_rest_is_there_and_a_note(
    cohort: Any, folds: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cleanlab.filter", None)
    with pytest.warns(MedprobeWarning, match="cleanlab"):
        found = find_errors(folds, cohort.manifest, neighbours=0)
    assert not found.has_suspects
    assert len(found.table) == 60


@pytest.mark.parametrize("protocol", ["kfold", "official"])
def test_neighbours_are_the_nearest_trainable_ones_of_other_patients(cohort: Any, protocol: str) -> None:
    run, units = cohort.run(protocol=protocol), cohort.manifest.units()
    found = find_errors(run, cohort.manifest, [cohort.cache], neighbours=2)
    by_unit = cohort.manifest.table.set_index("unit_id").loc[units.unit_id]
    X = cohort.cache.load("cls")[cohort.cache.rows_of(by_unit["sample_id"].to_numpy())]
    for row in found.table.to_dict("records"):
        unit = list(units.unit_id).index(row["unit_id"])
        base = np.flatnonzero(units.group != units.group[unit])
        if protocol == "official":
            base = base[units.split[base] == "train"]
        distance, place = NearestNeighbors(n_neighbors=2, metric="cosine").fit(X[base]).kneighbors(X[[unit]])
        near = by_unit.iloc[base[place[0]]]
        assert [row["neighbour_1"], row["neighbour_2"]] == near["path"].tolist()
        assert [row["neighbour_1_label"], row["neighbour_2_label"]] == near["label"].tolist()
        similarity = [row["neighbour_1_similarity"], row["neighbour_2_similarity"]]
        np.testing.assert_allclose(similarity, 1 - distance[0], atol=1e-6)


def test_a_multilabel_unit_has_a_row_per_label(make_cohort: Callable[..., Any], tmp_path: Path) -> None:
    cohort = make_cohort(tmp_path, "multilabel")
    run = cohort.run(protocol="kfold", folds=5, probes=("knn",))
    table = find_errors(run, cohort.manifest, [cohort.cache], neighbours=1).table
    assert table.groupby("unit_id")["finding"].agg(sorted).map(tuple).unique().tolist() == [("effusion", "nodule")]
    rows = run.predictions.query("split == 'test'")
    wrong = (np.stack(rows["proba"].tolist()) >= 0.5) != np.stack(rows["y"].tolist())
    assert table.groupby("finding")["wrong"].sum().tolist() == wrong.sum(axis=0).tolist()
    truth = cohort.manifest.table.set_index("path")["nodule"].map({0: "no", 1: "yes"})
    nodule = table[table["finding"] == "nodule"]
    assert nodule["label"].tolist() == truth.loc[nodule["path"]].tolist()
    assert nodule["neighbour_1_label"].tolist() == truth.loc[nodule["neighbour_1"]].tolist()


def test_under_external_the_tested_manifest_is_joined(make_cohort: Callable[..., Any], tmp_path: Path) -> None:
    here, there = (make_cohort(tmp_path, "binary", name=name) for name in ("here", "elsewhere"))
    external = there.manifest, [there.cache]
    run = here.run(external=external)
    found = find_errors(run, here.manifest, [here.cache], external=external, neighbours=1)
    assert len(found.table) == len(there.manifest)
    assert found.table["path"].str.startswith("img/elsewhere-").all()
    assert found.table["neighbour_1"].str.startswith("img/here-").all()
    paths = pd.concat([here.manifest.table["path"], there.manifest.table["path"]], ignore_index=True)
    assert paths[found.images[:, 0]].tolist() == found.table["path"].tolist()
    with pytest.raises(ReportError, match="elsewhere"):
        find_errors(run, here.manifest, [here.cache])


def test_a_unit_of_several_images_names_them_all(make_cohort: Callable[..., Any], tmp_path: Path) -> None:
    cohort = make_cohort(tmp_path, images=3)
    found = find_errors(cohort.run(), cohort.manifest, [cohort.cache])
    expected = cohort.manifest.table.groupby("unit_id", sort=False)["path"].agg("; ".join)
    assert found.table["path"].tolist() == expected.loc[found.table["unit_id"]].tolist()
    assert set(found.table["images"]) == {3}


def test_frames_of_a_volume_are_a_range(make_cohort: Callable[..., Any], tmp_path: Path) -> None:
    cohort = make_cohort(tmp_path, images=2)
    table = cohort.manifest.table.assign(path="volume.nii.gz#axial", frame=np.arange(120))
    manifest = Manifest(table, cohort.manifest.card)
    run = run_probes(cohort.manifest, [cohort.cache], probes=("centroid",), seeds=1, n_jobs=1, progress=False)
    run.info["dataset"]["digest"] = manifest.digest
    row = find_errors(run, manifest, neighbours=0).table.iloc[0]
    frames = table.loc[table["unit_id"] == row["unit_id"], "frame"]
    assert (row["path"], row["frame"]) == ("volume.nii.gz#axial", f"{frames.min()} to {frames.max()}")


def test_neighbours_of_a_search_are_what_it_found(cohort: Any) -> None:
    run, units = retrieve(cohort.manifest, [cohort.cache], progress=False), cohort.manifest.units()
    assert run.retrieved is not None
    table = find_errors(run, cohort.manifest, [cohort.cache]).table.set_index("unit_id")
    path = cohort.manifest.table.set_index("unit_id").loc[units.unit_id, "path"].to_numpy()
    assert len(table) == len(run.retrieved) == (units.split == "test").sum()
    for unit, found in zip(run.retrieved["unit"], run.retrieved["found"], strict=True):
        near = table.loc[units.unit_id[unit], ["neighbour_1", "neighbour_2", "neighbour_3"]]
        assert near.tolist() == path[list(found)[:3]].tolist()


def test_the_best_system_under_the_largest_budget_is_shown(cohort: Any) -> None:
    run = cohort.run(probes=("centroid", "knn"), shots=[2], train_fraction=[1.0], protocol="holdout")
    chosen = systems_by_score(run)[0]
    scores = run.scores.query("split == 'test' and metric == @run.primary_metric and budget == @chosen.budget")
    assert chosen.probe == scores.groupby("probe")["value"].mean().idxmax()
    assert run.scores.groupby("budget")["n_train"].mean().idxmax() == chosen.budget
    assert systems_by_score(run, probe="knn")[0].probe == "knn"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"backbone": "nett"}, 'Did you mean "net"'),
        ({"probe": "gbm"}, "centroid"),
        ({"caches": ()}, "--neighbours 0"),
        ({"other": True}, "made with"),
    ],
)
def test_what_does_not_belong_together_is_refused(
    cohort: Any, folds: Run, settings: dict[str, Any], words: str
) -> None:
    settings = {"caches": [cohort.cache]} | settings
    manifest = cohort.manifest
    if settings.pop("other", False):
        manifest = Manifest(manifest.table.assign(label="glioma"), manifest.card)
    with pytest.raises(MedprobeError, match=re.escape(words)):
        find_errors(folds, manifest, **settings)


@pytest.fixture(scope="module")
def page(cohort: Any, folds: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Errors, Path]:
    """The page of `cohort`, of which one image cannot be read."""
    folder = tmp_path_factory.mktemp("page")
    shutil.copytree(cohort.path.parent, folder / "data")
    manifest = Manifest.load(folder / "data" / cohort.path.name)
    found = find_errors(folds, manifest, [cohort.cache])
    (folder / "data" / found.table["path"].iloc[0]).write_bytes(b"no image")
    return found, write_errors_page(found, folder / "errors.html")


def test_the_page_shows_every_error_with_its_neighbours(page: tuple[Errors, Path]) -> None:
    found, file = page
    text, shown = file.read_text(), found.table[found.worth_a_look]
    assert text.count("<img ") + text.count('class="hole"') == 4 * len(shown)
    assert 1 <= text.count('class="hole"') <= 4
    assert all(path in text for path in shown["path"])
    assert "images of patients" in text
    assert str(file.parent) not in text
    assert not re.search(r"<script|https?://", text)
    assert write_errors_page(found, file.with_name("again.html")).read_text() == text


@pytest.mark.skipif(not shutil.which("chromium"), reason="there is no chromium here")
def test_a_browser_decodes_every_thumbnail(page: tuple[Errors, Path], tmp_path: Path) -> None:
    script = (
        "<script>onload = () => document.title = document.images.length"
        " + ' ' + [...document.images].every(one => one.naturalWidth > 0)</script>"
    )
    text = re.sub("<meta http-equiv[^>]*>", "", page[1].read_text()).replace("</body>", f"{script}</body>")
    (tmp_path / "page.html").write_text(text)
    call = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'user'}"]
    words = ["--virtual-time-budget=2000", "--dump-dom", (tmp_path / "page.html").as_uri()]
    shown = subprocess.run([*call, *words], capture_output=True, text=True, check=True, timeout=600)
    assert f"<title>{text.count('<img ')} true</title>" in shown.stdout


def test_the_command_prints_writes_and_refuses(cohort: Any, folds: Run, tmp_path: Path, medprobe: Callable) -> None:
    folds.save(tmp_path / "run")
    words = ("errors", tmp_path / "run", "--manifest", cohort.path)
    said = medprobe(*words, columns=200)
    assert (said.status, "img/cohort-" in said.out, "60 units tested" in said.out) == (0, True, True)
    said = medprobe(*words, "--out", tmp_path / "errors", "--page")
    assert said.status == 0
    assert sorted(file.name for file in (tmp_path / "errors").iterdir()) == ["errors.csv", "errors.html"]
    pd.testing.assert_frame_equal(
        pd.read_csv(tmp_path / "errors" / "errors.csv"),
        find_errors(folds, cohort.manifest, [cohort.cache]).table,
        check_dtype=False,
    )
    for name in ("errors.csv", "errors.html"):
        text = (tmp_path / "errors" / name).read_text()
        assert not any(secret in text for secret in ("patient-0", str(tmp_path), str(cohort.path.parent)))
    for more in (["--page"], ["--out", tmp_path / "run"], ["--probe", "svm"], ["--cache", tmp_path / "nowhere"]):
        said = medprobe(*words, *more)
        assert (said.status, said.out, said.err.count("error: ")) == (1, "", 1)
    card = DatasetCard(name="cohort", task="binary", classes=["glioma", "meningioma"])
    Manifest(cohort.manifest.table.query("label != 'pituitary'"), card).save(tmp_path / "few.parquet")
    said = medprobe("errors", tmp_path / "run", "--manifest", tmp_path / "few.parquet")
    assert (said.status, "made with" in said.notes) == (1, True)

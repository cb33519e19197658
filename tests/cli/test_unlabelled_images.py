"""Unlabelled images on the command line: embedded once, searched, and probed under tables of labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from medprobe.cache import find_caches
from medprobe.extract.backbone import Backbone
from PIL import Image

_IMAGES = 24
_TINY = ("-b", "timm:test_vit@random", "--image-size", "32", "--workers", "0", "--runtime", "torch")


@pytest.fixture
def study(tmp_path: Path, medprobe) -> Path:
    """`scans.parquet` of 24 images, two of them identical; embeddings; labels of all (`all.csv`) and of a part."""
    random, names = np.random.default_rng(0), [f"{number:02d}.png" for number in range(_IMAGES)]
    (tmp_path / "scans").mkdir()
    for number, name in enumerate(names):
        pixels = random.integers(60 * (number % 3), 60 * (number % 3) + 120, (20, 24), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "scans" / name)
    (tmp_path / "scans" / names[0]).write_bytes((tmp_path / "scans" / names[3]).read_bytes())
    table = pd.DataFrame({"file": names, "grade": [number % 3 for number in range(_IMAGES)]})
    table = table.assign(tumour=np.where(table["grade"] == 0, "no", "yes"), patient=[name[:2] for name in names])
    table.to_csv(tmp_path / "all.csv")
    table[3:21].to_csv(tmp_path / "part.csv")
    built = medprobe(
        "manifest", "build", "folder", tmp_path / "scans", "--unlabelled", "-o", tmp_path / "scans.parquet"
    )
    assert built.status == 0, built.err
    extracted = medprobe("extract", tmp_path / "scans.parquet", *_TINY)
    assert extracted.status == 0, extracted.err
    assert f"medprobe retrieve {tmp_path / 'scans.parquet'}" in extracted.out
    return tmp_path


def test_labels_a_part_and_a_fixed_manifest_are_probed_without_the_network(study: Path, medprobe, monkeypatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("the network ran")

    monkeypatch.setattr(Backbone, "embed", never)
    given = ("--image-column", "file", "--root", study / "scans")
    tables = {
        "grades": ("all.csv", "--label-column", "grade", "--name", "scans"),
        "tumour": ("all.csv", "--label-column", "tumour"),
        "part": ("part.csv", "--label-column", "tumour", "--name", "scans"),
        "hashed": ("all.csv", "--label-column", "tumour", "--group-column", "patient", "--name", "scans"),
    }
    for name, (table, *options) in tables.items():
        built = medprobe("manifest", "build", "csv", study / table, *given, *options, "-o", study / f"{name}.parquet")
        assert built.status == 0, built.err
    fixed = ("--fix", "drop-duplicates", "--out", study / "fixed.parquet")
    medprobe("manifest", "check", study / "grades.parquet", *fixed)
    moved = medprobe("extract", study / "tumour.parquet", *_TINY)
    assert "24 of 24 vectors were taken from scans" in moved.notes
    hashed = study / "hashed.parquet"
    refused = medprobe("probe", hashed, "--out", study / "runs" / "hashed")
    assert f"run `medprobe extract {hashed} " in refused.notes
    assert medprobe("extract", hashed, *_TINY).status == 0
    rows = {}
    for name in (*tables, "fixed"):
        words = ("--probe", "centroid", "--seeds", 1, "--out", study / "runs" / name)
        probed = medprobe("probe", study / f"{name}.parquet", *words)
        assert probed.status == 0, probed.err
        rows[name] = len(pd.read_parquet(study / f"{name}.parquet"))
    assert rows == {"grades": 24, "tumour": 24, "part": 18, "hashed": 24, "fixed": 23}
    assert len(find_caches(study / "embeddings", "scans")) == 1


def test_the_nearest_images_are_listed_without_scores(study: Path, medprobe) -> None:
    near = ("retrieve", study / "scans.parquet", "--out", study / "near", "--k", "1,3")
    assert medprobe(*near).status == 0
    table = pd.read_csv(study / "near" / "nearest.csv")
    [cache] = find_caches(study / "embeddings", "scans")
    vectors = cache.load("cls").astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    distance = 1 - vectors @ vectors.T
    np.fill_diagonal(distance, np.inf)
    distance[[0, 3], [3, 0]] = np.inf  # identical images
    ids = cache.sample_ids
    assert table["query"].tolist() == np.repeat(ids, 3).tolist()
    assert table["rank"].tolist() == [1, 2, 3] * _IMAGES
    expected = np.sort(distance, axis=1)[:, :3]
    np.testing.assert_allclose(table["distance"].to_numpy().reshape(-1, 3), expected, atol=1e-6)
    row = {name: place for place, name in enumerate(ids)}
    pairs = [distance[row[one], row[other]] for one, other in zip(table["query"], table["found"], strict=True)]
    np.testing.assert_allclose(pairs, table["distance"], atol=1e-6)
    assert medprobe(*near).status == 1
    assert medprobe(*near, "--overwrite", "--same-group").status == 0
    again = pd.read_csv(study / "near" / "nearest.csv")
    first = again[(again["query"] == "00.png") & (again["rank"] == 1)]
    assert first["found"].tolist() == ["03.png"]
    assert medprobe("retrieve", study / "scans.parquet", "--out", study / "scans").status == 1


def test_what_needs_labels_refuses_with_one_message(study: Path, medprobe) -> None:
    scans, out = study / "scans.parquet", study / "runs" / "out"
    labelled = study / "labelled.parquet"
    given = ("--image-column", "file", "--label-column", "tumour", "--root", study / "scans", "-o", labelled)
    assert medprobe("manifest", "build", "csv", study / "all.csv", *given, "--name", "scans").status == 0
    commands = {
        "probing": ("probe", scans, "--out", out),
        "testing on it": ("probe", labelled, "--external", scans, "--out", out),
        "fine-tuning": ("finetune", scans, *_TINY[:4], "--out", out),
        "a study": ("study", "init", scans, "--out", study / "study.yaml"),
    }
    for purpose, words in commands.items():
        refused = medprobe(*words)
        assert (refused.status, refused.out) == (1, "")
        assert f"scans: is unlabelled (its card has no task), and {purpose} needs labels." in refused.notes
    assert medprobe("study", "init", labelled, "--out", study / "study.yaml").status == 0
    text = (study / "study.yaml").read_text(encoding="utf-8")
    (study / "study.yaml").write_text(text.replace(labelled.name, scans.name), encoding="utf-8")
    planned = medprobe("run", study / "study.yaml", "--plan")
    assert planned.status == 1
    assert "a study needs labels" in planned.notes

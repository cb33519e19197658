"""What the page of a manifest promises: it stands alone, tells what is there, and names nobody."""

from __future__ import annotations

import re
import shutil
from base64 import b64decode
from collections import Counter
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from html_page import HtmlPage, in_a_browser
from medprobe.manifests import DatasetCard, Manifest
from medprobe.report import write_manifest_page
from PIL import Image

_SIZES = ((30, 20), (24, 24), (16, 40))
_CLASSES = ("<b>benign</b>", "malignant & odd")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """24 images of twelve patients in two classes; those of the second are brighter, in colour, and one is damaged."""
    folder = tmp_path_factory.mktemp("Dr_Zieglmaier")
    random = np.random.default_rng(0)
    rows = []
    for number in range(24):
        patient = number // 2
        positive = patient % 2
        size = _SIZES[number % 3]
        shape = (*size[::-1], 3) if positive else size[::-1]
        pixels = random.integers(128 * positive, 128 * positive + 128, shape, np.uint8)
        path = f"Kowalczyk-{patient}/scan-{number}.png"
        (folder / path).parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / path)
        rows.append({
            "sample_id": f"scan-{number}", "path": path, "label": _CLASSES[positive], "group_id": f"PAT-{patient:04d}",
            "split": "test" if patient > 8 else "train", "age": 30 + patient, "site": ("Paris", "Lyon")[patient % 2],
            "who": f"Kowalczyk {number}",
        })  # fmt: skip
    (folder / rows[0]["path"]).write_bytes(b"\x89PNG\r\n\x1a\n")
    card = DatasetCard.of(
        "card", name="scans & 'co'", task="binary", classes=list(_CLASSES), attributes=["age", "site", "who"],
        root=str(folder), citation="Doe 2024",
    )  # fmt: skip
    return Manifest(pd.DataFrame(rows), card).save(folder / "scans.parquet")


@pytest.fixture(scope="module")
def text(cohort: Manifest) -> str:
    assert cohort.path
    return write_manifest_page(cohort, cohort.path.with_suffix(".html"), per_class=3).read_text(encoding="utf-8")


def test_the_page_loads_and_runs_nothing(text: str) -> None:
    page = HtmlPage(text)
    assert page.faults == []
    assert not {tag for tag, _ in page.elements} & {"script", "link", "iframe", "object", "embed", "base", "form"}
    assert all(link.startswith("#") for link in page.attributes("href"))
    assert all(source.startswith("data:image/") for source in page.attributes("src"))
    assert not re.search(r"url\((?!#)|@import|https?://|\bon\w+=", text)
    assert page.policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline';")


def test_the_page_tells_what_is_in_the_manifest(text: str) -> None:
    words = HtmlPage(text).words.replace("\u00a0", " ")
    for expected in (
        "24 images of 12 groups in 2 classes",
        "Every class has 50.0% of images.",
        "Always giving the majority class has an accuracy of 0.333 on test",
        "1 image could not be read:",
        "Nearly every image has its own value of who",
        "3 different sizes, widths from 16 to 30 and heights from 20 to 40 pixels",
        "site: images by value and class.",
        "Doe 2024",
        "<b>benign</b>",
    ):
        assert expected in words, expected
    assert "<b>benign" not in text


def test_each_class_shows_its_examples(text: str) -> None:
    images = [attrs for tag, attrs in HtmlPage(text).elements if tag == "img" and "image/png" in str(attrs["src"])]
    assert Counter(str(attrs["alt"]).rsplit(",", 1)[0] for attrs in images)["malignant & odd"] == 3
    for attrs in images:
        picture = Image.open(BytesIO(b64decode(str(attrs["src"]).partition(",")[2])))
        assert max(picture.size) == 120
        bright = np.asarray(picture.convert("L")).mean() > 128
        assert bright == str(attrs["alt"]).startswith("malignant")


def test_figures_say_what_they_show(text: str) -> None:
    page = HtmlPage(text)
    figures = {str(attrs["id"]): attrs for tag, attrs in page.elements if tag == "figure"}
    assert list(figures) == ["classes-figure", "sizes-figure", "intensities-figure"]
    expected = [str(attrs["alt"]) for tag, attrs in page.elements if tag == "img"]
    [grey] = re.findall(r"Mean grey level: <b>benign</b> (\d+), malignant & odd (\d+)", " ".join(expected))
    assert int(grey[0]) == pytest.approx(64, abs=4)
    assert int(grey[1]) == pytest.approx(192, abs=4)


def test_the_page_names_no_patient_no_file_and_no_folder(text: str, cohort: Manifest) -> None:
    assert cohort.path
    for secret in ("Kowalczyk", "PAT-", "scan-", "Zieglmaier", str(cohort.root)):
        assert secret not in text


def test_the_same_manifest_gives_the_same_page(text: str, cohort: Manifest, tmp_path: Path) -> None:
    again = write_manifest_page(cohort, tmp_path / "again.html", per_class=3)
    assert again.read_text(encoding="utf-8") == text


@pytest.mark.parametrize("task", ["multilabel", "multiclass"])
def test_many_classes_without_groups_or_readable_images_still_make_a_page(tmp_path: Path, task: str) -> None:
    names = [f"label {number}" for number in range(70)]
    table = pd.DataFrame({"sample_id": [f"s{n}" for n in range(140)], "path": [f"{n}.png" for n in range(140)]})
    for number, name in enumerate(names):
        table[name] = [int(row % 70 == number) for row in range(140)]
    table["label"] = [names[row % 70] for row in range(140)]
    card = DatasetCard.of("card", name="chest", task=task, classes=names, root=str(tmp_path))
    page = HtmlPage(write_manifest_page(Manifest(table, card), tmp_path / "chest.html").read_text())
    assert page.faults == []
    assert "140 images could not be read: the file is missing (140)" in page.words
    assert "The first 60 of 70." in page.words
    assert "no-patients" in page.words
    assert ("140 images with 70 labels" if task == "multilabel" else "140 images in 70 classes") in page.words


def test_show_writes_the_page_where_it_is_asked_to(cohort: Manifest, tmp_path: Path, medprobe) -> None:
    out = tmp_path / "page.html"
    assert medprobe("manifest", "show", cohort.path, "--out", out).status == 0
    assert out.read_text().startswith("<!DOCTYPE html>")
    assert medprobe("manifest", "show", cohort.path, "--out", out).status == 1
    assert medprobe("manifest", "show", cohort.path, "--out", tmp_path / "page.pdf").status == 1


@pytest.mark.skipif(not shutil.which("chromium"), reason="there is no chromium here")
def test_a_browser_shows_every_picture(text: str, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    # The browser runs what the test adds: it reports how wide the page is and whether each picture was decoded.
    probe = (
        "<script>onload = () => document.title = [...document.images].every(picture => picture.naturalWidth > 0)"
        " + ' ' + (document.documentElement.scrollWidth <= innerWidth)</script>"
    )
    page.write_text(re.sub("<meta http-equiv[^>]*>", "", text).replace("</body>", f"{probe}</body>"), encoding="utf-8")
    shown = in_a_browser(page, "--window-size=500,900", "--virtual-time-budget=2000")
    assert "<title>true true</title>" in shown

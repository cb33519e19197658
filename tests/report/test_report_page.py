"""What the page promises: it stands alone, is sound HTML, tells the truth of the run, and no more than it may."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from base64 import b64decode
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from html_page import HtmlPage, in_a_browser
from medprobe.base import ReportError
from medprobe.evaluate import Run, summarise
from medprobe.report import make_report
from medprobe.report.run.citation import commands
from medprobe.report.run.data import load_report_data
from medprobe.report.run.verdict import conclude

_LOADING = {"script", "link", "iframe", "object", "embed", "audio", "video", "source", "base", "form", "image"}
TASKS = ("binary", "multiclass", "ordinal", "multilabel")


@pytest.fixture(scope="session")
def pages(reported: dict[str, Path]) -> dict[str, str]:
    return {task: (folder / "report.html").read_text(encoding="utf-8") for task, folder in reported.items()}


@pytest.mark.parametrize("task", TASKS)
def test_a_page_loads_nothing_from_anywhere(pages: dict[str, str], task: str) -> None:
    page = HtmlPage(pages[task])
    assert not {tag for tag, _ in page.elements} & _LOADING
    links = [
        link for name in ("href", "src", "xlink:href", "srcset", "data", "action") for link in page.attributes(name)
    ]
    assert links
    assert all(link.startswith(("#", "data:image/svg+xml;base64,")) for link in links)
    assert not re.search(r"url\((?!#)|@import|https?://|\bon\w+=", pages[task])
    # Were there ever anything to load, a browser would not.
    assert page.policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline';")


@pytest.mark.parametrize("task", TASKS)
def test_a_page_is_balanced_and_every_id_is_one_of_a_kind(pages: dict[str, str], task: str) -> None:
    assert HtmlPage(pages[task]).faults == []


@pytest.mark.parametrize("task", TASKS)
def test_a_page_can_be_read_without_eyes(pages: dict[str, str], task: str) -> None:
    page = HtmlPage(pages[task])
    assert ("html", {"lang": "en"}) in page.elements
    assert pages[task].startswith("<!DOCTYPE html>")
    assert re.search(r"<title>[^<]+</title>", pages[task])
    images = [attrs for tag, attrs in page.elements if tag == "img"]
    assert len(images) >= 3
    assert all(len(attrs.get("alt") or "") > 40 for attrs in images)
    assert all(attrs.get("scope") in ("col", "row") for tag, attrs in page.elements if tag == "th")
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 == levels.count(1)
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_the_figures_of_a_page_are_its_files(pages: dict[str, str], reported: dict[str, Path]) -> None:
    sources = [attrs["src"] or "" for tag, attrs in HtmlPage(pages["binary"]).elements if tag == "img"]
    drawn = {b64decode(source.removeprefix("data:image/svg+xml;base64,")) for source in sources}
    assert drawn == {path.read_bytes() for path in (reported["binary"] / "figures").glob("*.svg")}


@pytest.mark.parametrize("task", TASKS)
def test_a_page_is_small_enough_to_be_sent(pages: dict[str, str], task: str) -> None:
    assert len(pages[task].encode()) < 1_000_000


def test_a_page_tells_no_patient_no_path_and_no_hour(pages: dict[str, str], reported: dict[str, Path]) -> None:
    for task, folder in reported.items():
        assert "PATIENT" not in pages[task]
        assert str(folder.parent) not in pages[task]
        assert not re.search(r"(?<![\w.])/(home|tmp|work|root|var|usr)\b", pages[task])
        assert not re.search(r"\b20\d\d-\d\d-\d\d|\b\d\d:\d\d\b", pages[task])


def test_a_page_answers_first(pages: dict[str, str], runs: dict[str, Path]) -> None:
    verdict = conclude(load_report_data(runs["binary"]))
    words = HtmlPage(pages["binary"]).words
    assert words.index(verdict.headline) < words.index("Scores")
    for line in verdict.lines:
        assert " ".join(line.split()) in words


def test_a_page_shows_every_system_with_its_numbers(pages: dict[str, str], runs: dict[str, Path]) -> None:
    for task, folder in runs.items():
        words = HtmlPage(pages[task]).words
        for row in summarise(Run.load(folder)).to_dict("records"):
            assert row["backbone"] in words
            assert f"{row['mean']:.3f}" in words


def test_a_page_has_the_facts_of_data_embeddings_and_methods(pages: dict[str, str], runs: dict[str, Path]) -> None:
    words = HtmlPage(pages["multiclass"]).words
    info = Run.load(runs["multiclass"]).info
    for fact in ("CC-BY-4.0", "Doe et al. 2020", info["dataset"]["digest"], "torch 2.6.0", "32 × 32"):
        assert fact in words
    for cache in info["caches"]:
        assert cache["fingerprint"] in words
    for name, count in info["dataset"]["units_per_class"].items():
        assert re.search(rf"{name} ?{count}", words)
    for said in ("Nadeau and Bengio", "Holm (1979)", "jackknife", "70 % train", "fitted again on training"):
        assert said in words.replace("\u00a0", " ")


@pytest.fixture(scope="session")
def official(tmp_path_factory: pytest.TempPathFactory, make_run: Callable[..., Run]) -> Path:
    """A run on the data set's own split, whose test has but one of the two classes."""
    home = tmp_path_factory.mktemp("official")
    run = make_run(home, "binary", tested=lambda patient: patient < 24 and patient % 2 == 0, seeds=range(2))
    return run.save(home / "run")


def test_a_metric_without_any_value_is_refused_with_the_reason(official: Path) -> None:
    with pytest.raises(ReportError, match=r"roc_auc has no value for any system \(.*--metric"):
        make_report(official).save(official)


def test_an_official_split_is_told_with_its_counts(official: Path) -> None:
    page = HtmlPage(make_report(official, metric="accuracy").save(official).read_text(encoding="utf-8"))
    words = page.words.replace("\u00a0", " ")
    assert "Protocol official: the test part is the data set's own" in words
    assert "each of 2 seeds draws 90 % of the training groups" in words
    assert "paired jackknife over groups" in words
    counts = Run.load(official).info["dataset"]["units_per_class_and_split"]
    assert list(counts) == ["train", "test"]
    for name in ("benign", "malignant"):
        train, test = counts["train"][name], counts["test"][name]
        assert f"{name}{train}{test}{train + test}" in words
    assert not (official / "figures" / "roc.svg").exists()


def test_labels_that_exclude_no_other_have_no_confusion_matrix(reported: dict[str, Path]) -> None:
    assert not (reported["multilabel"] / "figures" / "confusion.svg").exists()
    assert (reported["multiclass"] / "figures" / "confusion.svg").exists()


def test_only_a_binary_task_has_roc_curves(reported: dict[str, Path]) -> None:
    assert [task for task in TASKS if (reported[task] / "figures" / "roc.svg").exists()] == ["binary"]


_NASTY = "<script>alert('x')</script>"


@pytest.fixture(scope="session")
def nasty(tmp_path_factory: pytest.TempPathFactory, make_run: Callable[..., Run]) -> Path:
    """A run in which every name holds signs of HTML, LaTeX, Markdown or mathematics."""
    home = tmp_path_factory.mktemp("nasty")
    classes = [_NASTY, '$x_{1$ & "b" \\frac% 好']
    backbones = {'a"b&c<img src=x onerror=alert(1)>$y$ |`*': 1.0, "n" * 120: 0.8}
    run = make_run(home, "binary", name="x & 'y' $z_{$", classes=classes, backbones=backbones, probes=("logreg",))
    return run.save(home / "run")


def test_names_with_markup_are_shown_not_run(nasty: Path) -> None:
    text = make_report(nasty).save(nasty).read_text(encoding="utf-8")
    page = HtmlPage(text)
    assert page.faults == []
    assert not {tag for tag, _ in page.elements} & _LOADING
    assert all(link.startswith("data:") for link in page.attributes("src"))
    assert not [name for _, attrs in page.elements for name in attrs if name.startswith("on")]
    assert _NASTY in page.words
    assert 'a"b&c<img src=x onerror=alert(1)>$y$ |`*' in page.words
    assert "x & 'y' $z_{$" in page.words


def test_the_command_on_the_page_asks_for_the_same_run(pages: dict[str, str], runs: dict[str, Path]) -> None:
    command = re.search(r"<pre>(.*?)\n", pages["ordinal"])
    assert command
    words = shlex.split(command[1])
    assert words[:3] == ["medprobe", "probe", "ordinal.parquet"]
    info = json.loads((runs["ordinal"] / "run.json").read_text())
    assert words[words.index("--seeds") + 1] == str(len(info["seeds"]))
    assert words[words.index("--protocol") + 1] == info["protocol"]
    assert words[words.index("--metric") + 1] == info["metric"]
    given = [words[place + 1] for place, word in enumerate(words) if word == "--probe"]
    assert given == list(info["probes"])


def test_the_command_survives_a_shell_whatever_the_names(nasty: Path) -> None:
    words = shlex.split(commands(load_report_data(nasty))[0])
    assert words[2] == "x & 'y' $z_{$.parquet"
    assert any(word.startswith('a"b&c<img src=x onerror=alert(1)>$y$ |`*@') for word in words)


@pytest.mark.skipif(not shutil.which("chromium"), reason="there is no chromium here")
def test_a_browser_finds_nothing_to_complain_of(nasty: Path, tmp_path: Path) -> None:
    shown = in_a_browser(Path(shutil.copy(make_report(nasty).save(nasty), tmp_path)))
    assert "<h1>" in shown
    assert not re.search(r"<(script|iframe)|<img (?!src=\"data:)", shown)

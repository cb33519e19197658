"""What the figures promise: any size of run can be drawn, and the numbers behind them are right."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from medprobe.base import MedprobeWarning
from medprobe.base.text import shortened
from medprobe.evaluate import METRICS, Run, weighted_scores
from medprobe.evaluate.metrics.functions import LabeledPredictions
from medprobe.evaluate.results.predictions import ResamplePredictions
from medprobe.report.elements.html import inline
from medprobe.report.elements.theme import DARK, LIGHT, drawing, figure_bytes
from medprobe.report.plots import curve_data as details
from medprobe.report.plots import curves
from medprobe.report.plots import scores as figures
from medprobe.report.run.data import load_report_data
from medprobe.report.run.figures import draw_figures
from sklearn import metrics as reference


def predictions(task: str, classes: int = 3, units: int = 60, seeds: int = 3) -> list[ResamplePredictions]:
    """Random predictions that lean towards the truth; chances of two digits, so that there are ties."""
    made = []
    for seed in range(seeds):
        random = np.random.default_rng(seed)
        if task == "multilabel":
            y = random.integers(0, 2, (units, classes))
            proba = np.round(np.clip(random.random((units, classes)) * 0.6 + 0.4 * y, 0, 1), 2)
        else:
            y = random.integers(0, classes, units)
            proba = 1.6 * random.random((units, classes)) + np.eye(classes)[y]
            proba = np.round(proba / proba.sum(axis=1, keepdims=True), 2)
        names = [f"class {k}" for k in range(classes)]
        made.append(
            ResamplePredictions(seed, np.arange(units), np.arange(units), LabeledPredictions(y, proba, task, names))
        )
    return made


def test_the_confusion_matrix_is_that_of_scikit_learn() -> None:
    predicted = predictions("multiclass", 4)
    matrix = details.confusion(predicted)
    pairs = [(p.scored.y, p.scored.predicted) for p in predicted]
    expected = np.mean([reference.confusion_matrix(*pair, normalize="true", labels=range(4)) for pair in pairs], axis=0)
    np.testing.assert_allclose(matrix.shares, expected)
    np.testing.assert_allclose(matrix.counts.sum(), 60)


def test_a_class_that_no_seed_tests_has_no_shares_and_no_score() -> None:
    scored = LabeledPredictions(
        np.array([0, 1, 0]), np.array([[0.6, 0.2, 0.2], [0.1, 0.8, 0.1], [0.1, 0.3, 0.6]]), "multiclass", "abc"
    )
    predicted = [ResamplePredictions(0, np.arange(3), np.arange(3), scored)]
    assert np.isnan(details.confusion(predicted).shares[2]).all()
    last = details.per_class(predicted, "abc").iloc[2]
    assert last["units"] == 0
    assert np.isnan(last[["recall_mean", "f1_mean", "roc_auc_mean", "recall_sd"]].to_numpy(float)).all()
    assert last["precision_mean"] == 0


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_each_class_is_scored_as_scikit_learn_scores_it(task: str) -> None:
    (one,) = predicted = predictions(task, seeds=1)
    table = details.per_class(predicted, ["a", "b", "c"])
    truth = one.scored.truth.astype(int)
    called = one.scored.predicted if task == "multilabel" else np.eye(3, dtype=int)[one.scored.predicted]
    for c in range(3):
        row, pair, ranked = table.iloc[c], (truth[:, c], called[:, c]), (truth[:, c], one.scored.proba[:, c])
        assert row["recall_mean"] == pytest.approx(reference.recall_score(*pair))
        assert row["specificity_mean"] == pytest.approx(reference.recall_score(*pair, pos_label=0))
        assert row["precision_mean"] == pytest.approx(reference.precision_score(*pair))
        assert row["f1_mean"] == pytest.approx(reference.f1_score(*pair))
        assert row["roc_auc_mean"] == pytest.approx(reference.roc_auc_score(*ranked))
        assert row["average_precision_mean"] == pytest.approx(reference.average_precision_score(*ranked))


def test_the_area_under_the_drawn_roc_is_the_auc() -> None:
    predicted = predictions("binary", 2, units=400)
    curve = details.roc(predicted)
    assert curve is not None
    area = float(np.sum(np.diff(curve.false) * (curve.found[1:] + curve.found[:-1]) / 2))
    expected = np.mean([weighted_scores(METRICS["roc_auc"], p.scored)[0][0] for p in predicted])
    assert area == pytest.approx(expected, abs=0.005)
    assert (curve.false[0], curve.found[0], curve.found[-1]) == (0, 0, 1)


def test_the_drawn_roc_is_scikit_learns() -> None:
    (predicted,) = predictions("binary", 2, units=150, seeds=1)
    curve = details.roc([predicted])
    assert curve is not None
    positive, chance = predicted.scored.truth[:, 1], predicted.scored.proba[:, 1]
    false, found, _ = reference.roc_curve(positive, chance, drop_intermediate=False)
    np.testing.assert_array_equal(curve.found[1:], np.interp(curve.false[1:], false, found))


def test_there_is_no_roc_of_one_class() -> None:
    scored = LabeledPredictions(np.ones(4, int), np.full((4, 2), 0.5), "binary", ("a", "b"))
    assert details.roc([ResamplePredictions(0, np.arange(4), np.arange(4), scored)]) is None


@pytest.mark.parametrize(("task", "classes"), [("binary", 2), ("multiclass", 3), ("multilabel", 3)])
def test_the_points_of_a_reliability_curve_weigh_up_to_what_came_true(task: str, classes: int) -> None:
    predicted = predictions(task, classes, units=200)
    found = details.reliability(predicted)
    assert (np.diff(found.bins.stated) > 0).all()
    assert ((found.bins.true >= 0) & (found.bins.true <= 1)).all()
    assert found.histogram.sum() == pytest.approx(1)
    shuffled = [
        ResamplePredictions(
            p.seed, p.unit, p.group, LabeledPredictions(p.scored.y[::-1], p.scored.proba[::-1], task, p.scored.classes)
        )
        for p in predicted[::-1]
    ]
    np.testing.assert_allclose(details.reliability(shuffled).bins.true, found.bins.true)


def test_chances_that_come_true_as_stated_lie_on_the_line() -> None:
    random = np.random.default_rng(0)
    chance = random.random(20_000)
    scored = LabeledPredictions(
        (random.random(20_000) < chance).astype(int), np.c_[1 - chance, chance], "binary", ("a", "b")
    )
    found = details.reliability([ResamplePredictions(0, np.arange(20_000), np.arange(20_000), scored)])
    np.testing.assert_allclose(found.bins.true, found.bins.stated, atol=0.03)


@pytest.mark.parametrize("most", [7, pytest.param(figures.MOST_ROWS, marks=pytest.mark.slow)])
def test_more_systems_than_fit_are_cut_and_the_caption_says_so(
    tmp_path: Path, make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(figures, "MOST_ROWS", most)
    backbones = {f"backbone-{k:02d}": 0.05 * k for k in range(most + 3)}
    run = make_run(tmp_path, "binary", backbones=backbones, probes=("knn",), seeds=range(2), units=60)
    drawn = draw_figures(load_report_data(run.save(tmp_path / "run")))
    assert f"The best {most} of {most + 3} systems are drawn" in drawn["scores"].caption
    assert f"of {most + 2} comparisons are drawn" in drawn["differences"].caption
    assert "backbones are drawn" in drawn["roc"].caption


def test_a_system_without_a_value_leaves_a_gap_not_a_fault(runs: dict[str, Path]) -> None:
    findings = load_report_data(runs["ordinal"])
    summary, comparisons = findings.summary.copy(), findings.comparisons.copy()
    summary.loc[summary.index[-1], ["mean", "sd", "low", "high"]] = np.nan
    columns = ["mean_b", "difference", "low", "high", "p", "p_adjusted", "advantage", "advantage_low", "advantage_high"]
    comparisons.loc[:, columns] = np.nan
    drawn = draw_figures(replace(findings, every_system=summary, every_comparison=comparisons))
    assert {"scores", "differences"} <= set(drawn)
    assert "no p-value" in drawn["differences"].description


@pytest.mark.parametrize("classes", [2, 11, 26, 100])
def test_a_confusion_matrix_of_any_size_is_drawn(classes: int) -> None:
    matrix = details.confusion(predictions("multiclass", classes, units=600))
    with drawing(LIGHT):
        figure = curves.confusion_figure(matrix, [f"name of class {k}" for k in range(classes)])
        words = [text.get_text() for text in figure.axes[0].texts]
        size = len(figure_bytes(figure, "svg"))
    cells = int((matrix.counts > 0).sum())
    assert len(words) == (
        2 * cells if classes <= curves.MOST_COUNTED else cells if classes <= curves.MOST_LABELLED else 0
    )
    assert size < 1_500_000


def test_too_many_classes_have_no_matrix(runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curves, "MOST_DRAWN", 3)
    assert "confusion" not in draw_figures(load_report_data(runs["multiclass"]))


def test_a_dollar_in_a_name_is_a_dollar() -> None:
    matrix = details.confusion(predictions("binary", 2))
    with drawing(LIGHT):
        figure = curves.confusion_figure(matrix, ["$\\frac{$", "a_b$c^$"])
        assert figure_bytes(figure, "png").startswith(b"\x89PNG")
        assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["$\\frac{$", "a_b$c^$"]


def _font_with(characters: str, path: Path) -> Path:
    """A font in which each of the characters is a square."""
    pen = TTGlyphPen(None)
    for step, corner in enumerate([(50, 0), (50, 700), (750, 700), (750, 0)]):
        (pen.lineTo if step else pen.moveTo)(corner)
    pen.closePath()
    names = [".notdef", *(f"u{ord(character):04X}" for character in characters)]
    font = FontBuilder(1000, isTTF=True)
    font.setupGlyphOrder(names)
    font.setupCharacterMap(dict(zip(map(ord, characters), names[1:], strict=True)))
    font.setupGlyf(dict.fromkeys(names, pen.glyph()))
    font.setupHorizontalMetrics(dict.fromkeys(names, (800, 50)))
    font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupNameTable({"familyName": "Made for a test", "styleName": "Regular"})
    font.setupOS2()
    font.setupPost()
    font.save(path)
    return path


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_names_in_a_script_that_the_font_lacks_are_drawn_with_an_installed_one(tmp_path, monkeypatch, kind) -> None:
    def draw() -> bytes:
        with drawing(LIGHT):
            figure = curves.confusion_figure(details.confusion(predictions("binary", 2)), ["良性", "悪性"])
            return figure_bytes(figure, kind)

    fonts = [entry for entry in font_manager.fontManager.ttflist if "DejaVu" in entry.name]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", fonts)
    monkeypatch.setattr("medprobe.report.elements.theme._OTHER_SCRIPTS", ("Made for a test",))
    with pytest.warns(MedprobeWarning, match='no font for figures has "性悪良"'):
        in_boxes = draw()
    font_manager.fontManager.addfont(_font_with("良性悪", tmp_path / "made.ttf"))
    with warnings.catch_warnings(action="error"):
        assert draw() != in_boxes


def test_a_long_name_keeps_both_its_ends() -> None:
    assert shortened("a" * 44) == "a" * 44
    short = shortened("begin" + "x" * 90 + "end", 20)
    assert len(short) == 20
    assert short.startswith("begin")
    assert short.endswith("end")


def test_an_inline_drawing_refers_to_itself_alone(runs: dict[str, Path]) -> None:
    drawn = draw_figures(load_report_data(runs["binary"]))["scores"]
    text = inline(drawn.svg, "here")
    ids = set(re.findall(r'\bid="([^"]+)"', text))
    referred = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', text))
    assert referred <= ids
    assert all(name.startswith("here-") for name in ids)
    assert "<style" not in text


def _luminance(colour: np.ndarray) -> float:
    linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_words_stand_out_from_what_is_behind_them(theme: object) -> None:
    from matplotlib.colors import to_rgb

    def contrast(a: np.ndarray, b: np.ndarray) -> float:
        lighter, darker = sorted((_luminance(a), _luminance(b)), reverse=True)
        return (lighter + 0.05) / (darker + 0.05)

    paper, ink, quiet = (np.array(to_rgb(getattr(theme, name))) for name in ("paper", "ink", "quiet"))
    full_cell = 0.5 * np.array(to_rgb(theme.accents[0])) + 0.5 * paper  # type: ignore[attr-defined]
    # WCAG 2.2: 4.5 for text, 3 for what is drawn.
    assert min(contrast(ink, paper), contrast(quiet, paper), contrast(ink, full_cell)) >= 4.5

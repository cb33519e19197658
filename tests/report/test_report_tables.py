"""What the tables promise: the run's own figures, in formats that others read."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from medprobe.evaluate import METRICS, Run, compare, summarise
from medprobe.manifests.schema.table_io import csv_text
from medprobe.report import make_report
from medprobe.report.elements.table_formats import as_csv, as_latex, as_markdown, latex_text
from medprobe.report.run.tables import Table

TASKS = ("binary", "multiclass", "ordinal", "multilabel")


def read(folder: Path, name: str) -> pd.DataFrame:
    """A table of the report, every cell as the text that stands in the file."""
    return pd.read_csv(folder / "tables" / f"{name}.csv", dtype=str, keep_default_na=False)


def numbers(column: pd.Series) -> np.ndarray:
    """As Python reads them, to the last bit."""
    return np.array([float(text) if text else np.nan for text in column])


@pytest.mark.parametrize("task", TASKS)
def test_the_csv_is_the_summary_to_the_last_digit(reported: dict[str, Path], task: str) -> None:
    expected = summarise(Run.load(reported[task]))
    expected = expected.sort_values("mean", ascending=False, kind="stable", ignore_index=True)
    written = read(reported[task], "summary")
    for column in expected.columns:
        if expected[column].dtype == float:
            np.testing.assert_array_equal(numbers(written[column]), expected[column].to_numpy())
        else:
            assert written[column].tolist() == expected[column].astype(str).tolist()


@pytest.mark.parametrize("metric", ["roc_auc", "log_loss"])
def test_the_better_backbone_stands_first_in_every_comparison(own_run: Path, metric: str) -> None:
    make_report(own_run, metric=metric).save(own_run)
    table = read(own_run, "comparisons")
    written = table.assign(**{name: numbers(table[name]) for name in ("mean_a", "mean_b", "difference", "low", "high")})
    assert len(written) == len(compare(Run.load(own_run))) == 2
    sign = 1 if METRICS[metric].greater_is_better else -1
    assert (sign * (written["mean_a"] - written["mean_b"]) >= 0).all()
    np.testing.assert_allclose(written["difference"], written["mean_a"] - written["mean_b"], atol=1e-12)
    assert (written["low"] <= written["difference"]).all()
    assert (written["difference"] <= written["high"]).all()


@pytest.mark.parametrize("task", TASKS)
def test_every_metric_is_the_mean_of_the_scores(reported: dict[str, Path], task: str) -> None:
    scores = Run.load(reported[task]).scores
    written = read(reported[task], "all_metrics")
    for row in written.to_dict("records"):
        of_system = scores[
            (scores["backbone"] == row["backbone"]) & (scores["probe"] == row["probe"]) & (scores["split"] == "test")
        ]
        for metric, values in of_system.groupby("metric")["value"]:
            assert float(row[f"{metric}_mean"]) == pytest.approx(values.mean(), nan_ok=True)
            assert float(row[f"{metric}_sd"]) == pytest.approx(values.std(ddof=1), nan_ok=True)


@pytest.mark.parametrize("task", ["binary", "multiclass", "ordinal"])
def test_the_mean_recall_of_the_classes_is_the_balanced_accuracy(reported: dict[str, Path], task: str) -> None:
    recall = numbers(read(reported[task], "classes")["recall_mean"]).mean()
    assert recall == pytest.approx(numbers(read(reported[task], "all_metrics")["balanced_accuracy_mean"])[0])


@pytest.mark.parametrize("task", TASKS)
def test_markdown_and_latex_have_the_rows_of_the_csv(reported: dict[str, Path], task: str) -> None:
    for name in ("summary", "comparisons", "all_metrics", "classes"):
        rows = len(read(reported[task], name))
        markdown = (reported[task] / "tables" / f"{name}.md").read_text()
        table = [line for line in markdown.splitlines() if line.startswith("| ")]
        assert len(table) == rows + 2
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1
        latex = (reported[task] / "tables" / f"{name}.tex").read_text()
        body = latex.split(r"\midrule")[1].split(r"\bottomrule")[0]
        assert body.count(r"\\") == rows
        assert latex.count(r"\begin{") == latex.count(r"\end{") == 2


_SIGNS = "a_b & c% #1 $x$ {y} ~^ \\z <i> | [k] * --"


@pytest.fixture(scope="session")
def strange() -> Table:
    raw = pd.DataFrame({"name": [_SIGNS, "two\nlines"], "value": [1 / 3, np.nan]})
    return Table(
        "strange_one", _SIGNS, ("Name", "Value"), ((_SIGNS, "0.333"), ("two\nlines", "–")), 1, frozenset(), raw
    )


def test_no_sign_of_a_name_is_taken_for_latex(strange: Table) -> None:
    text = as_latex(strange)
    cells = text.split(r"\midrule")[1].splitlines()[1]
    told = re.sub(r"\\(textbackslash|textasciitilde|textasciicircum|textless|textgreater|textbar)\{\}", "", cells)
    told = told.replace("{[}", "").replace("{*}", "").replace("-{}", "-")
    assert cells.strip().endswith(r"\\")
    assert not re.search(r"(?<!\\)[%#$_^~]", told)
    assert len(re.findall(r"(?<!\\)&", told)) == 1
    assert not re.search(r"(?<!\\)[{}]", told)
    assert latex_text("a--b") == "a-{}-b"
    assert "two lines" in text


def test_a_row_of_latex_never_begins_with_what_a_row_break_would_take() -> None:
    assert not latex_text("[2mm]").startswith("[")
    assert not latex_text("*").startswith("*")


def test_no_sign_of_a_name_is_taken_for_markdown(strange: Table) -> None:
    line = as_markdown(strange).splitlines()[4]
    cell = re.split(r"(?<!\\)\|", line)[1].strip()
    assert re.sub(r"\\(?=[^a-zA-Z0-9\s])", "", cell.replace("\\\\", "\0")).replace("\0", "\\") == _SIGNS
    assert not re.search(r"(?<!\\)[*_`<$\[]", cell)


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "\r"])
@pytest.mark.parametrize("rest", ["cmd|'/c calc'!A1", "SUM(1)", "1+1", "", "a\nb", "a\r=1"])
def test_no_text_of_a_csv_is_a_formula(tmp_path: Path, sign: str, rest: str) -> None:
    frame = pd.DataFrame({sign + rest: [-1.5, 2.0], "class": pd.Categorical([sign + rest, "glioma"])})
    (tmp_path / "t.csv").write_text(csv_text(frame), newline="")
    back = pd.read_csv(tmp_path / "t.csv", keep_default_na=False)
    inert = "'" + (sign + rest).replace("\r", "\n")
    assert list(back.columns) == [inert, "class"]
    assert back["class"].tolist() == [inert, "glioma"]
    assert back.iloc[:, 0].tolist() == [-1.5, 2.0]


def test_numbers_of_a_csv_are_never_changed() -> None:
    frame = pd.DataFrame({"as text": ["-1", "+2.5e-3", "-.5"], "as numbers": [-1, -2, -3], "mixed": [-1, "-1", None]})
    assert csv_text(frame).splitlines()[1:] == ["-1,-1,-1", "+2.5e-3,-2,-1", "-.5,-3,"]


def test_a_csv_keeps_names_and_numbers_as_they_are(strange: Table, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(as_csv(strange))
    back = pd.read_csv(tmp_path / "t.csv", dtype=str, keep_default_na=False)
    assert back["name"].tolist() == strange.raw["name"].tolist()
    np.testing.assert_array_equal(numbers(back["value"]), strange.raw["value"])


def test_the_best_system_is_set_off(reported: dict[str, Path]) -> None:
    markdown = (reported["binary"] / "tables" / "summary.md").read_text().splitlines()
    assert "**strong-net**" in markdown[4]
    assert not any("**" in line for line in markdown[5:])

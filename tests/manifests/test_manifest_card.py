"""Dataset cards: what is wrong with one is named by field; the metric that follows from the task."""

from __future__ import annotations

from pathlib import Path

import pytest
from medprobe.manifests import DatasetCard
from published_trees import refused

_SOUND = "name: t\ntask: binary\nclasses: [a, b]\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no fields"),
        ("[", "not valid YAML, line"),
        ("name: t\ntask: binary", '"classes" is missing'),
        ("name: t\ntask: binery\nclasses: [a, b]", 'Did you mean "binary"'),
        ("name: t\ntask: binary\nclasses: [a, b]\nclases: 3", 'Did you mean "classes"'),
        ("name: t\ntask: binary\nclasses: [yes, no]", "put it in quotes"),
        ("name: t\ntask: binary\nclasses: [a, b, c]", "two classes, here are 3"),
        ("name: t\ntask: multiclass\nclasses: [a, a]", "named twice: a"),
        ('name: t\ntask: binary\nclasses: [a, "b\\nc"]', "a line break or a control character: 'b\\nc'"),
        ("name: t/u\ntask: binary\nclasses: [a, b]", "a name becomes a folder"),
        ("name: t\ntask: binary\nclasses: [a, b]\nattributes: [split]", "another meaning: split"),
        ("version: 2\nname: t\ntask: binary\nclasses: [a, b]", "install a newer one"),
        ("name: a: b", "not valid YAML, line 1 (name: a: b) or just above it. Close every quote and bracket"),
        ("name: \x01", "holds a control character; delete it"),
        (
            "name: [1]\ntask: binary\nclasses: [a, b]",
            "name must be text (in quotes, if it looks like something else), not [1].",
        ),
        ("name: t\ntask: binary\nclasses: cat", 'classes must be a list, such as [a, b], not "cat".'),
        (f"{_SOUND}attributes: [[1]]", "attributes[0] must be text"),
        (f"{_SOUND}primary_metric: 3", "primary_metric must be text"),
        (f"{_SOUND}reading: 3", "reading must be fields with values, not 3."),
        (
            f"{_SOUND}reading: {{window: foo}}",
            "t.yaml: reading.window must be stored, percentiles, or [centre, width]",
        ),
        (
            f"{_SOUND}reading: {{window: [1, 2, 3]}}",
            "t.yaml: reading.window must be stored, percentiles, or [centre, width]",
        ),
        (f"{_SOUND}reading: {{percentiles: [5]}}", "reading.percentiles must be two numbers from 0 to 100"),
        (f"{_SOUND}reading: {{scope: x}}", "reading.scope must be 'volume' or 'slice', not \"x\"."),
        (f"{_SOUND}reading: {{draft: 3}}", "reading.draft must be at least 16, not 3."),
        (
            f"{_SOUND}reading: {{windw: stored}}",
            'reading: unknown key "windw"; there are window, percentiles, scope, draft. Did you mean "window"?',
        ),
    ],
)
def test_a_faulty_card_is_refused_naming_the_field(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.yaml").write_text(text)
    refusal = refused(lambda: DatasetCard.load(tmp_path / "t.yaml"), message)
    assert refusal.startswith(str(tmp_path / "t.yaml"))
    for raw in ("Input should", "Value error", ".."):
        assert raw not in refusal


@pytest.mark.parametrize(
    ("task", "metric"),
    [
        ("binary", "roc_auc"),
        ("multiclass", "balanced_accuracy"),
        ("ordinal", "quadratic_kappa"),
        ("multilabel", "roc_auc"),
    ],
)
def test_the_metric_follows_from_the_task_unless_it_is_named(task, metric: str) -> None:
    assert DatasetCard(name="t", task=task, classes=["a", "b"]).primary_metric == metric
    assert DatasetCard(name="t", task=task, classes=["a", "b"], primary_metric="brier").primary_metric == "brier"

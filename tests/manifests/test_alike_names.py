"""Names that differ only in how they are written are told, whether of classes or of patients."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from medprobe.manifests import DatasetCard, Diagnostic, Manifest, check_manifest
from medprobe.manifests.checks.spelling import same_spelling, spelling_warnings


def _manifest(tmp_path: Path, **columns: list[str]) -> Manifest:
    rows = len(next(iter(columns.values())))
    table = {"sample_id": [f"s{row}" for row in range(rows)], "path": "none.png", "label": ["a", "b"] * (rows // 2)}
    table |= columns
    classes = sorted(set(table["label"]))
    task = "binary" if len(classes) == 2 else "multiclass"
    return Manifest(pd.DataFrame(table), DatasetCard.of("m", name="m", task=task, classes=classes, root=str(tmp_path)))


def _found(manifest: Manifest, code: str) -> list[Diagnostic]:
    return [found for found in check_manifest(manifest, progress=False) if found.code == code]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Benign", "benign"),
        ("benign ", "benign"),
        ("b\u00e9nin", "be\u0301nin"),
        ("no finding", "no\u00a0finding"),
        ("p\u200b1", "p1"),
        ("007", "7"),
        ("P-007/2", "p-7/2"),
        ("3.0", "3"),
        ("10", "010.00"),
    ],
)
def test_names_that_differ_only_in_spelling_are_alike(one: str, other: str) -> None:
    assert [same.tolist() for same in same_spelling(["x", one, other])] == [[1, 2]]


@pytest.mark.parametrize(
    ("one", "other"),
    [("10", "1"), ("1.05", "1.5"), ("a1", "a2"), ("0", "00a"), ("ab", "a b"), ("v1.0", "v1"), ("3.5", "3")],
)
def test_names_that_differ_in_more_are_not(one: str, other: str) -> None:
    assert same_spelling([one, other]) == []


def test_classes_and_groups_that_are_alike_are_told_by_the_check(tmp_path: Path) -> None:
    groups = ["P1", "p1", "p2", "p2", "p03", "p3"]
    found = _found(_manifest(tmp_path, label=["Mel", "mel", "nv", "nv", "mel", "nv"], group_id=groups), "alike-names")
    assert [one.message.split(" differ")[0] for one in found] == [
        'classes "Mel", "mel"',
        'groups "P1", "p1"',
        'groups "p03", "p3"',
    ]
    assert [one.rows.tolist() for one in found] == [[1, 2, 5], [1, 2], [5, 6]]


def test_groups_that_are_alike_are_told_before_they_are_hashed_and_by_rows_alone(tmp_path: Path) -> None:
    manifest = _manifest(tmp_path, group_id=["Kowal", "kowal", "p2", "p2"])
    (told,) = map(str, spelling_warnings(manifest))
    assert "1 set of groups (patients)" in told
    assert "2 rows (1, 2)" in told
    assert "owal" not in told


def test_a_class_that_a_part_of_the_split_lacks_is_told(tmp_path: Path) -> None:
    manifest = _manifest(tmp_path, label=["a", "b", "a", "a"] * 3, split=["train", "train", "val", "test"] * 3)
    (found,) = _found(manifest, "absent-class")
    assert found.message == 'class "b" has no image in val and test'
    assert np.array_equal(found.rows, [2, 6, 10])

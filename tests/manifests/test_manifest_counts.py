"""What is counted in a manifest: classes, groups, attributes, and what a constant answer scores."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from medprobe.manifests import DatasetCard, Manifest, attribute_counts, build_npz, class_balance
from medprobe.manifests.summary.counts import group_counts


def make(
    columns: dict[str, list], *, task: str = "multiclass", classes: tuple[str, ...] = ("a", "b"), **card
) -> Manifest:
    count = len(next(iter(columns.values())))
    ids = [f"s{number:03d}" for number in range(count)]
    table = pd.DataFrame({"sample_id": ids, "path": [f"{name}.png" for name in ids], **columns})
    return Manifest(table, DatasetCard.of("card", name="toy", task=task, classes=list(classes), **card))


def test_the_majority_class_is_that_of_units_and_its_accuracy_that_on_test() -> None:
    # One exam of class b has six images; by images b would be the larger class.
    labels = ["a"] * 3 + ["b"] * 6 + ["b"] * 3
    units = ["u1", "u2", "u3", *["u4"] * 6, "u5", "u6", "u7"]
    split = ["train", "train", "train", *["train"] * 6, "test", "test", "test"]
    manifest = make({"label": labels, "unit_id": units, "split": split})
    balance = class_balance(manifest)
    assert (balance.largest, balance.smallest) == ("b", "a")
    assert balance.largest_share == pytest.approx(4 / 7)
    assert balance.ratio == pytest.approx(4 / 3)
    # Train says a (3 of 4), and test has none of it.
    assert (balance.constant_accuracy, balance.scored_on) == (0.0, "test")


def test_without_a_split_the_constant_answer_is_scored_on_all_units() -> None:
    balance = class_balance(make({"label": ["a"] * 6 + ["b"] * 2}))
    assert (balance.constant_accuracy, balance.scored_on) == (0.75, "all")


def test_the_constant_answer_to_labels_is_scored_label_by_label() -> None:
    manifest = make({"a": [1, 0, 0, 0], "b": [1, 1, 1, 0]}, task="multilabel")
    balance = class_balance(manifest)
    assert (balance.largest, balance.largest_share, balance.smallest) == ("b", 0.75, "a")
    assert balance.constant_accuracy == 0.75


def test_a_class_without_units_makes_the_ratio_infinite() -> None:
    assert class_balance(make({"label": ["a"] * 3})).ratio == float("inf")


def test_groups_are_counted_with_their_units_and_images() -> None:
    manifest = make(
        {
            "label": ["a"] * 7,
            "unit_id": ["u1", "u1", "u2", "u3", "u4", "u4", "u4"],
            "group_id": ["p1", "p1", "p1", "p2", "p3", "p3", "p3"],
            "split": ["train"] * 4 + ["test"] * 3,
        }
    )
    counts = group_counts(manifest)
    assert counts.loc["train"].to_dict() == {
        "groups": 2, "units": 3, "images": 4, "units_median": 1.5, "units_largest": 2, "images_median": 2,
        "images_largest": 3,
    }  # fmt: skip
    assert counts.loc["test", ["groups", "units", "images_largest"]].tolist() == [1, 1, 3]
    assert counts.loc["total", ["groups", "units", "images"]].tolist() == [3, 4, 7]


def test_attributes_of_words_and_of_numbers_are_counted_class_by_class() -> None:
    age = [*range(30, 42), None, 90]
    sex = ["f"] * 8 + ["m"] * 5 + [None]
    labels = ["a"] * 7 + ["b"] * 7
    manifest = make({"label": labels, "age": age, "sex": sex}, attributes=["age", "sex"])
    ages, sexes = attribute_counts(manifest)
    assert ages.missing == 1
    assert ages.values is None
    assert ages.spread is not None
    assert ages.spread.loc["a"].tolist() == [7, 30, 31.5, 33, 34.5, 36]
    assert ages.spread.loc["all", ["units", "smallest", "largest"]].tolist() == [13, 30, 90]
    assert sexes.spread is None
    assert sexes.values is not None
    assert sexes.values.loc["f"].to_dict() == {"units": 8, "a": 7, "b": 1}
    assert sexes.missing == 1


def test_numbers_of_few_values_are_counted_as_grades() -> None:
    [grade] = attribute_counts(make({"label": ["a", "b"] * 4, "grade": [1, 2, 2, 3, 1, 2, 2, 2]}, attributes=["grade"]))
    assert grade.values is not None
    assert grade.values["units"].to_dict() == {"2": 5, "1": 2, "3": 1}


def test_an_attribute_without_any_value_is_counted_as_missing() -> None:
    [counts] = attribute_counts(make({"label": ["a", "b"] * 2, "sex": [None] * 4}, attributes=["sex"]))
    assert (counts.missing, counts.distinct) == (4, 0)
    assert counts.values is not None
    assert counts.values.shape == (0, 3)


def test_an_attribute_that_may_hold_names_is_not_listed() -> None:
    names = [f"Patient {number}" for number in range(40)]
    [counts] = attribute_counts(make({"label": ["a", "b"] * 20, "who": names}, attributes=["who"]))
    assert counts.values is None
    assert counts.spread is None
    assert counts.distinct == 40


def test_the_majority_class_and_the_imbalance_are_told_when_a_manifest_is_built(medprobe, tmp_path) -> None:
    random = np.random.default_rng(0)
    parts = {"train": (12, 4), "val": (2, 2), "test": (6, 2)}
    arrays = {}
    for name, (ones, zeros) in parts.items():
        arrays[f"{name}_images"] = random.integers(0, 256, (ones + zeros, 8, 8), np.uint8)
        arrays[f"{name}_labels"] = np.array([1] * ones + [0] * zeros)[:, None]
    np.savez(tmp_path / "toymnist.npz", **arrays)
    assert len(build_npz(tmp_path / "toymnist.npz")) == 28
    message = medprobe("manifest", "build", "npz", tmp_path / "toymnist.npz", "--classes", "normal,pneumonia", "--out",
                    tmp_path / "toy.parquet")  # fmt: skip
    assert message.status == 0, message.err
    assert "Largest class: pneumonia, 71.4% of images; 2.5 times as many as normal (28.6%)." in message.out
    assert "Always giving the majority class has an accuracy of 0.750 on test." in message.out


@pytest.mark.realdata
def test_the_imbalance_of_pneumoniamnist_is_told(medprobe, tmp_path, realdata) -> None:
    message = medprobe("manifest", "build", "npz", realdata / "pneumoniamnist.npz", "--out", tmp_path / "p.parquet")
    assert message.status == 0, message.err
    for number in ("3,882", "524", "624"):
        assert number in message.out
    # 390 of the 624 test images are of pneumonia, as published.
    assert "accuracy of 0.625 on test" in message.out


def test_show_tells_groups_and_attributes(medprobe, draw, tmp_path) -> None:
    manifest = make(
        {"label": ["a", "b"] * 6, "group_id": [f"p{n // 2}" for n in range(12)], "sex": ["f", "m", "m"] * 4},
        attributes=["sex"], root=str(tmp_path),
    )  # fmt: skip
    for number in range(12):
        draw(tmp_path / f"s{number:03d}.png", number)
    saved = manifest.save(tmp_path / "toy.csv")
    message = medprobe("manifest", "show", saved.path)
    assert message.status == 0, message.err
    assert "2 (max 2)" in message.out
    assert "sex: 2 different values" in message.out

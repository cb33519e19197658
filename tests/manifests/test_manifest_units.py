from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from medprobe.manifests import DatasetCard, Manifest, Units
from published_trees import refused

_CLASSES = ["a", "b", "c"]
_CARD = DatasetCard(name="toy", task="multiclass", classes=_CLASSES, attributes=["sex"])


@st.composite
def _tables(draw: st.DrawFn) -> pd.DataFrame:
    """Tables whose units agree in label, group and split, and need not in sex."""
    units = draw(st.integers(1, 8))
    of_unit = draw(st.lists(st.integers(0, units - 1), min_size=1, max_size=20))
    label = draw(st.lists(st.sampled_from(_CLASSES), min_size=units, max_size=units))
    group = draw(st.lists(st.sampled_from(["p10", "p9", "é", "Z"]), min_size=units, max_size=units))
    split = draw(st.lists(st.sampled_from(["train", "val", "test"]), min_size=units, max_size=units))
    columns = {
        "sample_id": [f"s{row}" for row in range(len(of_unit))],
        "path": "x",
        "label": [label[unit] for unit in of_unit],
        "sex": draw(st.lists(st.sampled_from(["f", "m", None]), min_size=len(of_unit), max_size=len(of_unit))),
    }
    if draw(st.booleans()):
        columns["unit_id"] = [f"u{unit}" for unit in of_unit]
    if draw(st.booleans()):
        columns["group_id"] = [group[unit] for unit in of_unit]
    if draw(st.booleans()):
        columns["split"] = [split[unit] for unit in of_unit]
    return pd.DataFrame(columns)


def _everything_but_rows(units: Units) -> list:
    split = None if units.split is None else units.split.tolist()
    attributes = units.attributes.astype(object).where(units.attributes.notna(), None).to_dict("list")
    return [units.unit_id.tolist(), units.group.tolist(), units.group_id.tolist(), split, units.y.tolist(), attributes]


@given(_tables(), st.randoms(use_true_random=False))
def test_units_do_not_depend_on_the_order_of_rows(table: pd.DataFrame, random) -> None:
    order = list(range(len(table)))
    random.shuffle(order)
    one, other = Manifest(table, _CARD).units(), Manifest(table.iloc[order], _CARD).units()
    assert _everything_but_rows(one) == _everything_but_rows(other)
    np.testing.assert_array_equal(one.sample_unit[order], other.sample_unit)


@given(_tables())
def test_each_sample_finds_its_own_unit_label_group_and_split(table: pd.DataFrame) -> None:
    units = Manifest(table, _CARD).units()
    of_row = units.sample_unit
    own = table["unit_id" if "unit_id" in table else "sample_id"]
    assert units.unit_id[of_row].tolist() == own.tolist()
    assert [_CLASSES[code] for code in units.y[of_row]] == table["label"].tolist()
    assert units.group_id[units.group[of_row]].tolist() == table.get("group_id", own).tolist()
    assert units.split is None or units.split[of_row].tolist() == table["split"].tolist()
    assert list(units.unit_id) == sorted(units.unit_id)
    assert list(units.group_id) == sorted(set(units.group_id))
    assert len(units) == own.nunique()


def test_the_arrays_have_the_stated_types() -> None:
    table = {"sample_id": ["s1", "s2"], "path": "x", "label": ["a", "b"], "split": "train", "modality": ["t1", None]}
    units = Manifest(pd.DataFrame(table), DatasetCard(name="t", task="multiclass", classes=_CLASSES)).units()
    assert (units.y.dtype, units.group.dtype, units.sample_unit.dtype) == (np.int64, np.int64, np.int64)
    assert units.modality is not None
    assert units.modality.tolist() == ["t1", ""]
    assert units.attributes.shape == (2, 0)


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("label", ["a", "b"], "different labels (a, b)"),
        ("group_id", ["p", "q"], "different groups"),
        ("split", ["train", "test"], "different splits (test, train)"),
    ],
)
def test_a_unit_of_two_minds_is_refused_and_named(column: str, values: list[str], message: str) -> None:
    table = {"sample_id": ["s1", "s2"], "path": "x", "label": "a", "sex": "f", "unit_id": "exam", column: values}
    refused(
        lambda: Manifest(pd.DataFrame(table), _CARD).units(), f'2 rows (1, 2): one unit in column "unit_id", {message}'
    )


def test_an_attribute_that_a_unit_is_of_two_minds_about_is_missing() -> None:
    table = {
        "sample_id": ["1", "2", "3"],
        "path": "x",
        "label": "a",
        "sex": ["f", "m", "m"],
        "unit_id": ["u", "u", "v"],
    }
    attributes = Manifest(pd.DataFrame(table), _CARD).units().attributes
    assert attributes["sex"].isna().tolist() == [True, False]
    assert attributes["sex"][1] == "m"

"""The format of the TOML files of published data sets, on a set that is not published."""

from __future__ import annotations

from pathlib import Path

import pytest
from medprobe.manifests import BUILDERS
from medprobe.manifests.datasets.from_tables import build_from_tables
from medprobe.manifests.datasets.set_file import read_set
from medprobe.manifests.datasets.set_format import TableSet
from published_trees import draw, write
from pydantic import ValidationError

_SETS = sorted(file.stem for file in Path(__file__).parents[2].glob("manifests/datasets/*.toml"))
_CARD = {"name": "mine", "task": "multilabel", "classes": ["a", "b"], "license": "", "citation": ""}


@pytest.mark.parametrize("name", _SETS)
def test_every_set_is_built_by_its_name_or_is_another_layout_of_one(name: str) -> None:
    spec = read_set(name)
    layouts = [layout for other in map(read_set, _SETS) if isinstance(other, TableSet) for layout in other.alternatives]
    assert spec.name in BUILDERS or name in layouts
    assert all((spec.summary, spec.example, spec.description, spec.source)) or name in layouts
    assert spec.license
    assert spec.citation


def test_columns_of_0_and_1_joined_by_a_key_are_labels(tmp_path: Path) -> None:
    write(tmp_path / "images.csv", ["id,who", "x,P1", "y,P2"])
    write(tmp_path / "truth.csv", ["id,a,b", "y,1,0", "x,0,1"])
    for name in "xy":
        draw(tmp_path / "png" / f"{name}.png")
    rows = {"files": [{"names": ["images.csv"]}], "key": "id", "filled": ["who"]}
    truth = {"files": [{"names": ["truth.csv"]}], "key": "id", "missing": "has its labels"}
    images = {"name": "png/{id}.png"}
    columns = {"group_id": "who"}
    spec = TableSet.model_validate(
        {
            **_CARD,
            "rows": rows,
            "joins": {"truth": truth},
            "labels": {"table": "truth"},
            "images": images,
            "columns": columns,
        }
    )
    manifest = build_from_tables(spec, tmp_path, {"name": None}, lambda _: None)
    assert manifest.table[["a", "b"]].to_numpy().tolist() == [[0, 1], [1, 0]]
    assert manifest.table["path"].tolist() == ["png/x.png", "png/y.png"]
    assert manifest.table["group_id"].tolist() == ["P1", "P2"]


def test_an_unknown_key_is_refused() -> None:
    with pytest.raises(ValidationError, match="colums"):
        TableSet.model_validate({**_CARD, "rows": {"files": [], "colums": []}, "labels": {}})

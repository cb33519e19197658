"""The notebooks of the documentation run from top to bottom, and what they end a cell with is shown."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

_NOTEBOOKS = sorted((Path(__file__).parent.parent / "docs" / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("notebook", _NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cells, names, shown = json.loads(notebook.read_text(encoding="utf-8"))["cells"], {}, []
    for cell in cells:
        if cell["cell_type"] == "code":
            assert not cell["outputs"], "outputs are made with the documentation"
            shown += _run("".join(cell["source"]), names)
    assert shown.count("svg") >= 1
    assert "html" in shown


def _run(source: str, names: dict[str, Any]) -> list[str]:
    """Runs a cell as Jupyter does; in which formats the value of its last line is shown."""
    *rest, last = ast.parse(source).body
    if not isinstance(last, ast.Expr):
        exec(source, names)
        return []
    exec(compile(ast.Module(rest, []), "cell", "exec"), names)
    value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
    return [kind for kind in ("html", "svg") if hasattr(value, f"_repr_{kind}_") and getattr(value, f"_repr_{kind}_")()]

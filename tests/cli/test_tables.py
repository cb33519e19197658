"""Tables of the command line: as Rich draws them where they fit, folded by it where they do not."""

from __future__ import annotations

from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from medprobe.cli.terminal.console import show_table
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

_CELL = st.lists(st.text("ab 肺é", max_size=6).map(str.strip), min_size=1, max_size=3).map("\n".join)
_ROWS = st.integers(1, 4).flatmap(lambda wide: st.lists(st.lists(_CELL, min_size=wide, max_size=wide), max_size=5))


@given(rows=_ROWS, sections=st.sets(st.integers(0, 5)), aligned=st.integers(0, 4))
def test_a_table_in_a_pipe_is_the_one_that_rich_draws(rows, sections, aligned) -> None:
    columns = [f"column {place}" for place in range(len(rows[0]) if rows else 2)]
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("COLUMNS", raising=False)
        patch.setattr("sys.stdout", printed := StringIO())
        show_table(columns, rows, right=columns[:aligned], sections=sections)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place < aligned else "left")
    for place, row in enumerate(rows):
        if place in sections:
            table.add_section()
        table.add_row(*map(Text, row))
    Console(file=(drawn := StringIO()), width=1000).print(table)
    assert printed.getvalue() == drawn.getvalue()


@pytest.mark.parametrize(("wide", "lines"), [(26, 5), (25, 5), (24, 6)])
def test_cells_are_folded_where_a_table_does_not_fit_and_names_to_copy_never(wide, lines, monkeypatch, capsys) -> None:
    monkeypatch.setenv("COLUMNS", str(wide))
    show_table(["name", "what"], [["imported:uni", "two words"]], whole=["name"])
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == lines
    assert max(map(cell_len, printed)) <= wide
    assert "imported:uni" in printed[3]

"""The command line in this process, and what every refusal has in common."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

Medprobe = Callable[..., tuple[int, str, str]]


def assert_refused(status: int, printed: str, told: str, out: Path, *words: str) -> None:
    """One line on standard error, nothing on standard output, nothing written."""
    assert status == 1, told
    assert printed == ""
    assert told.startswith("error: ")
    assert told.count("\n") == 1
    assert "Traceback" not in told
    for word in words:
        assert word in told
    assert not out.exists()
    assert not out.parent.is_dir() or not list(out.parent.glob(f".{out.name}*"))

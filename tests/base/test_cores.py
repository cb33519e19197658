"""The cores that a process may use."""

from __future__ import annotations

import os

import pytest
from medprobe.base import usable_cores


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system confines no process")
def test_a_confined_process_counts_the_cores_it_may_use(monkeypatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 6})
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert usable_cores() == 3


def test_where_the_system_cannot_tell_all_cores_count(monkeypatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    for count, usable in ((6, 6), (None, 1)):
        monkeypatch.setattr(os, "cpu_count", lambda count=count: count)
        assert usable_cores() == usable

"""Threads that share work: order, faults, Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from medprobe.base import ProbeError
from medprobe.probe.engines.parallel import Workers


def test_workers_keep_the_order_of_their_items_and_refuse_none() -> None:
    for workers in (Workers(1), Workers(2)):
        assert list(workers.map(abs, [-5, 1, 3])) == [5, 1, 3]
    with pytest.raises(ProbeError, match="0 jobs"):
        Workers(0)


def test_what_is_raised_in_a_thread_is_raised_here() -> None:
    with pytest.raises(ZeroDivisionError):
        list(Workers(2).map((7).__divmod__, [1, 0]))


_STOPPED = """
import signal, time
from medprobe.cli.app import main
from medprobe.probe import GBMProbe

signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell may have set to be ignored
def fit_for_long(*args, **options):
    print("at work", flush=True)
    time.sleep(600)
GBMProbe.fit = fit_for_long
main()
"""


def test_ctrl_c_of_a_probe_ends_at_once_with_status_130_and_leaves_nothing(study: Any, tmp_path: Path) -> None:
    words = ["probe", study.table, "--probe", "gbm", "--seeds", 3, "--jobs", 2, "--out", tmp_path / "run"]
    code = [sys.executable, "-c", _STOPPED, *map(str, words)]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(code, start_new_session=True, **pipes) as command:
        assert command.stdout is not None
        assert any(line == "at work\n" for line in command.stdout)
        os.killpg(command.pid, signal.SIGINT)
        printed = command.communicate(timeout=60)[1]
    assert command.returncode == 130, printed
    assert "Traceback" not in printed
    assert not list(tmp_path.iterdir())

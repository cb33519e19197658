"""Processes and threads that share work: order, memory, faults, and their end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from medprobe.base import ProbeError
from medprobe.probe.data.shared_memory import shared_zeros
from medprobe.probe.engines.parallel import Workers, _in_shared_memory

_ROWS = np.zeros((180, 2))


def test_workers_keep_the_order_of_their_items_and_refuse_none() -> None:
    for workers, threads in ((Workers(1), False), (Workers(2), False), (Workers(2), True)):
        assert list(workers.map(_item_and_rows, _ROWS, [5, 1, 3], threads=threads)) == [(5, 180), (1, 180), (3, 180)]
    with pytest.raises(ProbeError, match="0 jobs"):
        Workers(0)


def _item_and_rows(rows: np.ndarray, item: int) -> tuple[int, int]:
    return item, len(rows)


def test_a_worker_that_is_killed_is_a_fault_that_says_what_to_do() -> None:
    with pytest.raises(ProbeError, match=r"killed.*fewer --jobs"):
        list(Workers(2).map(_killed, _ROWS, [0, 1]))
    assert len(list(Workers(2).map(_item_and_rows, _ROWS, [0, 1]))) == 2  # the next work has new workers


def test_processes_need_no_temporary_folder_and_see_their_own_writing_alone(tmp_path, monkeypatch) -> None:
    for name in ("TMPDIR", "JOBLIB_TEMP_FOLDER"):
        monkeypatch.setenv(name, str(tmp_path / "absent"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    big = np.arange(400_000.0)
    seen = list(Workers(2).map(_altered, (big, big[::2]), [1, 2, 3]))
    assert seen == [(big.sum() + item, item, 200_000) for item in (1, 2, 3)]
    assert big[0] == 0


def _altered(arrays: tuple[np.ndarray, np.ndarray], item: int) -> tuple[float, float, int]:
    array = arrays[0]
    array[0] = item
    total = array.sum()
    array[0] = 0
    return total, item, len(arrays[1])


def test_a_shared_array_is_mapped_by_processes_and_freed_with_its_last_view() -> None:
    big = shared_zeros((400_000,), np.float64)
    big[:] = np.arange(400_000.0)
    seen = list(Workers(2).map(_altered, (big, big[:7]), [1, 2, 3]))
    assert seen == [(big.sum() + item, item, 7) for item in (1, 2, 3)]
    assert big[0] == 0
    with _in_shared_memory((big, big[1:])) as (handles, layout):
        assert [which for which, _ in layout] == [0, 1, 0], "a part of the array is sent as others are"
        assert os.fstat(handles[1]).st_size == big.nbytes
    del big
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(handles[1])


def test_what_is_raised_in_a_process_is_raised_here() -> None:
    with pytest.raises(ZeroDivisionError):
        list(Workers(2).map(divmod, 7, [1, 0]))


_KILLED = """
import os, signal, subprocess, sys, time
from medprobe.probe.engines.parallel import Workers
class Interrupted(subprocess.Popen):  # as Ctrl-C in a terminal, which all processes of a command receive
    def __init__(self, *words, **options):
        super().__init__(*words, **options)
        self.send_signal(signal.SIGINT)
subprocess.Popen = Interrupted
class Mine:  # as in a notebook
    def pid(self, item):
        return os.getpid()
def call(mine, item):
    return mine.pid(item) if item < 4 else time.sleep(100)
found = Workers(2).map(call, Mine(), range(9))
print(os.getpid(), *{next(found) for _ in range(4)}, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_script_defines_is_sent_and_processes_end_with_it_but_not_by_ctrl_c() -> None:
    run = subprocess.run([sys.executable, "-c", _KILLED], capture_output=True, text=True, check=False)
    pids = run.stdout.split()
    assert len(pids) > 1, run.stderr
    assert run.stderr == ""
    assert not [path for path in Path("/dev/shm").iterdir() if {*re.split("[-_]", path.name)} & {*pids}]
    for _ in range(100):
        if not any(Path("/proc", pid).exists() for pid in pids):
            return
        time.sleep(0.1)
    pytest.fail("a process outlived the one that it worked for")


def _killed(rows: np.ndarray, item: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


_STOPPED = """
import signal
from medprobe.cli.app import main
from medprobe.probe.engines.parallel import Workers

signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell may have set to be ignored
map_ = Workers.map
def and_wait(*args, **options):
    for item in map_(*args, **options):
        print("at work", flush=True)
        signal.pause()
        yield item
Workers.map = and_wait
main()
"""


def test_ctrl_c_of_a_probe_ends_with_status_130_and_leaves_nothing(study: Any, tmp_path: Path) -> None:
    """As in a terminal: all processes of the command receive it."""
    words = ["probe", study.table, "--probe", "gbm:rounds=5", "--seeds", 3, "--jobs", 2, "--out", tmp_path / "run"]
    code = [sys.executable, "-c", _STOPPED, *map(str, words)]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(code, start_new_session=True, **pipes) as command:
        assert command.stdout is not None
        assert any(line == "at work\n" for line in command.stdout)
        os.killpg(command.pid, signal.SIGINT)
        printed = command.communicate()[1]  # until the last process has ended
    assert command.returncode == 130, printed
    assert "Traceback" not in printed
    assert not list(tmp_path.iterdir())

"""A real Slurm for the tests of this folder."""

from __future__ import annotations

import fcntl
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from one_machine import Slurm, why_not


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    """Runs while the tests of a file do; other processes of tests wait for it, as a machine has one configuration."""
    with Path(tempfile.gettempdir(), "medprobe-slurm.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if reason := why_not():
            pytest.skip(reason)
        with tempfile.TemporaryDirectory(prefix="slurm-") as folder:
            cluster = Slurm(Path(folder))
            try:
                cluster.start()
                yield cluster
            finally:
                cluster.stop()

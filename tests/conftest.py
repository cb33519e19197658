"""What all tests share: hypothesis profiles, where the real images are, and the command line in this process."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import settings

_ROOT = Path(__file__).resolve().parent.parent

# As many processes as cores run the tests; threads of torch and BLAS would only wait for each other in busy loops.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# `CI_NIGHTLY=1` looks at more examples; in CI the examples are the same every time.
settings.register_profile("default", max_examples=200, deadline=None, derandomize="CI" in os.environ)
settings.register_profile("nightly", max_examples=1_500, deadline=None)
settings.load_profile("nightly" if os.environ.get("CI_NIGHTLY") == "1" else "default")


_LONGEST = ("test_cluster_study.py", "test_study_cli.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, so that no core is left with one of them at the end."""
    items.sort(key=lambda item: item.path.name not in _LONGEST)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(call: pytest.CallInfo) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where a command failed under `subprocess.run(check=True)`, shows what it wrote, which its error leaves out."""
    report = yield
    error = call.excinfo.value if call.excinfo else None
    if isinstance(error, subprocess.CalledProcessError) and error.stderr:
        text = error.stderr if isinstance(error.stderr, str) else error.stderr.decode(errors="replace")
        report.sections.append(("stderr of the command", text))
    return report


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder of real images and embeddings; skips where it is absent."""
    folder = Path(os.environ.get("MEDPROBE_TEST_DATA", _ROOT.parent / "shared" / "data"))
    if not (folder / "brain-mri").is_dir():
        pytest.skip(f"real data are not at {folder}; set MEDPROBE_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Callable[[str, Callable[[Path], object]], Path]:
    """`once(name, make)`: a folder that `make` filled, once in a test session however many processes run it."""

    def made(name: str, make: Callable[[Path], object]) -> Path:
        base = tmp_path_factory.getbasetemp()
        home = base if worker_id == "master" else base.parent
        with (home / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (home / f"{name}.done").exists():
                make(home / name)
                (home / f"{name}.done").touch()
        return home / name

    return made


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    """No test cuts the power, and what a killed process has written is there without fsync."""
    fsync, os.fsync = os.fsync, lambda _: None
    yield
    os.fsync = fsync


_STEPS = ("rename", "replace", "link", "fsync", "unlink", "rmdir", "mkdir")
"""Calls of `os` that change a folder or put it on the disk."""


@pytest.fixture
def killed_at_each_step(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Path, Callable[[], object], Callable[[], object]], Iterator[int]]:
    """`for step in killed_at_each_step(folder, prepare, work)`: `folder` is as a kill right before a step leaves it.

    `work` is done once, and the folder copied at every step: a kill leaves what is written, and no lock.
    """

    def kills(folder: Path, prepare: Callable[[], object], work: Callable[[], object]) -> Iterator[int]:
        home, copies, copying = tmp_path_factory.mktemp("killed"), [], False

        def watched(call: Callable[..., Any]) -> Callable[..., Any]:
            def copy_and_call(*args: Any, **options: Any) -> Any:
                nonlocal copying
                if not copying:
                    copying = True
                    copies.append(shutil.copytree(folder, home / f"{len(copies)}"))
                    copying = False
                return call(*args, **options)

            return copy_and_call

        prepare()
        with monkeypatch.context() as patched:
            for name in _STEPS:
                patched.setattr(os, name, watched(getattr(os, name)))
            work()
        assert len(copies) > 3, "nothing was counted"
        for step, copy in enumerate(copies):
            shutil.rmtree(folder)
            shutil.copytree(copy, folder)
            yield step

    return kills


@pytest.fixture(scope="session")
def without_torch() -> str:
    """Lines of Python after which no torch library is found, as on a machine that has only the base install."""
    return """
import sys

class Without:
    def __init__(self, finder):
        self.finder = finder
    def __getattr__(self, name):
        return getattr(self.finder, name)
    def find_spec(self, name, path=None, target=None):
        torch_side = ("torch", "torchvision", "timm", "transformers", "open_clip", "onnx")
        return None if name.partition(".")[0] in torch_side else self.finder.find_spec(name, path, target)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
"""


class Said(NamedTuple):
    """What a command ended with."""

    status: int
    out: str
    err: str

    @property
    def notes(self) -> str:
        """`err` in one line, however it was broken to fit the terminal."""
        return " ".join(self.err.split())


@pytest.fixture(scope="session")
def main() -> Iterator[Callable[[], None]]:
    """The command line; what typer makes of all commands, which takes longer than many a command, is made once."""
    from medprobe.cli import app
    from typer.main import get_command

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(app, "app", get_command(app.app))
        yield app.main


@pytest.fixture
def medprobe(
    main: Callable[[], None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Said]:
    """`medprobe(*words)`: runs the command line in this process, on a terminal of 80 columns or as asked."""

    def run(*words: object, columns: int = 80) -> Said:
        monkeypatch.setattr("sys.argv", ["medprobe", *map(str, words)])
        monkeypatch.setenv("COLUMNS", str(columns))
        status = 0
        try:
            main()
        except SystemExit as end:
            status = int(end.code or 0)
        printed = capsys.readouterr()
        return Said(status, printed.out, printed.err)

    return run


@pytest.fixture
def deadly(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, str], Path]:
    """`deadly(path, how)`: writes an image whose decoder crashes, loops, waits, takes all memory, or is killed.

    `how` is crash, abort, exit, loop, wait, memory or killed; what a worker may use is little.
    """
    import numpy as np
    from medprobe.manifests import readers
    from medprobe.manifests.readers import worker_pool

    def read(source: object) -> np.ndarray:
        how = source.path.read_text().split()[1]  # pyright: ignore[reportAttributeAccessIssue]
        taken = []
        while how == "memory":
            taken.append(np.zeros(2**26, np.uint8))
        while how == "loop":
            pass
        if how == "wait":
            time.sleep(1000)
        if how == "exit":
            os._exit(0)
        os.kill(os.getpid(), {"crash": signal.SIGSEGV, "abort": signal.SIGABRT, "killed": signal.SIGKILL}[how])
        raise AssertionError

    def write(path: Path, how: str) -> Path:
        path.write_text(f"DEADLY {how}")
        return path

    reader = readers.Reader("deadly", lambda head: head.startswith(b"DEADLY"), read, lambda source: 1)
    monkeypatch.setattr(readers, "READERS", (reader, *readers.READERS))
    limits = {"_SECONDS": 0.5, "_MOST_BYTES": 2**29, "_BLOCKED_S": 0.2, "_GLANCE_S": 0.1}
    for name, value in limits.items():
        monkeypatch.setattr(worker_pool, name, value)
    return write

"""Cells on devices: in this process on one, in a process each on several, which share out the cells."""

from __future__ import annotations

import multiprocessing
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import torch

from ..base import MedprobeError, WorkerError, usable_cores
from ..evaluate.results.fit_result import FitResult
from .fitting import Cell, CellFitter, Plan
from .training.checkpoint import Interrupted

OnEpoch = Callable[[Cell, Mapping[str, Any]], None]
Fitted = tuple[Cell, FitResult]

_GLANCE_S = 0.5
"""How often a wait for messages looks whether to stop."""
_LAST_STEP_S = 60.0
"""How long a process may take for the step that it is in."""


def fit_cells(
    plan: Plan,
    cells: Sequence[Cell],
    devices: Sequence[str],
    *,
    on_epoch: OnEpoch,
    notice: Callable[[str], None],
    should_stop: Callable[[], bool],
) -> Iterator[Fitted]:
    """Yields every cell with its result, in the order in which they are done.

    On several devices each has a process, which fits every n-th cell, one after another.

    Raises:
        Interrupted: `should_stop` was true; what is finished is kept.
        WorkerError: a process was killed.
        MedprobeError: what stopped a fit.
    """
    if len(devices) == 1:
        fitter = CellFitter(plan, devices[0], notice)
        for cell in cells:
            yield cell, fitter.fit(cell, on_epoch=lambda curve, of=cell: on_epoch(of, curve), should_stop=should_stop)
        return
    processes = _Processes()
    try:
        for place, device in enumerate(devices):
            share = range(place, len(cells), len(devices))
            if share:
                processes.start(device, usable_cores() // len(devices), plan, [cells[number] for number in share])
        for device, message in processes.messages(should_stop):
            match message:
                case str():
                    notice(f"{device}: {message}")
                case (cell, FitResult() as result):
                    yield cell, result
                case (cell, curve):
                    on_epoch(cell, curve)
    finally:
        processes.end()


class _Processes:
    """The processes of one run.

    Its pipe is all that a process listens to: it stops after the step it is in when this end is closed, also by the
    end of this process. Signals are left to this one.
    """

    def __init__(self) -> None:
        self._at_work: dict[Connection, tuple[str, BaseProcess]] = {}

    def start(self, device: str, *arguments: Any) -> None:
        """Starts `_work` with these arguments."""
        # spawn: a forked process could not use a GPU that this one has already initialised.
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        with theirs, _blocked_signals():
            process = context.Process(target=_work, args=(theirs, device, *arguments), name=f"medprobe on {device}")
            process.start()
        self._at_work[ours] = device, process

    def messages(self, should_stop: Callable[[], bool]) -> Iterator[tuple[str, Any]]:
        """Yields what the processes send, each with its device, until all have ended."""
        while self._at_work:
            if should_stop():
                raise Interrupted
            for connection in wait(list(self._at_work), _GLANCE_S):
                assert isinstance(connection, Connection)
                device, process = self._at_work[connection]
                try:
                    message = connection.recv()
                except (EOFError, OSError):
                    del self._at_work[connection]
                    connection.close()
                    process.join()
                    if process.exitcode:
                        raise WorkerError(_death(device, process.exitcode)) from None
                    continue
                if isinstance(message, MedprobeError):
                    raise message
                yield device, message

    def end(self) -> None:
        """Ends what is still at work, after an error or an interruption."""
        for connection in self._at_work:
            connection.close()
        for _, process in self._at_work.values():
            process.join(_LAST_STEP_S)
            if process.is_alive():
                process.kill()
                process.join()


def _death(device: str, status: int) -> str:
    how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
    return (
        f"the process on {device} {how} before its share was done; what is finished is kept, and the same command does"
        " what is left, on the --device you name."
    )


@contextmanager
def _blocked_signals() -> Iterator[None]:
    """What is started in the block never sees them: a blocked signal stays blocked in a process that is started."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(connection: Connection, device: str, threads: int, plan: Plan, cells: Sequence[Cell]) -> None:
    """What each process runs: fits its cells on one device."""
    if device == "cpu":
        torch.set_num_threads(max(1, threads))
    try:
        fitter = CellFitter(plan, device, connection.send)
        for cell in cells:
            result = fitter.fit(
                cell,
                on_epoch=lambda curve, of=cell: connection.send((of, dict(curve))),
                should_stop=connection.poll,  # nothing is ever sent: there is something to read when the pipe is closed
            )
            connection.send((cell, result))
    except MedprobeError as error:
        connection.send(error)
    except (Interrupted, BrokenPipeError, ConnectionResetError):
        sys.exit(130)

"""A process for each of several devices, with a pipe to this one: one that ends early costs its own share alone."""

from __future__ import annotations

import multiprocessing
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from .errors import MedprobeError, QuarantineError, WorkerError

_GLANCE_S = 0.5
"""How often a wait for messages looks whether to stop."""


class DeviceProcesses:
    """The processes of one run, what they have returned and what went wrong in them.

    A process sends what it likes; text is a notice. It ends when this end of its pipe is closed, also by the end of
    this process, and it next sends something or looks. Signals are left to this process.
    """

    def __init__(self, notice: Callable[[str], None], *, patience_s: float) -> None:
        """Takes how long the processes may take to end, before they are killed."""
        self._notice, self._patience_s = notice, patience_s
        self._errors: list[tuple[str, MedprobeError]] = []
        self._done: set[Connection] = set()
        self.at_work: dict[Connection, tuple[str, BaseProcess]] = {}
        """Each with its device."""
        self.returned: list[Any] = []

    def start(self, work: Callable[..., Any], device: str, *arguments: Any) -> None:
        """Starts `work(connection, device, *arguments)`."""
        # spawn: a forked process could not use a GPU that this one has already initialised.
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        with theirs, _blocked_signals():
            arguments = (work, theirs, device, *arguments)
            process = context.Process(target=_run, args=arguments, name=f"medprobe on {device}")
            process.start()
        self.at_work[ours] = device, process

    def messages(self, look: Callable[[], None] = lambda: None) -> Iterator[tuple[Connection, Any]]:
        """Yields what the processes send, until all have ended; `look` is called now and then, and may raise."""
        while self.at_work:
            look()
            yield from self._listen(list(self.at_work))

    def next_of_each(self) -> Iterator[tuple[Connection, Any]]:
        """Waits until each process has sent its next message (or ended); yields them as they come."""
        heard: set[Connection] = set()
        while waiting_for := [one for one in self.at_work if one not in heard]:
            for connection, message in self._listen(waiting_for):
                heard.add(connection)
                yield connection, message

    def _listen(self, connections: Sequence[Connection]) -> Iterator[tuple[Connection, Any]]:
        for connection in wait(connections, _GLANCE_S):
            assert isinstance(connection, Connection)
            device, process = self.at_work[connection]
            try:
                message = connection.recv()
            except (EOFError, OSError):
                del self.at_work[connection]
                connection.close()
                process.join()
                if connection not in self._done:
                    self._errors.append((device, WorkerError(_death(process.exitcode or 0))))
                continue
            match message:
                case str():
                    self._notice(f"{device}: {message}")
                case _Returned() | MedprobeError():
                    self._done.add(connection)
                    self.returned += [message.value] if isinstance(message, _Returned) else []
                    self._errors += [(device, message)] if isinstance(message, MedprobeError) else []
                case _:
                    yield connection, message

    def end(self) -> None:
        """Ends what is still at work, after an error or an interruption."""
        for connection in self.at_work:
            connection.close()
        deadline = time.monotonic() + self._patience_s
        for _, process in self.at_work.values():
            process.join(max(0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()

    def require_success(self) -> None:
        """Raises the one error that all devices have, a QuarantineError if there is no other, or a WorkerError."""
        serious = [(device, error) for device, error in self._errors if not isinstance(error, QuarantineError)]
        if not serious:
            if self._errors:
                raise self._errors[-1][1]  # of the process that ended last, which knows of all
            return
        if len({str(error) for _, error in self._errors}) == 1 and len(serious) > 1:
            raise serious[0][1]
        errors = "".join(f"\n  {device}: {error}" for device, error in serious)
        raise WorkerError(
            f"not every device has done its share; what is finished is kept:{errors}\n"
            "Run the same command again; it does what is left, on the --device you name."
        )


@dataclass(frozen=True)
class _Returned:
    value: Any


def _death(status: int) -> str:
    how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
    return f"its process {how} before its share was done."


@contextmanager
def _blocked_signals() -> Iterator[None]:
    """What is started in the block never sees them: a blocked signal stays blocked in a process that is started."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _run(work: Callable[..., Any], connection: Connection, *arguments: Any) -> None:
    """What each process runs."""
    try:
        try:
            connection.send(_Returned(work(connection, *arguments)))
        except MedprobeError as error:
            connection.send(error)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        sys.exit(130)  # it was to end

"""Cells on devices: in this process on one, in a process each on several, which share out the cells."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any

import torch

from ..base import usable_cores
from ..base.device_processes import DeviceProcesses
from ..evaluate.results.fit_result import FitResult
from .fitting import Cell, CellFitter, Plan
from .training.checkpoint import Interrupted

OnEpoch = Callable[[Cell, Mapping[str, Any]], None]
Fitted = tuple[Cell, FitResult]

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
        WorkerError: a process was killed, or a device failed; the others have done their share.
        MedprobeError: what stopped every device for the same reason.
    """
    if len(devices) == 1:
        fitter = CellFitter(plan, devices[0], notice)
        for cell in cells:
            yield cell, fitter.fit(cell, on_epoch=lambda curve, of=cell: on_epoch(of, curve), should_stop=should_stop)
        return

    def look() -> None:
        if should_stop():
            raise Interrupted

    processes = DeviceProcesses(notice, patience_s=_LAST_STEP_S)
    try:
        for place, device in enumerate(devices):
            if share := cells[place :: len(devices)]:
                processes.start(_fit_share, device, usable_cores() // len(devices), plan, share)
        for _, (cell, found) in processes.messages(look):
            if isinstance(found, FitResult):
                yield cell, found
            else:
                on_epoch(cell, found)
    finally:
        processes.end()
    processes.require_success()


def _fit_share(connection: Connection, device: str, threads: int, plan: Plan, cells: Sequence[Cell]) -> None:
    """What each process runs: fits its cells, and sends the curve of each epoch and each result."""
    if device == "cpu":
        torch.set_num_threads(max(1, threads))
    fitter = CellFitter(plan, device, connection.send)
    for cell in cells:
        try:
            result = fitter.fit(
                cell,
                on_epoch=lambda curve, of=cell: connection.send((of, dict(curve))),
                should_stop=connection.poll,  # nothing is ever sent: there is something to read when the pipe is closed
            )
        except Interrupted:
            raise EOFError from None
        connection.send((cell, result))

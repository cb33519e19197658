"""The output of `extract --dry-run`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from ..base.text import counted, duration, size
from .terminal.console import remark, say, show_table

if TYPE_CHECKING:
    from ..extract.cost import BackboneCost, CostEstimate


def show_cost(estimate: CostEstimate, store: Path, processes: int) -> None:
    """Prints what is left to do per backbone, and time and disk space of the whole run on so many devices."""
    columns = ("backbone", "images", "cached", "to do", "compute", "cache")
    rows = [_row(one) for one in estimate.backbones]
    show_table(columns, rows, right=columns[1:])
    if estimate.unreadable:
        remark(f"missing or unreadable: {counted(estimate.unreadable, 'file')}; a run would quarantine them")
    say(f"To decode: {estimate.to_decode:,} images, each once{_each(estimate)}.")
    if estimate.seconds is None:
        say("Time: unknown; none of the images tried could be decoded.")
    else:
        on = f" on {processes} devices" if processes > 1 else ""
        tried = f", from {counted(estimate.tried, 'image')}; longer if other programs run" if estimate.tried else ""
        say(f"Time: about {duration(estimate.seconds / processes)}{on}{tried}.")
    # A cache that only grows is still rewritten as a whole, next to the older one.
    grown = [one for one in estimate.backbones if one.to_do]
    held = sum(one.bytes_published for one in grown)
    most = held + sum(one.bytes_segments for one in grown)
    free = shutil.disk_usage(next(path for path in (store, *store.absolute().parents) if path.exists())).free
    say(f"Disk: about {size(held)} in {store}, {size(most)} until published; {size(free)} are free.")
    if most > free:
        remark("not enough disk space; free some or choose another --cache")
    say(f"Nothing was written in {store}.")


def _row(one: BackboneCost) -> tuple[str, ...]:
    computing = duration(one.to_do * one.seconds_each) if one.seconds_each is not None else "-"
    return (
        one.backbone,
        f"{one.rows:,}",
        f"{one.cached:,}",
        f"{one.to_do:,}",
        computing,
        size(one.bytes_published),
    )


def _each(estimate: CostEstimate) -> str:
    each = estimate.decode_seconds_each
    return "" if each is None else f" ({1000 * each:.0f} ms an image in one process)"

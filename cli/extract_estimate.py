"""How `extract --dry-run` tells what a run would do."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from ..base.text import counted
from .terminal.console import remark, say, show_table
from .terminal.formatting import duration, size

if TYPE_CHECKING:
    from ..extract.outlook import Forecast, Outlook


def tell_outlook(outlook: Outlook, store: Path, processes: int) -> None:
    """Prints what each backbone has to do, and what the whole run would take on so many devices."""
    columns = ("backbone", "images", "cached", "to do", "compute", "cache")
    rows = [_row(one) for one in outlook.backbones]
    show_table(columns, rows, right=columns[1:])
    if outlook.unreadable:
        remark(f"missing, or not to be read: {counted(outlook.unreadable, 'file')}; a run would quarantine them")
    say(f"To decode: {outlook.to_decode:,} images, each once{_each(outlook)}.")
    if outlook.seconds is None:
        say("Time: unknown; none of the images that were tried could be decoded.")
    else:
        on = f" on {processes} devices" if processes > 1 else ""
        tried = f", from {counted(outlook.tried, 'image')}; other work makes it longer" if outlook.tried else ""
        say(f"Time: about {duration(outlook.seconds / processes)}{on}{tried}.")
    # A cache that only grows is still written anew, beside the older one.
    grown = [one for one in outlook.backbones if one.to_do]
    held = sum(one.bytes_published for one in grown)
    most = held + sum(one.bytes_segments for one in grown)
    free = shutil.disk_usage(next(path for path in (store, *store.absolute().parents) if path.exists())).free
    say(f"Disk: about {size(held)} in {store}, {size(most)} until published; {size(free)} are free.")
    if most > free:
        remark("the disk is too small for it; free some space or choose another --cache")
    say(f"Nothing was written in {store}.")


def _row(one: Forecast) -> tuple[str, ...]:
    computing = duration(one.to_do * one.seconds_each) if one.seconds_each is not None else "-"
    return (
        one.backbone,
        f"{one.rows:,}",
        f"{one.cached:,}",
        f"{one.to_do:,}",
        computing,
        size(one.bytes_published),
    )


def _each(outlook: Outlook) -> str:
    each = outlook.decode_seconds_each
    return "" if each is None else f" ({1000 * each:.0f} ms an image in one process)"

"""The newest results under plain names: links without keys in `results/`; records whose cache is gone."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from ...base.files import make_folder, writing
from ...cache.record import record_is_current
from ..jobs import Job

_LINKED = {"merge", "stats", "report"}
_KEY = re.compile(r"--[0-9a-f]{6,}/?$")


def link_results(jobs: Iterable[Job], out: Path) -> list[Path]:
    """Makes `results/reports/brain-official` a link to `reports/brain-official--KEY`, and so on for what is there.

    Links of an older form of the study are removed.

    Raises:
        OutputError: nothing can be written there.
    """
    targets = {}
    for job in jobs:
        for path in job.outputs if job.kind in _LINKED else ():
            if (out / path).exists():
                targets[out / "results" / _KEY.sub("", path)] = out / path
    with writing(out / "results"):
        for old in (out / "results").glob("**/*"):
            if old.is_symlink():
                old.unlink()
        for link, target in targets.items():
            make_folder(link.parent)
            link.symlink_to(os.path.relpath(target, link.parent), target_is_directory=True)
    return list(targets)


def forget_lost_caches(out: Path, store: Path) -> None:
    """Removes the records whose cache is no longer in `store`, so that it is made again where it is needed."""
    for record in (out / "embedded").glob("*/*.json"):
        if not record_is_current(record, store):
            record.unlink(missing_ok=True)

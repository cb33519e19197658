"""The newest results under plain names: links without keys in `results/`; records whose cache has changed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from ...base.files import make_folder, writing
from ...cache.record import record_is_current
from ...manifests import Manifest
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


def forget_lost_caches(jobs: Iterable[Job], out: Path, store: Path) -> bool:
    """Removes records whose cache is not in `store` any more, or holds other images, so that it is made again where it
    is needed; whether there were any.

    Raises:
        ManifestError: the manifest of some cannot be read.
    """
    lost: list[Path] = []
    for job in jobs:
        records = [out / path for path in job.outputs if job.kind == "extract" and (out / path).suffix == ".json"]
        there, file = [path for path in records if path.exists()], out / job.command[2]
        if there and file.exists():  # one that is to be built again is embedded again too
            manifest = Manifest.load(file)
            lost += [path for path in there if not record_is_current(path, store, manifest)]
    for path in lost:
        path.unlink(missing_ok=True)
    return bool(lost)

"""Why jobs failed: the ends of their logs, and what Snakemake says of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ..jobs import Job

SNAKEMAKE_LOG = "logs/snakemake.log"
"""What Snakemake itself writes, relative to the folder of results."""
_LAST_LINES = 6
_LAST_BYTES = 20_000
_ERROR = re.compile(
    r"^Error in rule (?P<name>[^\n]+):\n    message: (?P<message>.+?)\n    jobid: ", re.MULTILINE | re.DOTALL
)
_REFUSAL = re.compile(r"The error message was '(.+?)'\.?$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Failure:
    """A job that failed."""

    job: Job
    log: Path
    last_lines: tuple[str, ...]
    """The end of its log; none if it never began."""
    reason: str
    """What Snakemake or a cluster says of it, such as that its time was up; often empty."""


def reasons(out: Path) -> dict[str, str]:
    """The jobs of which a try failed by the log of the last Snakemake in `out`, and what it says beyond that."""
    log = out / SNAKEMAKE_LOG
    text = log.read_text("utf-8", "replace") if log.exists() else ""
    return {error["name"]: _in_short(error["message"]) for error in _ERROR.finditer(text)}


def _in_short(message: str) -> str:
    refusal = _REFUSAL.search(message)
    return "" if message == "None" else (refusal[1] if refusal else message.splitlines()[0]).strip()


def last_lines(log: Path, most: int = _LAST_LINES) -> tuple[str, ...]:
    """The last lines of a log that are not empty; none where there is no log."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _LAST_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ()
    return tuple([line.rstrip() for line in text.splitlines() if line.strip()][-most:])

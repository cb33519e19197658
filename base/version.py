"""The version of this installation, and that of a study whose job it runs."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version

from .errors import StudyError

VERSION_VARIABLE = "MEDPROBE_VERSION"
"""Environment variable of the jobs of a study: the version that wrote them."""


def own_version() -> str:
    """The version of this installation."""
    return version("medprobe")


def refuse_other_version() -> None:
    """StudyError unless a job of a study is run by the version that the study was compiled by."""
    wanted = os.environ.get(VERSION_VARIABLE)
    if wanted and wanted != own_version():
        raise StudyError(
            f"this job is of a study that medprobe {wanted} runs, and here is medprobe {own_version()} ({sys.prefix}). "
            f"Activate the environment of {wanted} in the study (cluster: before), or run the study with this version."
        )

"""Studies: a file that says what is compared on which data, and the jobs that it takes."""

from .jobs import Job, Needs
from .schema import StudyFile

__all__ = ["Job", "Needs", "StudyFile"]

"""Studies: a file that says what is compared on which data, and the jobs that it takes.

In: a study file or the name of a preset. Out: jobs, each a command of medprobe, with their files and what they take.
Nothing here imports torch.
"""

from .compiling import compile_study
from .jobs import Job
from .loading import load_study, preset_names
from .schema import StudyFile

__all__ = ["Job", "StudyFile", "compile_study", "load_study", "preset_names"]

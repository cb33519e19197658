"""Studies: a file that says what is compared on which data, and the jobs that it takes.

In: a study file or the name of a preset. Out: jobs, each a command of medprobe, with their files and what they take.
Nothing here imports torch.
"""

from .compiling import compile_study
from .data_sets import Missing, results_folder, store_folder
from .jobs import Job, Needs
from .loading import load_study, preset_names, study_place
from .plan import missing_data, plan_notes
from .schema import StudyFile

__all__ = [
    "Job",
    "Missing",
    "Needs",
    "StudyFile",
    "compile_study",
    "load_study",
    "missing_data",
    "plan_notes",
    "preset_names",
    "results_folder",
    "store_folder",
    "study_place",
]

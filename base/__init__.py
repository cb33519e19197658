"""What every package uses: errors, files written whole, canonical JSON, text of messages, progress.

In: nothing of the project. Out: small helpers without a policy of their own.
"""

from .canonical import canonical_json, fingerprint
from .cores import usable_cores
from .errors import (
    BackboneError,
    CacheError,
    ImageError,
    ManifestError,
    MedprobeError,
    MedprobeWarning,
    OutputError,
    ProbeError,
    QuarantineError,
    ReportError,
    WeightsError,
    WorkerError,
)
from .faults import fault_in_words
from .files import atomic_folder, atomic_path, fsync_folder, make_folder, user_cache, writing
from .progress import Bar, progress
from .text import counted, did_you_mean, first_line, no_such, one_of, percent

__all__ = [
    "BackboneError",
    "Bar",
    "CacheError",
    "ImageError",
    "ManifestError",
    "MedprobeError",
    "MedprobeWarning",
    "OutputError",
    "ProbeError",
    "QuarantineError",
    "ReportError",
    "WeightsError",
    "WorkerError",
    "atomic_folder",
    "atomic_path",
    "canonical_json",
    "counted",
    "did_you_mean",
    "fault_in_words",
    "fingerprint",
    "first_line",
    "fsync_folder",
    "make_folder",
    "no_such",
    "one_of",
    "percent",
    "progress",
    "usable_cores",
    "user_cache",
    "writing",
]

"""What every package uses: errors, files written whole, canonical JSON, text of messages, progress.

In: nothing of the project. Out: small helpers without a policy of their own.
"""

from .canonical import canonical_json, fingerprint
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
from .files import atomic_folder, atomic_path, writing
from .hardware import usable_cores
from .progress import progress
from .text import counted, did_you_mean, look_up, no_such, one_of, percent

__all__ = [
    "BackboneError",
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
    "fingerprint",
    "look_up",
    "no_such",
    "one_of",
    "percent",
    "progress",
    "usable_cores",
    "writing",
]

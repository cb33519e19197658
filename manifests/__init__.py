"""Says what is to be embedded and what it means: the manifest, its dataset card, checks, readers and builders.

In: folders of images, tables of labels, npz files. Out: `Manifest` (samples, units, pixels) and `Finding`s about it.
Nothing here knows of networks, caches or probes.
"""

from .builders import BUILDERS, Builder, build_csv, build_folder, build_npz
from .card import METRIC_NAMES, TASKS, DatasetCard, Task
from .checks import CHECKS, check_manifest
from .counts import class_counts
from .finding import CODES, Code, Finding, Severity
from .manifest import Manifest, refuse_existing
from .montage import draw_montage
from .readers import READERS, Reader, content_digest, read_image
from .source import Source, source_stamp
from .units import Units

__all__ = [
    "BUILDERS",
    "CHECKS",
    "CODES",
    "METRIC_NAMES",
    "READERS",
    "TASKS",
    "Builder",
    "Code",
    "DatasetCard",
    "Finding",
    "Manifest",
    "Reader",
    "Severity",
    "Source",
    "Task",
    "Units",
    "build_csv",
    "build_folder",
    "build_npz",
    "check_manifest",
    "class_counts",
    "content_digest",
    "draw_montage",
    "read_image",
    "refuse_existing",
    "source_stamp",
]

"""Says what is to be embedded and what it means: the manifest, its dataset card, checks, readers and builders.

In: folders of images, tables of labels, npz files. Out: `Manifest` (samples, units, pixels), lists of `Diagnostic`.
Nothing here knows of networks, caches or probes.
"""

from .builders.folder import build_folder
from .builders.image_table import build_csv
from .builders.npz import build_npz
from .checks import CHECKS, check_manifest
from .checks.fix_duplicates import FIXES, Fixed, drop_duplicates, group_duplicates
from .checks.spelling import spelling_warnings
from .image_stats.compute import ImageStats
from .image_stats.scan import compute_image_stats, manifest_image_stats, store_image_stats
from .manifest import Manifest, refuse_existing
from .pseudonyms import Pseudonyms, columns_with_ids
from .readers import READERS, Reader, content_digest, read_image
from .readers.slices import Axis, SliceChoice
from .readers.source import Source, source_stamp
from .registry import BUILDERS, Builder
from .schema.card import METRIC_NAMES, TASKS, DatasetCard, Task, class_words
from .schema.intensity_policy import IntensityPolicy
from .schema.units import Units
from .splits import SplitPreset, read_split, resplit
from .stratified_groups import assign_folds, shuffle_keys, shuffled, stratified_group_split
from .summary.attributes import AttributeCounts, attribute_counts
from .summary.counts import (
    ClassBalance,
    balance_in_words,
    class_balance,
    class_counts,
    counted_things,
    group_counts,
    group_words,
)
from .summary.warnings import manifest_warnings
from .validation.diagnostics import CODES, Code, Diagnostic, Severity

__all__ = [
    "BUILDERS",
    "CHECKS",
    "CODES",
    "FIXES",
    "METRIC_NAMES",
    "READERS",
    "TASKS",
    "AttributeCounts",
    "Axis",
    "Builder",
    "ClassBalance",
    "Code",
    "DatasetCard",
    "Diagnostic",
    "Fixed",
    "ImageStats",
    "IntensityPolicy",
    "Manifest",
    "Pseudonyms",
    "Reader",
    "Severity",
    "SliceChoice",
    "Source",
    "SplitPreset",
    "Task",
    "Units",
    "assign_folds",
    "attribute_counts",
    "balance_in_words",
    "build_csv",
    "build_folder",
    "build_npz",
    "check_manifest",
    "class_balance",
    "class_counts",
    "class_words",
    "columns_with_ids",
    "compute_image_stats",
    "content_digest",
    "counted_things",
    "drop_duplicates",
    "group_counts",
    "group_duplicates",
    "group_words",
    "manifest_image_stats",
    "manifest_warnings",
    "read_image",
    "read_split",
    "refuse_existing",
    "resplit",
    "shuffle_keys",
    "shuffled",
    "source_stamp",
    "spelling_warnings",
    "store_image_stats",
    "stratified_group_split",
]

"""Says what is to be embedded and what it means: the manifest, its dataset card, checks, readers and builders.

In: folders of images, tables of labels, npz files. Out: `Manifest` (samples, units, pixels), lists of `Diagnostic`.
Nothing here knows of networks, caches or probes.
"""

from .builders.folder import build_folder
from .builders.image_table import build_csv
from .builders.npz import build_npz
from .builders.slices import SliceChoice
from .checks import check_manifest
from .checks.fix_duplicates import drop_duplicates, group_duplicates
from .image_stats.compute import ImageStats
from .image_stats.scan import manifest_image_stats
from .manifest import Manifest
from .readers import READERS, content_digest, read_image
from .readers.source import Source
from .registry import BUILDERS
from .schema.card import DatasetCard
from .schema.groups import Units
from .schema.intensity_policy import IntensityPolicy
from .splits import resplit
from .stratified_groups import assign_folds, stratified_group_split
from .summary.attributes import attribute_counts
from .summary.counts import class_balance
from .validation.diagnostics import CODES, Diagnostic

__all__ = [
    "BUILDERS",
    "CODES",
    "READERS",
    "DatasetCard",
    "Diagnostic",
    "ImageStats",
    "IntensityPolicy",
    "Manifest",
    "SliceChoice",
    "Source",
    "Units",
    "assign_folds",
    "attribute_counts",
    "build_csv",
    "build_folder",
    "build_npz",
    "check_manifest",
    "class_balance",
    "content_digest",
    "drop_duplicates",
    "group_duplicates",
    "manifest_image_stats",
    "read_image",
    "resplit",
    "stratified_group_split",
]

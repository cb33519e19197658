"""Says what is to be embedded and what it means: the manifest, its dataset card, checks, readers and builders.

In: folders of images, tables of labels, npz files. Out: `Manifest` (samples, units, pixels) and `Finding`s about it.
Nothing here knows of networks, caches or probes.
"""

from .alike import spelling_remarks
from .allocation import allocate, deal, shuffle_keys, shuffled
from .attributes import AttributeCounts, attribute_counts
from .builders import BUILDERS, Builder, build_csv, build_folder, build_npz
from .card import METRIC_NAMES, TASKS, DatasetCard, Task, class_words
from .checks import CHECKS, check_manifest
from .codes import CODES, Code, Severity
from .counts import (
    ClassBalance,
    balance_in_words,
    class_balance,
    class_counts,
    counted_things,
    group_counts,
    group_words,
)
from .croissant import Publication, write_croissant
from .duplicates import FIXES, Fixed, drop_duplicates, group_duplicates
from .finding import Finding
from .manifest import Manifest, refuse_existing
from .montage import TILE, Examples, class_examples, draw_montage
from .pseudonyms import Pseudonyms, identifying
from .readers import READERS, Reader, content_digest, read_image
from .reading import Reading
from .reading_effect import reading_matters
from .remarks import manifest_remarks
from .slices import Axis, SliceChoice
from .source import Source, source_stamp
from .splits import SplitPreset, read_split, resplit
from .survey import Survey
from .surveying import keep_survey, survey_images, survey_manifest
from .units import Units

__all__ = [
    "BUILDERS",
    "CHECKS",
    "CODES",
    "FIXES",
    "METRIC_NAMES",
    "READERS",
    "TASKS",
    "TILE",
    "AttributeCounts",
    "Axis",
    "Builder",
    "ClassBalance",
    "Code",
    "DatasetCard",
    "Examples",
    "Finding",
    "Fixed",
    "Manifest",
    "Pseudonyms",
    "Publication",
    "Reader",
    "Reading",
    "Severity",
    "SliceChoice",
    "Source",
    "SplitPreset",
    "Survey",
    "Task",
    "Units",
    "allocate",
    "attribute_counts",
    "balance_in_words",
    "build_csv",
    "build_folder",
    "build_npz",
    "check_manifest",
    "class_balance",
    "class_counts",
    "class_examples",
    "class_words",
    "content_digest",
    "counted_things",
    "deal",
    "draw_montage",
    "drop_duplicates",
    "group_counts",
    "group_duplicates",
    "group_words",
    "identifying",
    "keep_survey",
    "manifest_remarks",
    "read_image",
    "read_split",
    "reading_matters",
    "refuse_existing",
    "resplit",
    "shuffle_keys",
    "shuffled",
    "source_stamp",
    "spelling_remarks",
    "survey_images",
    "survey_manifest",
    "write_croissant",
]

"""What may be wrong with a manifest that is well formed: images, leaks between splits, labels that mislead.

In: a manifest, and embeddings of its images if there are any. Out: a list of `Diagnostic`, each with a stable code.
A further check is one function, in the file that it belongs to, and one line in `CHECKS`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..manifest import Manifest
from ..validation.diagnostics import Diagnostic, by_severity
from .context import Check, CheckContext
from .images import (
    constant_images,
    extreme_aspects,
    images_with_text,
    paths_outside_root,
    unreadable_images,
)
from .labels import absent_classes, labels_like_ids, rare_classes, units_with_two_attributes
from .near_duplicates import near_duplicates, near_embeddings
from .patients_in_paths import groups_in_names
from .shortcuts import formats_that_tell_classes
from .spelling import alike_names
from .split_leakage import groups_across_splits, pixels_across_splits, pixels_repeated, pixels_with_two_labels

__all__ = ["CHECKS", "Check", "CheckContext", "check_manifest"]

CHECKS: tuple[Check, ...] = (
    unreadable_images,
    paths_outside_root,
    constant_images,
    extreme_aspects,
    images_with_text,
    groups_across_splits,
    pixels_across_splits,
    pixels_with_two_labels,
    pixels_repeated,
    near_duplicates,
    near_embeddings,
    groups_in_names,
    units_with_two_attributes,
    rare_classes,
    absent_classes,
    alike_names,
    labels_like_ids,
    formats_that_tell_classes,
)
"""In the order of the report."""


def check_manifest(
    manifest: Manifest, *, embeddings: Mapping[str, np.ndarray] | None = None, progress: bool = True
) -> list[Diagnostic]:
    """Looks for everything that is known to go wrong, decoding each image once, and again only when it has changed.

    Args:
        manifest: may have been loaded with `strict=False`, so that structural faults are reported with the rest.
        embeddings: by the name of what made them, float (N, D) in the order of the manifest's rows; NaN throughout a
            row that has none. They find similar images whose pixels differ.
        progress: show a bar while images are read and embeddings compared.

    Returns:
        All diagnostics: errors first, then in the order of `CHECKS`. docs/checks.md explains the codes.

    Raises:
        ManifestError: embeddings have another number of rows than the manifest.

    Examples:
        >>> from medprobe.manifests import check_manifest
        >>> [found.code for found in check_manifest(manifest, progress=False)]
        ['pixels-repeated']
    """
    context = CheckContext(manifest, dict(embeddings or {}), progress)
    return by_severity([*manifest.faults, *(found for check in CHECKS for found in check(context))])

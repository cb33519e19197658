"""What may be wrong with a manifest that is well formed: images, leaks between splits, labels that mislead.

In: a manifest, and embeddings of its images if there are any. Out: a list of `Diagnostic`, each with a stable code.
A further check is one function, in the file that it belongs to, and one line in `CHECKS`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..manifest import Manifest
from ..validation.diagnostics import Diagnostic, by_severity
from . import images, labels, near_duplicates, patients_in_paths, shortcuts, spelling, split_leakage
from .context import Check, CheckContext

__all__ = ["CHECKS", "Check", "CheckContext", "check_manifest"]

CHECKS: tuple[Check, ...] = (
    images.unreadable_images,
    images.constant_images,
    images.extreme_aspects,
    images.images_with_text,
    split_leakage.groups_across_splits,
    split_leakage.pixels_across_splits,
    split_leakage.pixels_with_two_labels,
    split_leakage.pixels_repeated,
    near_duplicates.near_images,
    patients_in_paths.groups_in_names,
    labels.units_with_two_attributes,
    labels.rare_classes,
    labels.absent_classes,
    spelling.alike_names,
    labels.labels_like_ids,
    shortcuts.formats_that_tell_classes,
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

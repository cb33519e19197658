"""MedMNIST v2 and MedMNIST+ (Yang et al. 2023, Scientific Data 10, 41): 18 sets of 2-D and 3-D images by name.

Layout as described at https://medmnist.com and https://github.com/MedMNIST/MedMNIST.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from ...base import ManifestError, did_you_mean, one_of
from ..manifest import Manifest
from .common import Notice, silent
from .medmnist_facts import SetFacts, all_sets, name_and_size
from .npz import build_npz, read_shapes

Size = Literal["28", "64", "128", "224"]

_CITATION = (
    "Yang J, Shi R, Wei D, et al. MedMNIST v2 - a large-scale lightweight benchmark for 2D and 3D biomedical image "
    "classification. Scientific Data 10:41, 2023. doi:10.1038/s41597-022-01721-8"
)


def build_medmnist(
    dataset: Path | str,
    *,
    size: Size | None = None,
    slices: str = "all",
    name: str | None = None,
    notice: Notice = silent,
) -> Manifest:
    """A manifest of one of MedMNIST's 18 sets; the images stay in its npz file.

    Task, classes and licence are the set's own: binary, multiclass, ordinal (retinamnist) or multilabel (chestmnist).
    The splits are the published ones. The set names no patients, so an image, or a volume, is a group of its own.

    Args:
        dataset: name of the set, such as pneumoniamnist, looked for in ~/.medmnist (as the package medmnist does);
            or a file with a published name, such as data/pneumoniamnist_224.npz.
        size: image size in pixels: 28, 64, 128 or 224 (28 or 64 for 3-D sets).
        slices: slices to take from 3-D sets: all, middle, middle:N (N slices around the middle) or every:N.
        name: name of the data set; by default the file name.
        notice: called with a message if the numbers of samples are not the published ones.

    Raises:
        ManifestError: there is no such set or size, the file is not there (the message says where to put it and where
            it is published), holds images of another size, or is not in MedMNIST's layout.
    """
    try:
        return _build(dataset, size, slices, name, notice)
    except ManifestError as error:
        # A home is called after its user.
        raise ManifestError(str(error).replace(f"{Path.home()}{os.sep}", f"~{os.sep}")) from error


def _build(dataset: Path | str, requested: str | None, slices: str, name: str | None, notice: Notice) -> Manifest:
    facts, size, file = _find(dataset, requested)
    if not file.is_file():
        raise ManifestError(f"{file}: there is no such file. Put it there from {facts.url(size)}.")
    # A file without a size in its name may be of any.
    if requested or file.stem.lower() != facts.name:
        shapes = [shape for array, (shape, _) in read_shapes(file).items() if array.endswith("_images")]
        held = sorted({shape[2] for shape in shapes if len(shape) > 2} - {size})
        if held:
            remedy = "omit --size" if requested else "rename the file"
            raise ManifestError(
                f"{file}: holds images of {one_of(map(str, held))} pixels, but {size} are requested; {remedy}, or put "
                f"the file of that size there from {facts.url(size)}."
            )
    manifest = build_npz(file, name=name, task=facts.task, classes=facts.classes, slices=slices, notice=notice)
    held = manifest.unit_ids.groupby(manifest.table["split"]).nunique()
    others = [
        f"{held.get(split, 0):,} of {published:,} in {split}"
        for split, published in facts.samples.items()
        if held.get(split, 0) != published
    ]
    if others:
        notice(f"The file holds other numbers of samples than {facts.title} as published: {one_of(others)}.")
    manifest.card.license, manifest.card.citation = facts.license, _CITATION
    return manifest


def _find(dataset: Path | str, requested: str | None) -> tuple[SetFacts, int, Path]:
    """The set, its size, and the file that should hold it."""
    given, sets = Path(dataset), all_sets()
    name, named = name_and_size(given.stem)
    if name not in sets:
        raise ManifestError(
            f"{dataset}: is not a set of MedMNIST; there are {one_of(sets, most=len(sets))}.{did_you_mean(name, sets)} "
            "Another npz file in the same layout is built by `medprobe manifest build npz`."
        )
    facts = sets[name]
    requested = None if requested is None else str(requested)
    if requested is not None and named is not None and named != requested:
        raise ManifestError(f"{dataset}: has {named} pixels by its name, but --size is {requested}; omit one of them.")
    wanted, sizes = requested or named or "28", {str(size): size for size in facts.sizes}
    if wanted not in sizes:
        where = dataset if requested is None else f"--size {requested}"
        raise ManifestError(f"{where}: {facts.title} has no size {wanted}; it has {one_of(sizes)}.")
    size, by_path = sizes[wanted], given.suffix.lower() == ".npz"
    return facts, size, given if by_path else Path.home() / ".medmnist" / facts.file_name(size)

"""The Brain Tumor MRI Dataset (M. Nickparvar, Kaggle): `Training` and `Testing` of four class folders.

Layout as described at https://www.kaggle.com/datasets/masoudnickparvar/brain-tumor-mri-dataset.
"""

from __future__ import annotations

from pathlib import Path

from ..builders.common import Notice, assemble, silent
from ..builders.folder import class_folder_table, unpacked
from ..manifest import Manifest

_CLASSES = ["glioma", "meningioma", "notumor", "pituitary"]
_LAYOUT = "Training/CLASS/*.jpg and Testing/CLASS/*.jpg with the classes glioma, meningioma, notumor and pituitary"


def build_brain_tumor_mri(src: Path | str, *, name: str | None = None, notice: Notice = silent) -> Manifest:
    """A manifest of the Brain Tumor MRI Dataset as Kaggle has it: `Training/glioma/*.jpg`, `Testing/notumor/*.jpg`.

    Four classes: glioma, meningioma, notumor, pituitary. Training is the split train and Testing the split test; the
    folders may be spelt train and test. The set names no patients, and contains copies of images in both train and
    test: `medprobe manifest check` finds them.

    Args:
        src: folder that contains Training and Testing; paths in the manifest start from it.
        name: name of the data set; by default brain-tumor-mri.
        notice: called with messages about what was skipped.

    Raises:
        ManifestError: no such folder, a class has no folder, or there are no images.
    """
    src = unpacked(Path(src), "brain-tumor-mri-dataset", _CLASSES)
    table = class_folder_table(src, notice, classes=_CLASSES, layout=_LAYOUT)
    notice(
        "The set names no patients, so slices of one patient may be in both train and test and scores too high; "
        "`medprobe manifest check` finds at least the exact copies."
    )
    return assemble(
        table,
        str(src),
        src,
        name=name or "brain-tumor-mri",
        task="multiclass",
        classes=_CLASSES,
        license="CC0 1.0",
        citation="Nickparvar M. Brain Tumor MRI Dataset. Kaggle, 2021. doi:10.34740/kaggle/dsv/2645886",
    )

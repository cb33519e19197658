"""The builders by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from .builders.dicom import build_dicom
from .builders.folder import build_folder
from .builders.image_table import build_csv
from .builders.medmnist import build_medmnist
from .builders.nifti import build_nifti
from .builders.npz import build_npz
from .datasets.glioma_mri import build_glioma_mri
from .datasets.published import published
from .datasets.study_splits import CBIS_DDSM_SPLITS, CHEXPERT_SPLITS
from .manifest import Manifest
from .splits import HUANG2024, SplitPreset, huix2024


@dataclass(frozen=True)
class Builder:
    """One way to build a manifest. The command line makes its options from the function's signature and docstring."""

    summary: str
    """One line for a list of builders."""
    build: Callable[..., Manifest]
    """Takes a path and keyword options; raises one `ManifestError` that lists all errors."""
    example: str
    """What one types after `medprobe manifest build NAME`."""
    splits: Mapping[str, SplitPreset] = field(default_factory=dict)
    """Splits of studies that used this data set, by name; they count rows in the order in which `build` gives them."""


def _published(name: str, splits: Mapping[str, SplitPreset] = MappingProxyType({})) -> Builder:
    """The builder of a data set that a TOML file describes."""
    spec, build = published(name)
    return Builder(spec.summary, build, spec.example, splits)


BUILDERS: dict[str, Builder] = {
    "folder": Builder(
        "class folders, with or without train/, val/, test/ above them", build_folder, "images --out brain.parquet"
    ),
    "csv": Builder(
        "a table of image paths and labels (CSV or Parquet)",
        build_csv,
        "labels.csv --image-column file --label-column dx --group-column patient --out skin.parquet",
    ),
    "npz": Builder(
        "arrays of images and labels in MedMNIST's layout",
        build_npz,
        "pneumoniamnist.npz --classes normal,pneumonia --out pneumonia.parquet",
    ),
    "medmnist": Builder(
        "one of MedMNIST's 18 sets by name, at 28 to 224 pixels", build_medmnist, "pneumoniamnist --size 224"
    ),
    "kermany-cxr": _published("kermany_cxr", HUANG2024),
    "ichallenge-amd": _published("ichallenge_amd", HUANG2024),
    "brain-tumor-mri": _published("brain_tumor_mri"),
    "dicom": Builder(
        "a tree of DICOM files and a table of labels by study, image or patient",
        build_dicom,
        "export --labels labels.csv --label-column diagnosis --attribute sex --out study.parquet",
    ),
    "nifti": Builder(
        "NIfTI volumes, a folder per patient and a file per sequence, and a table of labels",
        build_nifti,
        "cohort --label-column diagnosis --sequence t1 --sequence flair --slices axial:middle:5 --out cohort.parquet",
    ),
    "glioma-mri": Builder(
        "glioma MRI (BraTS and the like): NIfTI volumes and a table of grades",
        build_glioma_mri,
        "brats --sequence t1ce --sequence t2 --sequence flair --slices axial:middle:5 --out glioma.parquet",
    ),
    "aptos2019": _published("aptos2019", {"huix2024": huix2024(0.3)}),
    "isic2019": _published("isic2019", {"huix2024": huix2024(0.2)}),
    "ham10000": _published("ham10000", HUANG2024),
    "chexpert": _published("chexpert", CHEXPERT_SPLITS),
    "cbis-ddsm": _published("cbis_ddsm", CBIS_DDSM_SPLITS),
    "nih-cxr14": _published("nih_cxr14"),
    "mimic-cxr": _published("mimic_cxr"),
}

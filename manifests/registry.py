"""The builders by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from .builders.dicom_tree.build import build_dicom
from .builders.folder import build_folder
from .builders.image_table import build_csv
from .builders.medmnist import build_medmnist
from .builders.nifti import build_nifti
from .builders.npz import build_npz
from .datasets.glioma_mri import build_glioma_mri
from .datasets.published import builder_of
from .datasets.set_file import read_set, read_set_file
from .datasets.study_splits import CBIS_DDSM_SPLITS, CHEXPERT_SPLITS
from .manifest import Manifest
from .splits import HUANG2024, SplitPreset, huix2024

TABLE_TEMPLATE = Path(__file__).parent / "datasets" / "templates" / "my_set.toml"
"""A commented file for `table_builder` to start from."""


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
    spec = read_set(name)
    return Builder(spec.summary, builder_of(spec), spec.example, splits)


def table_builder(path: Path) -> Builder:
    """The builder of the data set that a user's TOML file describes (docs/tables.md).

    Raises:
        ManifestError: it cannot be read, or keys are unknown, missing or wrong; all are named.
    """
    spec = read_set_file(path)
    description = spec.description or f"A manifest of the data set {spec.name}, as {path.name} describes it."
    source = spec.source or f"folder that holds {spec.rows.files[0].names[0]}; paths in the manifest start from it."
    spec = spec.model_copy(update={"description": description, "source": source})
    return Builder(spec.summary or spec.name, builder_of(spec), spec.example or f"DATA_ROOT --out {spec.name}.parquet")


class _Builders(dict[str, Builder]):
    """By name; under the path of a TOML file, the builder of the data set that it describes."""

    def __missing__(self, name: str) -> Builder:
        if name.endswith(".toml"):
            return table_builder(Path(name))
        raise KeyError(name)


BUILDERS: dict[str, Builder] = _Builders()
BUILDERS |= {
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
    "rsna-pneumonia": _published("rsna_pneumonia"),
    "vindr-cxr": _published("vindr_cxr"),
    "padchest": _published("padchest"),
    "eyepacs": _published("eyepacs"),
    "messidor2": _published("messidor2"),
    "pad-ufes-20": _published("pad_ufes20"),
}

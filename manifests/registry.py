"""The builders by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from .builders.dicom import build_dicom
from .builders.folder import build_folder
from .builders.image_table import build_csv
from .builders.nifti import build_nifti
from .builders.npz import build_npz
from .datasets.aptos2019 import build_aptos2019
from .datasets.brain_tumor_mri import build_brain_tumor_mri
from .datasets.cbis_ddsm import CBIS_DDSM_SPLITS, build_cbis_ddsm
from .datasets.chexpert import CHEXPERT_SPLITS, build_chexpert
from .datasets.glioma_mri import build_glioma_mri
from .datasets.ham10000 import build_ham10000
from .datasets.ichallenge_amd import build_ichallenge_amd
from .datasets.isic2019 import build_isic2019
from .datasets.kermany_cxr import build_kermany_cxr
from .datasets.medmnist import build_medmnist
from .datasets.mimic_cxr import build_mimic_cxr
from .datasets.nih_cxr14 import build_nih_cxr14
from .manifest import Manifest
from .splits import SplitPreset, huix2024


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
    "kermany-cxr": Builder(
        "chest radiographs of children, normal or pneumonia (Kermany 2018)",
        build_kermany_cxr,
        "chest_xray --out kermany.parquet",
    ),
    "ichallenge-amd": Builder(
        "fundus photographs with and without AMD (ADAM challenge)",
        build_ichallenge_amd,
        "Training400 --out amd.parquet",
    ),
    "brain-tumor-mri": Builder(
        "brain MRI slices of three tumours or none (Nickparvar)", build_brain_tumor_mri, "brain-mri --out brain.parquet"
    ),
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
    "aptos2019": Builder(
        "APTOS 2019: fundus photographs, five grades of diabetic retinopathy",
        build_aptos2019,
        "APTOS2019 --split huix2024 --out aptos.parquet",
        {"huix2024": huix2024(0.3)},
    ),
    "isic2019": Builder(
        "ISIC 2019: dermoscopy, eight classes, grouped by lesion",
        build_isic2019,
        "ISIC2019 --split grouped:80/10/10 --out isic.parquet",
        {"huix2024": huix2024(0.2)},
    ),
    "ham10000": Builder(
        "HAM10000 or ISIC 2018, task 3: dermoscopy, seven classes, grouped by lesion",
        build_ham10000,
        "HAM10000 --split grouped:80/20 --out ham.parquet",
    ),
    "chexpert": Builder(
        "CheXpert: chest radiographs, fourteen labels, grouped by patient",
        build_chexpert,
        "CheXpert-v1.0-small --frontal-only --uncertain ones --label Edema --label Cardiomegaly --out chexpert.parquet",
        CHEXPERT_SPLITS,
    ),
    "cbis-ddsm": Builder(
        "CBIS-DDSM: mammograms, benign or malignant, grouped by patient; or DDSM by lists",
        build_cbis_ddsm,
        "CBIS-DDSM --kind mass --unit breast --out cbis.parquet",
        CBIS_DDSM_SPLITS,
    ),
    "nih-cxr14": Builder(
        "NIH ChestX-ray14: chest radiographs, fourteen findings, grouped by patient",
        build_nih_cxr14,
        "ChestX-ray14 --out nih.parquet",
    ),
    "mimic-cxr": Builder(
        "MIMIC-CXR-JPG: chest radiographs, fourteen labels, grouped by patient",
        build_mimic_cxr,
        "mimic-cxr-jpg --frontal-only --out mimic.parquet",
    ),
}

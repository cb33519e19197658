"""Small trees of what is no published table: class folders, a table of one's own, volumes, DICOM files, arrays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from published_trees import TREES, Tree, write


def folder(src: Path) -> Tree:
    tree = Tree("folder", src, "", "")
    tree.add_images(f"{split}/{name}/{number}.png" for split in ("test", "train") for name in "ab" for number in "12")
    return tree


def kermany_cxr(src: Path) -> Tree:
    tree = Tree("kermany-cxr", src, "", "")
    tree.add_images(["test/NORMAL/IM-0001-0001.png", "test/PNEUMONIA/person1_virus_6.png",
                     "train/NORMAL/IM-0115-0001.png", "train/PNEUMONIA/person1_bacteria_1.png"])  # fmt: skip
    return tree


def ichallenge_amd(src: Path) -> Tree:
    tree = Tree("ichallenge-amd", src, "", "")
    tree.add_images(["AMD/A0001.jpg", "AMD/A0002.jpg", "Non-AMD/N0001.jpg", "Non-AMD/N0002.jpg"])
    return tree


def brain_tumor_mri(src: Path) -> Tree:
    tree = Tree("brain-tumor-mri", src, "", "")
    kinds = ("glioma", "meningioma", "notumor", "pituitary")
    tree.add_images(f"{split}/{kind}/1.jpg" for split in ("Testing", "Training") for kind in kinds)
    return tree


def csv(src: Path) -> Tree:
    tree = Tree("csv", src, "labels.csv", "dx", given="labels.csv")
    tree.options = {"image_column": "file", "label_columns": ["dx"], "group_column": "who", "split_column": "set"}
    names = [f"scans/{number}.png" for number in range(6)]
    rows = [f"{name},{'ab'[row % 2]},P{row // 2},{('train', 'test')[row // 4]}" for row, name in enumerate(names)]
    write(tree.file, ["file,dx,who,set", *rows])
    tree.add_images(names)
    return tree


def glioma_mri(src: Path) -> Tree:
    import nibabel

    tree = Tree("glioma-mri", src, "grades.csv", "grade", shape=(5, 4))
    tree.options = {"slices": "axial:middle:1", "sequences": ["t2"]}
    names = ["P1", "P2", "P3", "P4"]
    write(tree.file, ["patient,grade", *(f"{name},{grade}" for name, grade in zip(names, "2323", strict=True))])
    for number, name in enumerate(names):
        tree.images.append(f"{name}/{name}_t2.nii")
        (src / name).mkdir()
        values = np.random.default_rng(number).integers(0, 900, (4, 5, 3)).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), src / tree.images[-1])
    return tree


def dicom(src: Path) -> Tree:
    from made_dicom import dataset, written

    tree = Tree("dicom", src, "labels.csv", "finding", shape=(6, 5))
    tree.options = {"labels": tree.file, "label_columns": ["finding"]}
    write(tree.file, ["PatientID,finding", *(f"P{number},{'ab'[number % 2]}" for number in range(4))])
    for number in range(4):
        tree.images.append(f"export/{number}.dcm")
        pixels = np.random.default_rng(number).integers(0, 256, (6, 5), np.uint8)
        ids = {"PatientID": f"P{number}", "StudyInstanceUID": f"1.2.{number}", "SeriesInstanceUID": f"1.3.{number}"}
        file = src / tree.images[-1]
        file.parent.mkdir(exist_ok=True)
        written(file, dataset(pixels, SOPInstanceUID=f"1.4.{number}", Modality="DX", **ids))
    return tree


def npz(src: Path) -> Tree:
    tree = Tree("npz", src, "", "", given="scans.npz", shape=(9, 8))
    src.mkdir(parents=True)
    images = np.random.default_rng(0).integers(0, 256, (4, 9, 8), np.uint8)
    np.savez(src / "scans.npz", train_images=images, train_labels=np.array([0, 1, 0, 1]))
    tree.images = ["scans.npz"] * 4
    return tree


CLASS_FOLDERS = {"folder": folder, "kermany-cxr": kermany_cxr, "ichallenge-amd": ichallenge_amd,
                 "brain-tumor-mri": brain_tumor_mri}  # fmt: skip
OWN_TABLES = {"csv": csv, "glioma-mri": glioma_mri, "dicom": dicom}
ALL: dict[str, Callable[[Path], Tree]] = {**TREES, **CLASS_FOLDERS, **OWN_TABLES, "npz": npz}
FREE_NAMES = [name for name in ALL if name not in ("kermany-cxr", "npz")]
"""Those whose images may be called anything."""
_NEEDS = {"glioma-mri": "nibabel", "dicom": "pydicom"}


def make(name: str, src: Path) -> Tree:
    """The tree of this name at `src`; skips where the library that writes it is missing."""
    if name in _NEEDS:
        pytest.importorskip(_NEEDS[name])
    return ALL[name](src)

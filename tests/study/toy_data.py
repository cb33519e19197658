"""Small trees of the presets' data sets in their published layouts, with as many images as the splits need."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import nibabel
import numpy as np
from medprobe.manifests.builders.medmnist_facts import all_sets, name_and_size
from medprobe.manifests.datasets.set_file import read_set
from PIL import Image


def write_presets_data(root: Path) -> None:
    """All data sets but MedMNIST's."""
    _kermany_cxr(root / "chest_xray")
    _ichallenge_amd(root / "Training400")
    _ham10000(root / "HAM10000")
    _glioma(root / "glioma")
    _aptos2019(root / "APTOS2019")
    _ddsm(root / "DDSM")
    _isic2019(root / "ISIC2019")
    _chexpert(root / "CheXpert")


def write_medmnist(root: Path, names: Iterable[str]) -> None:
    """Sets of MedMNIST by the names of their files, two images or volumes a class in each part."""
    for name in names:
        stem, size = name_and_size(Path(name).stem)
        facts, side = all_sets()[stem], int(size or 28)
        rng = np.random.default_rng(list(name.encode()))
        arrays = {}
        for part, each in (("train", 4), ("val", 2), ("test", 2)):
            labels = np.repeat(np.arange(len(facts.classes)), each)
            shape = (len(labels), side, side, side) if stem.endswith("3d") else (len(labels), side, side)
            arrays[f"{part}_images"] = rng.integers(0, 256, shape, np.uint8)
            multilabel = facts.task == "multilabel"
            arrays[f"{part}_labels"] = (
                np.eye(len(facts.classes), dtype=np.uint8)[labels] if multilabel else labels[:, None]
            )
        np.savez(root / name, **arrays)


def _draw(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(list(str(path).encode())).integers(0, 256, (9, 8, 3), np.uint8)
    Image.fromarray(pixels).save(path, format="JPEG" if path.suffix in (".jpg", ".jpeg") else "PNG")


def _write(file: Path, lines: Sequence[str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _kermany_cxr(src: Path) -> None:
    first = 1
    for part, count in (("train", 10), ("val", 2), ("test", 4)):
        for number in range(first, first + count):
            _draw(src / part / "NORMAL" / f"IM-{number:04d}-0001.jpeg")
            _draw(src / part / "PNEUMONIA" / f"person{number}_bacteria_{number}.jpeg")
        first += count


def _ichallenge_amd(src: Path) -> None:
    for number in range(1, 13):
        _draw(src / "AMD" / f"A{number:04d}.jpg")
        _draw(src / "Non-AMD" / f"N{number:04d}.jpg")


def _ham10000(src: Path) -> None:
    kinds = ["bkl", "nv", "df", "mel", "vasc", "bcc", "akiec"]
    rows = ["lesion_id,image_id,dx,dx_type,age,sex,localization"]
    for row in range(70):
        name = f"ISIC_{24306 + row:07d}"
        rows.append(f"HAM_{row // 2:07d},{name},{kinds[row // 2 % 7]},histo,50.0,male,scalp")
        _draw(src / "HAM10000_images_part_1" / f"{name}.jpg")
    _write(src / "HAM10000_metadata.csv", rows)


def _glioma(src: Path) -> None:
    names = [f"P{number:02d}" for number in range(18)]
    _write(src / "grades.csv", ["patient,grade", *(f"{name},{2 + at % 3}" for at, name in enumerate(names))])
    for at, name in enumerate(names):
        (src / name).mkdir(parents=True)
        for number, sequence in enumerate(("t1ce", "t2", "flair")):
            values = np.random.default_rng([at, number]).integers(0, 900, (8, 8, 5)).astype(np.int16)
            nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), src / name / f"{name}_{sequence}.nii")


def _aptos2019(src: Path) -> None:
    names = [f"{row:012x}" for row in range(40)]
    _write(src / "train.csv", ["id_code,diagnosis", *(f"{name},{row % 5}" for row, name in enumerate(names))])
    for name in names:
        _draw(src / "train_images" / f"{name}.png")


def _ddsm(src: Path) -> None:
    number = 0
    for part, count in (("train", 6), ("val", 2), ("test", 2)):
        names = []
        for finding in ("normal_01", "benign_02", "cancer_05"):
            for _ in range(count):
                number += 1
                names.append(f"{finding}-A_{number:04d}_1.LEFT_CC.LJPEG.1.jpg")
                _draw(src / "ddsm_raw" / names[-1])
        _write(src / "ddsm_raw_image_lists" / f"{part}.txt", names)


def _isic2019(src: Path) -> None:
    classes = ["MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK"]
    truth, about = [",".join(["image", *classes])], ["image,age_approx,anatom_site_general,lesion_id,sex"]
    for row in range(160):
        name, chosen = f"ISIC_{row:07d}", row // 2 % 8
        truth.append(",".join([name, *(f"{float(at == chosen)}" for at in range(9))]))
        about.append(f"{name},50.0,anterior torso,BCN_{row // 2:07d},male")
        _draw(src / "train" / f"{name}.jpg")
    _write(src / "ISIC_2019_Training_GroundTruth.csv", truth)
    _write(src / "ISIC_2019_Training_Metadata.csv", about)


def _chexpert(src: Path) -> None:
    labels = read_set("chexpert").classes
    header = ",".join(["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *labels])
    for part, first, patients in (("train", 1, 84), ("valid", 64541, 2)):
        rows = [header]
        for patient in range(first, first + patients):
            image = f"{part}/patient{patient:05d}/study1/view1_frontal.jpg"
            found = ["1.0" if at == patient % 14 else ("", "-1.0", "0.0")[at % 3] for at in range(14)]
            rows.append(f"CheXpert-v1.0-small/{image},Female,50,Frontal,AP,{','.join(found)}")
            _draw(src / image)
        _write(src / f"{part}.csv", rows)

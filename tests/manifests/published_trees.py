"""Small trees in the layouts that data sets are published in, with real images of noise."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from medprobe.base import ManifestError
from medprobe.manifests import BUILDERS, Manifest
from PIL import Image

CHEST = (
    "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema", "Consolidation",
    "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture", "Support Devices",
)  # fmt: skip


def refused(build: Callable[[], object], *words: str) -> str:
    """The message of the `ManifestError` that `build` raises, in which all `words` are."""
    with pytest.raises(ManifestError) as refusal:
        build()
    for word in words:
        assert word in str(refusal.value)
    return str(refusal.value)


@dataclass
class Tree:
    """A data set on disk, and what a test may want to spoil in it."""

    builder: str
    src: Path
    table: str
    """The table whose rows are the manifest's."""
    label: str
    """A column of it without which a row has no label, or for sets of many labels its key."""
    images: list[str] = field(default_factory=list)
    """Path below `src` of each row's image, in the order of rows."""
    rows: int = 0
    given: str = ""
    """What is given to the builder, below `src`."""
    options: dict[str, object] = field(default_factory=dict)
    """What the builder needs besides."""
    shape: tuple[int, ...] = (9, 8, 3)
    """Of each image."""

    @property
    def file(self) -> Path:
        return self.src / self.table

    def build(self, **options: object) -> Manifest:
        return BUILDERS[self.builder].build(self.src / self.given, **{**self.options, **options})

    def add_images(self, paths: Iterable[str]) -> None:
        for path in paths:
            self.images.append(path)
            draw(self.src / path)

    def change(self, old: str, new: str, file: str = "") -> None:
        """Replaces the first `old` in a table; it must be there."""
        path = self.src / (file or self.table)
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    def rename_image(self, row: int, ending: str) -> None:
        """Writes `ending` behind the name of a row's image, in the folder and wherever a table or a list names it."""
        old = self.images[row]
        stem = old.removesuffix(Path(old).suffix)
        renamed = {one: one.replace(stem, stem + ending) for one in (old, stem)}
        renamed |= {Path(one).name: Path(new).name for one, new in renamed.items()}
        (self.src / old).rename(self.src / renamed[old])
        self.images[row] = renamed[old]
        for file in self.src.rglob("*.txt"):
            write(file, [renamed.get(line, line) for line in file.read_text(encoding="utf-8").splitlines()])
        for file in self.src.rglob("*.csv"):
            with file.open(encoding="utf-8", newline="") as opened:
                rows = list(csv.reader(opened))
            with file.open("w", encoding="utf-8", newline="") as opened:
                csv.writer(opened).writerows(
                    [renamed.get(cell, cell.replace(f"/{old}", f"/{renamed[old]}")) for cell in cells] for cells in rows
                )

    def repeat_row(self, row: int) -> None:
        """Writes a row, counted from 1, a second time at the end of the table."""
        lines = self.file.read_text(encoding="utf-8").splitlines()
        write(self.file, [*lines, lines[row]])

    def blank(self, row: int, column: str) -> None:
        """Empties one cell."""
        lines = [line.split(",") for line in self.file.read_text(encoding="utf-8").splitlines()]
        lines[row][lines[0].index(column)] = ""
        write(self.file, [",".join(cells) for cells in lines])


def write(file: Path, lines: Sequence[str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    text = "\n".join(lines) + "\n"
    if file.suffix == ".gz":
        file.write_bytes(gzip.compress(text.encode()))
    else:
        file.write_text(text, encoding="utf-8")


def draw(path: Path) -> None:
    """A small image that its name alone decides, in the format of its suffix (PNG where Pillow has none)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(list("/".join(path.parts[-5:]).encode())).integers(0, 256, (9, 8, 3))
    Image.fromarray(pixels.astype(np.uint8)).save(path, format="JPEG" if path.suffix.lower() == ".jpg" else "PNG")


def aptos2019(src: Path) -> Tree:
    tree = Tree("aptos2019", src, "train.csv", "diagnosis", rows=10)
    ids = [f"{row:012x}" for row in range(10)]
    write(tree.file, ["id_code,diagnosis", *(f"{name},{row % 5}" for row, name in enumerate(ids))])
    tree.add_images(f"train_images/{name}.png" for name in ids)
    return tree


def isic2019(src: Path) -> Tree:
    tree = Tree("isic2019", src, "ISIC_2019_Training_GroundTruth.csv", "NV", rows=12)
    classes = ["MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK"]
    names = [f"ISIC_{row:07d}{'_downsampled' * (row == 1)}" for row in range(12)]
    label = [1, *(row % 8 for row in range(1, 12))]
    one_hot = [",".join(f"{float(position == chosen)}" for position in range(9)) for chosen in label]
    write(tree.file, [",".join(["image", *classes]), *map(",".join, zip(names, one_hot, strict=True))])
    lesions = ["" if row == 3 else f"BCN_{row // 2:07d}" for row in range(12)]
    metadata = [
        f"{name},{row * 5}.0,anterior torso,{lesions[row]},{'fe' * (row % 2)}male" for row, name in enumerate(names)
    ]
    # In another order than the ground truth, so that rows must be matched by name.
    write(
        src / "ISIC_2019_Training_Metadata.csv", ["image,age_approx,anatom_site_general,lesion_id,sex", *metadata[::-1]]
    )
    tree.add_images(f"ISIC_2019_Training_Input/{name}.jpg" for name in names)
    return tree


def ham10000(src: Path) -> Tree:
    tree = Tree("ham10000", src, "HAM10000_metadata.csv", "dx", rows=14)
    kinds = ["bkl", "nv", "df", "mel", "vasc", "bcc", "akiec"]
    names = [f"ISIC_{24306 + row:07d}" for row in range(14)]
    lines = [
        f"HAM_{row // 2:07d},{name},{kinds[row // 2]},histo,{40 + row}.0,male,scalp" for row, name in enumerate(names)
    ]
    lines[5] = lines[5].replace("45.0", "")
    write(tree.file, ["lesion_id,image_id,dx,dx_type,age,sex,localization", *lines])
    tree.add_images(f"HAM10000_images_part_{1 + row // 7}/{name}.jpg" for row, name in enumerate(names))
    return tree


def isic2018(src: Path) -> Tree:
    tree = Tree("ham10000", src, "ISIC2018_Task3_Training_GroundTruth/ISIC2018_Task3_Training_GroundTruth.csv", "NV")
    classes = ["MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC"]
    names = [f"ISIC_{24306 + row:07d}" for row in range(14)]
    one_hot = [",".join(f"{float(position == row // 2)}" for position in range(7)) for row in range(14)]
    write(tree.file, [",".join(["image", *classes]), *map(",".join, zip(names, one_hot, strict=True))])
    lesions = [f"{name},HAM_{row // 2:07d},histopathology" for row, name in enumerate(names)]
    write(
        src / "ISIC2018_Task3_Training_LesionGroupings.csv",
        ["image,lesion_id,diagnosis_confirm_type", *lesions],
    )
    tree.add_images(f"ISIC2018_Task3_Training_Input/{name}.jpg" for name in names)
    tree.rows = 14
    return tree


def chexpert(src: Path, patients: int = 6) -> Tree:
    """Two studies a patient, the second one first as published; a frontal and a lateral view in each second study."""
    tree = Tree("chexpert", src, "train.csv", "Path")
    header = ",".join(["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *CHEST])
    for part, count in (("train", patients), ("valid", 2)):
        lines = [header]
        for patient in range(1, count + 1):
            number = patient + (64540 if part == "valid" else 0)
            for study in (2, 1):
                for view in ("view1_frontal", "view2_lateral")[: 1 + (study == 2)]:
                    image = f"{part}/patient{number:05d}/study{study}/{view}.jpg"
                    frontal = view.endswith("frontal")
                    labels = dict.fromkeys(CHEST, "")
                    labels["Edema"] = ("1.0", "0.0", "-1.0")[patient % 3]
                    labels["Fracture"] = "1.0" if study == 1 else ""
                    kind = "Frontal,AP" if frontal else "Lateral,"
                    lines.append(
                        f"CheXpert-v1.0-small/{image},Female,{50 + patient},{kind},{','.join(labels.values())}"
                    )
                    tree.add_images([image])
        write(src / f"{part}.csv", lines)
    tree.rows = len(tree.images)
    return tree


def cbis_ddsm(src: Path) -> Tree:
    """Four tables; P_00002 has two masses in one image, P_00003 a mass in train and a calcification in test."""
    tree = Tree("cbis-ddsm", src, "mass_case_description_train_set.csv", "pathology", rows=8)
    header = "patient_id,{},left or right breast,image view,abnormality id,abnormality type,{},assessment,pathology,"
    header += "subtlety,image file path,cropped image file path,ROI mask file path"
    rows = {
        "mass_train": [("P_00001", "LEFT", "CC", "MALIGNANT"), ("P_00001", "LEFT", "MLO", "MALIGNANT"),
                       ("P_00002", "RIGHT", "CC", "BENIGN"), ("P_00002", "RIGHT", "CC", "MALIGNANT"),
                       ("P_00003", "LEFT", "CC", "BENIGN_WITHOUT_CALLBACK")],
        "mass_test": [("P_00010", "LEFT", "CC", "BENIGN")],
        "calc_train": [("P_00005", "LEFT", "MLO", "BENIGN"), ("P_00001", "RIGHT", "CC", "BENIGN")],
        "calc_test": [("P_00003", "LEFT", "CC", "MALIGNANT"), ("P_00012", "RIGHT", "MLO", "MALIGNANT")],
    }  # fmt: skip
    for table, found in rows.items():
        kind, part = table.split("_")
        columns = {
            "mass": ("breast_density", "mass shape,mass margins"),
            "calc": ("breast density", "calc type,calc distribution"),
        }[kind]
        lines = [header.format(*columns)]
        for number, (patient, side, view, pathology) in enumerate(found):
            exam = f"{kind.title()}-{part.title().replace('Train', 'Training')}_{patient}_{side}_{view}"
            path = f"{exam}/1.3.6.1.4.1.9590.100.1.2.1/1.3.6.1.4.1.9590.100.1.2.{number}/000000.dcm"
            kinds = f"{kind}{'ification' if kind == 'calc' else ''},OVAL,ROUND"
            # The published tables have a line break at the end of some paths.
            cells = [patient, "3", side, view, "1", kinds, "4", pathology, "5", f'"{path}\n"', "a.dcm", "b.dcm"]
            lines.append(",".join(cells))
            image = f"CBIS-DDSM/{exam}/07-20-2016-DDSM-74994/1.000000-full mammogram images-24515/1-1.dcm"
            if not (src / image).exists() and not (kind == "calc" and patient == "P_00003"):
                tree.add_images([image])
        write(src / f"{kind}_case_description_{part}_set.csv", lines)
    # In the order of the tables: masses in train and test, then calcifications.
    return tree


def ddsm_lists(src: Path) -> Tree:
    tree = Tree("cbis-ddsm", src, "ddsm_raw_image_lists/train.txt", "", rows=7)
    lists = {
        "train": ["normal_01-A_0002_1.LEFT_CC.LJPEG.1.jpg", "normal_01-A_0002_1.LEFT_MLO.LJPEG.1.jpg",
                  "cancer_05-C_0128_1.LEFT_CC.LJPEG.1.jpg"],
        "val": ["benign_01-C_0029_1.LEFT_CC.LJPEG.1.jpg", "normal_02-A_0104_1.LEFT_CC.LJPEG.1.jpg"],
        "test": ["benign_without_callback_02-B_3600_1.RIGHT_CC.LJPEG.1.jpg", "normal_03-A_0200_1.LEFT_CC.LJPEG.1.jpg"],
    }  # fmt: skip
    for split, names in lists.items():
        write(src / "ddsm_raw_image_lists" / f"{split}.txt", names)
        tree.add_images(f"ddsm_raw/{name}" for name in names)
    return tree


def nih_cxr14(src: Path) -> Tree:
    tree = Tree("nih-cxr14", src, "Data_Entry_2017.csv", "Finding Labels", rows=9)
    header = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    header += "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
    findings = ["Cardiomegaly", "Cardiomegaly|Emphysema", "No Finding"]
    names = [f"{row // 3 + 1:08d}_{row % 3:03d}.png" for row in range(9)]
    ages = ["058Y", "013M", "57"]
    lines = [f"{name},{findings[row % 3]},{row % 3},{row // 3 + 1},{ages[row // 3]},M,PA,2682,2749,0.143,0.143,"
             for row, name in enumerate(names)]  # fmt: skip
    write(tree.file, [header, *lines])
    write(src / "train_val_list.txt", names[:6])
    write(src / "test_list.txt", names[6:])
    tree.add_images(f"images_{1 + row // 5:03d}/images/{name}" for row, name in enumerate(names))
    return tree


def mimic_cxr(src: Path, packed: str = "") -> Tree:
    tree = Tree("mimic-cxr", src, f"mimic-cxr-2.0.0-metadata.csv{packed}", "study_id", rows=8)
    images, splits, studies = [], [], []
    for patient, part in enumerate(("train", "train", "validate", "test")):
        subject, study = 10000032 + patient, 50414267 + patient
        labels = dict.fromkeys(CHEST, "")
        labels["Edema"] = ("1.0", "-1.0", "0.0", "")[patient]
        studies.append(f"{subject},{study},{','.join(labels.values())}")
        for number, view in enumerate(("PA", "LATERAL")):
            dicom = f"{patient:08x}-5c2a9f2d-1e3b4c5d-6f7a8b9c-{number:08x}"
            images.append(f"{dicom},{subject},{study},CHEST (PA AND LAT),{view},3056,2544,21800506,213014.531")
            splits.append(f"{dicom},{study},{subject},{part}")
            tree.add_images([f"files/p10/p{subject}/s{study}/{dicom}.jpg"])
    header = (
        "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns,StudyDate,StudyTime"
    )
    write(tree.file, [header, *images])
    write(src / f"mimic-cxr-2.0.0-split.csv{packed}", ["dicom_id,study_id,subject_id,split", *splits])
    for labeller in ("chexpert", "negbio"):
        write(
            src / f"mimic-cxr-2.0.0-{labeller}.csv{packed}",
            [",".join(["subject_id", "study_id", *CHEST]), *reversed(studies)],
        )
    return tree


TREES: dict[str, Callable[[Path], Tree]] = {
    "aptos2019": aptos2019,
    "isic2019": isic2019,
    "ham10000": ham10000,
    "isic2018": isic2018,
    "chexpert": chexpert,
    "cbis-ddsm": cbis_ddsm,
    "ddsm-lists": ddsm_lists,
    "nih-cxr14": nih_cxr14,
    "mimic-cxr": mimic_cxr,
}

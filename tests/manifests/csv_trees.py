"""Small trees of further published sets, with the columns, spellings and repeated rows of their tables."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from made_dicom import dataset, written
from published_trees import Tree, draw, write

VINDR = (
    "Aortic enlargement", "Atelectasis", "Calcification", "Cardiomegaly", "Clavicle fracture", "Consolidation", "Edema",
    "Emphysema", "Enlarged PA", "ILD", "Infiltration", "Lung Opacity", "Lung cavity", "Lung cyst", "Mediastinal shift",
    "Nodule/Mass", "Pleural effusion", "Pleural thickening", "Pneumothorax", "Pulmonary fibrosis", "Rib fracture",
    "Other lesion", "COPD", "Lung tumor", "Pneumonia", "Tuberculosis", "Other diseases", "No finding",
)  # fmt: skip


def _draw_dicom(tree: Tree, *paths: str) -> None:
    for number, path in enumerate(paths, len(tree.images)):
        (tree.src / path).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (9, 8), dtype=np.uint8)
        written(tree.src / path, dataset(pixels, PatientID=Path(path).stem))
        tree.images.append(path)


def rsna_pneumonia(src: Path) -> Tree:
    """Six radiographs of three patients; the second has two boxes, so two rows in both tables."""
    tree = Tree("rsna-pneumonia", src, "stage_2_train_labels.csv", "Target", rows=6, shape=(9, 8))
    ids = [f"{row:08x}-4bf3-4ee8-9c5b-0123456789ab" for row in range(6)]
    found = ["Normal", "Lung Opacity", "No Lung Opacity / Not Normal", "Lung Opacity", "Normal", "Normal"]
    boxes = {1: ["264.0,152.0,213.0,379.0,1", "562.0,152.0,256.0,453.0,1"], 3: ["10.0,20.0,30.0,40.0,1"]}
    lines = [(name, box) for row, name in enumerate(ids) for box in boxes.get(row, [",,,,0"])]
    write(tree.file, ["patientId,x,y,width,height,Target", *(f"{name},{box}" for name, box in lines)])
    classes = dict(zip(ids, found, strict=True))
    write(src / "stage_2_detailed_class_info.csv", ["patientId,class", *(f"{one},{classes[one]}" for one, _ in lines)])
    records = [{"subset_img_id": name, "img_id": f"{row // 2 + 1:08d}_{row % 2:03d}.png", "orig_labels": ["Mass"]}
               for row, name in enumerate(ids)]  # fmt: skip
    (src / "pneumonia-challenge-dataset-mappings_2018.json").write_text(json.dumps(records))
    _draw_dicom(tree, *(f"stage_2_train_images/{name}.dcm" for name in ids))
    return tree


def vindr_cxr(src: Path) -> Tree:
    """Three readers of each training image and one consensus row of each test image, whose table has the singular."""
    tree = Tree("vindr-cxr", src, "annotations/image_labels_train.csv", "Edema", rows=6, shape=(9, 8))
    # What each reader found; nothing is "No finding".
    readings = [
        ("a1", [["Cardiomegaly", "Edema"], ["Cardiomegaly"], ["Pleural effusion"]]),
        ("b2", [[], [], ["Cardiomegaly"]]),
        ("c3", [["Other diseases"], ["Other diseases"], ["Other diseases"]]),
        ("d4", [[], [], []]),
        ("e5", [["Cardiomegaly"]]),
        ("f6", [[]]),
    ]

    def cells(seen: list[str]) -> str:
        return ",".join(str(int(name in (seen or ["No finding"]))) for name in VINDR)

    train = [f"{one},R{number + 8},{cells(seen)}" for one, readers in readings[:4]
             for number, seen in enumerate(readers)]  # fmt: skip
    test = [f"{one},{cells(readers[0])}" for one, readers in readings[4:]]
    write(tree.file, [",".join(["image_id", "rad_id", *VINDR]), *train])
    header = ",".join(["image_id", *VINDR]).replace("Other diseases", "Other disease")
    write(src / "annotations/image_labels_test.csv", [header, *test])
    _draw_dicom(tree, *(f"{'train' if row < 4 else 'test'}/{one}.dicom" for row, (one, _) in enumerate(readings)))
    return tree


def padchest(src: Path) -> Tree:
    """Labels as Python writes lists, some with blanks before words, and rows that name none."""
    tree = Tree("padchest", src, "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv", "Labels", rows=5)
    header = ",ImageID,ImageDir,StudyDate_DICOM,StudyID,PatientID,PatientBirth,PatientSex_DICOM,ViewPosition_DICOM,"
    header += "Projection,MethodProjection,Pediatric,ReportID,Report,MethodLabel,Labels,Localizations"
    rows = [
        (1, "P1", "PA", "Physician", "['cardiomegaly', ' pleural effusion']"),
        (1, "P1", "L", "Physician", "['cardiomegaly', ' pleural effusion']"),
        (2, "P2", "AP_horizontal", "RNN_model", "['normal']"),
        (3, "P2", "PA", "RNN_model", "['unchanged']"),
        (4, "P3", "PA", "RNN_model", ""),
        (5, "P3", "PA", "RNN_model", "['double J stent', 'a label of a later release', '']"),
        (6, "P4", "PA", "Physician", "['exclude']"),
        (7, "P4", "PA", "Physician", "['suboptimal study', 'cardiomegaly']"),
        (8, "P5", "AP", "Physician", "['NSG tube']"),
        (9, "P6", "EXCLUDE", "Physician", "['NSG tube']"),
        (9, "P6", "PA", "RNN_model", "nan"),
    ]
    lines = []
    for number, (study, patient, view, by, labels) in enumerate(rows):
        image = f"2168401113669640_{number:02d}-102-064.png"
        cells = [str(number), image, str(number % 2), "20140915", f"S{study}", patient, "1930.0", "F", "POSTERO",
                 view, "Manual", "No", str(4991845 + study), "sin hallazgos", by, f'"{labels}"', "[]"]  # fmt: skip
        lines.append(",".join(cells))
        if number in (0, 1, 2, 5, 8):
            tree.add_images([f"{number % 2}/{image}"])
    write(tree.file, [header, *lines])
    return tree


def eyepacs(src: Path) -> Tree:
    tree = Tree("eyepacs", src, "trainLabels.csv", "level", rows=8)
    parts = {"trainLabels.csv": ("train", (10, 13)), "retinopathy_solution.csv": ("test", (1, 2))}
    for table, (folder, patients) in parts.items():
        usage = {"train": "", "test": ",Private"}[folder]
        eyes = [f"{patient}_{eye}" for patient in patients for eye in ("left", "right")]
        lines = [f"{eye},{row % 5}{usage}" for row, eye in enumerate(eyes)]
        write(src / table, ["image,level" + usage.replace("Private", "Usage"), *lines])
        tree.add_images(f"{folder}/{eye}.jpeg" for eye in eyes)
    return tree


def messidor2(src: Path) -> Tree:
    """Seven photographs of four examinations, one without grade; grades write suffixes in small letters."""
    tree = Tree("messidor2", src, "messidor_data.csv", "adjudicated_dr_grade", rows=6)
    names = ["20051020_43808_0100_PP.png", "20051020_43832_0100_PP.png", "IM000001.JPG", "IM000002.JPG",
             "IM000003.JPG", "IM000004.JPG", "20051021_51127_0100_PP.png"]  # fmt: skip
    grades = ["0.0,0,1", "1.0,0,1", "2.0,1,1", ",,0", "3.0,0,1", "4.0,1,1", "0.0,0,1"]
    lines = [f"{name.replace('.JPG', '.jpg')},{grade}" for name, grade in zip(names, grades, strict=True)]
    write(tree.file, ["image_id,adjudicated_dr_grade,adjudicated_dme,adjudicated_gradable", *lines])
    write(src / "messidor-2.csv", ["left;right", *(f"{names[row]};{names[row + 1]}" for row in (0, 2, 4))])
    for row, name in enumerate(names):
        draw(src / "IMAGES" / name)
        tree.images += [f"IMAGES/{name}"] * (row != 3)
    return tree


def pad_ufes20(src: Path) -> Tree:
    """Six photographs of five lesions of three patients, with the blanks of patients who answered no questions."""
    tree = Tree("pad-ufes-20", src, "metadata.csv", "diagnostic", rows=6)
    header = "patient_id,lesion_id,smoke,drink,background_father,background_mother,age,pesticide,gender,"
    header += "skin_cancer_history,cancer_history,has_piped_water,has_sewage_system,fitspatrick,region,diameter_1,"
    header += "diameter_2,diagnostic,itch,grew,hurt,changed,bleed,elevation,img_id,biopsed"
    lesions = [(1516, 1765, "NEV"), (46, 881, "BCC"), (46, 881, "BCC"), (46, 882, "ACK"), (880, 140, "SCC"),
               (880, 141, "MEL")]  # fmt: skip
    lines = []
    for row, (patient, lesion, diagnosis) in enumerate(lesions):
        image = f"PAT_{patient}_{lesion}_{530 + row}.png"
        asked = patient != 1516
        who = "False,False,POMERANIA,POMERANIA,55,False,FEMALE,True,True,True,True,3.0" if asked else ",,,,8,,,,,,,"
        size = "6.0,5.0" if asked else ","
        symptoms = "True,UNK,False,False,False,True"
        lines.append(f"PAT_{patient},{lesion},{who},NECK,{size},{diagnosis},{symptoms},{image},{asked}")
        tree.add_images([f"imgs_part_{1 + row % 3}/{image}"])
    write(tree.file, [header, *lines])
    return tree


CSV_TREES = {
    "rsna-pneumonia": rsna_pneumonia,
    "vindr-cxr": vindr_cxr,
    "padchest": padchest,
    "eyepacs": eyepacs,
    "messidor2": messidor2,
    "pad-ufes-20": pad_ufes20,
}

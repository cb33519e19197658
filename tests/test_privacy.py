"""What never leaves with a result: planted names, patient ids and the working folder, looked for in all that is made.

The manifest's table and its key are exempt: the table's `path` must name the files as they are called, and the key
stays with whoever built the manifest.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image

_TINY = ("-b", "timm:test_vit@random", "--image-size", 32, "--workers", 0, "--runtime", "torch")
_SURNAMES = ("Kowalczyk", "Brzezinska", "Oyelaran", "Thorvaldsen", "Papadakis")
_FOLDER = "Dr_Quirin_Zieglmaier"
"""The working folder: as telling as a patient's name."""


@dataclass
class Work:
    """A folder in which commands are run, what was planted in it, and what they said."""

    folder: Path
    medprobe: Callable
    planted: list[str]
    inputs: set[Path] = field(default_factory=set)
    said: dict[str, str] = field(default_factory=dict)

    def run(self, *words: object, status: int = 0) -> None:
        """Runs a command and keeps what it said."""
        ended = self.medprobe(*words)
        assert ended.status == status, ended.err
        self.said[" ".join(map(str, words))] = ended.out + ended.err

    def leaks(self, exempt: Iterable[str]) -> list[str]:
        """Where something planted, or the folder, is told; of the files, `exempt` are not looked into."""
        secret = re.compile("|".join(map(re.escape, [*self.planted, str(self.folder), _FOLDER])), re.IGNORECASE)
        made = [file for file in self.folder.rglob("*") if file.is_file() and file not in self.inputs]
        looked_into = {str(file.relative_to(self.folder)): file for file in made}
        for name in exempt:
            del looked_into[name]
        assert looked_into
        texts = {**self.said, **{name: "\n".join(_texts(name, file)) for name, file in looked_into.items()}}
        return [f"{name}: {found[0]}" for name, text in texts.items() if (found := secret.search(text))]


def _texts(name: str, file: Path) -> Iterator[str]:
    """All that a file tells: its name, its bytes, and what compression hides."""
    content = file.read_bytes()
    yield from (name, content.decode("latin-1"), content.decode("utf-16-le", errors="ignore"))
    if content.startswith(b"\x1f\x8b"):
        yield gzip.decompress(content).decode("latin-1")
    if content.startswith(b"PAR1"):
        table = pq.read_table(file)
        yield f"{table.schema}\n{table.schema.metadata}\n{table.to_pylist()}"
    if content.startswith(b"\x89HDF"):
        with h5py.File(file) as opened:
            yield from _inside(opened)
    if content.startswith(b"\x89PNG"):
        yield str(Image.open(file).info)


def _inside(node: h5py.Group) -> Iterator[str]:
    yield str(dict(node.attrs))
    for name, child in node.items():
        yield name
        if isinstance(child, h5py.Group):
            yield from _inside(child)
        else:
            yield str(dict(child.attrs))
            if child.dtype.kind in "OSV":
                yield str(child[...].tolist())


@pytest.fixture
def work(tmp_path: Path, medprobe: Callable, monkeypatch: pytest.MonkeyPatch) -> Work:
    folder = tmp_path / _FOLDER
    folder.mkdir()
    monkeypatch.chdir(folder)
    return Work(folder, medprobe, list(_SURNAMES))


def _plant_scans(work: Work) -> None:
    """Twenty patients of two scans each: names in folders and files, ids in a column, more in columns beside."""
    rows = []
    random = np.random.default_rng(0)
    for number in range(20):
        surname, patient = _SURNAMES[number % len(_SURNAMES)], f"MRN-77{number:02d}-31"
        work.planted.append(patient)
        for scan in range(2):
            path = Path("scans", f"{surname}_{number:02d}", f"{surname.lower()}-{patient[4:]}-{scan}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.integers(0, 120 + 100 * (number % 2), (40, 36), np.uint8)).save(path)
            rows.append(
                (
                    str(path), str(path.absolute()), path.stem, patient, ("benign", "malignant")[number % 2],
                    f"{surname}, seen at home", "fm"[scan],
                )
            )  # fmt: skip
    columns = ["file", "whole", "image", "patient", "finding", "bemerkung", "sex"]
    pd.DataFrame(rows, columns=columns).to_csv("list.csv", index=False)
    work.planted += ["seen at home", "bemerkung"]
    work.inputs = {file for file in work.folder.rglob("*") if file.is_file()}


def _plant_dicoms(work: Work) -> None:
    """Twenty patients with a study of one image each: names in every element that may hold one, and in private ones.

    Beside them a study that has no label, and a letter.
    """
    pydicom = pytest.importorskip("pydicom")
    root, random, rows = "1.2.826.0.1.3680043.8.498.4711", np.random.default_rng(0), []
    for number in range(21):
        surname, patient = _SURNAMES[number % len(_SURNAMES)], f"MRN-77{number:02d}-31"
        dataset = pydicom.Dataset()
        dataset.file_meta = pydicom.dataset.FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
        dataset.SOPInstanceUID, dataset.StudyInstanceUID = f"{root}.2.{number}", f"{root}.1.{number}"
        dataset.PatientID, dataset.PatientName, dataset.PatientSex = patient, f"{surname}^Anna", "FM"[number % 2]
        dataset.PatientBirthDate, dataset.StudyDate, dataset.PatientAge = "19510203", "20190807", "068Y"
        dataset.InstitutionName, dataset.ReferringPhysicianName = "Klinik Sankt Zosimus", "Zieglmaier^Quirin"
        dataset.AccessionNumber, dataset.StudyDescription = f"ACC{number:02d}4242", f"{surname}, seen at home"
        dataset.ImageComments, dataset.Modality = f"letter to {surname}", "DX"
        dataset.private_block(0x0011, "MAKER", create=True).add_new(0x01, "LO", f"{surname} {patient}")
        dataset.Rows, dataset.Columns, dataset.SamplesPerPixel, dataset.PixelRepresentation = 40, 36, 1, 0
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
        dataset.PhotometricInterpretation = "MONOCHROME2"
        dataset.PixelData = random.integers(0, 120 + 100 * (number % 2), (40, 36), np.uint8).tobytes()
        path = Path("export", f"{surname}_{number:02d}", f"{surname.lower()}-{patient[4:]}.dcm")
        path.parent.mkdir(parents=True, exist_ok=True)
        dataset.save_as(path, enforce_file_format=True)
        work.planted += [patient, f"ACC{number:02d}4242"]
        if number < 20:
            rows.append((dataset.StudyInstanceUID, ("benign", "malignant")[number % 2], surname))
    Path("export", f"{_SURNAMES[0]} letter.txt").write_text("Dear Sir")
    pd.DataFrame(rows, columns=["StudyInstanceUID", "finding", "bemerkung"]).to_csv("list.csv", index=False)
    work.planted += [root, "19510203", "20190807", "Zosimus", "Quirin", "seen at home", "bemerkung"]
    work.inputs = {file for file in work.folder.rglob("*") if file.is_file()}


def _study(work: Work, table: str) -> None:
    """Everything that can be done with a manifest."""
    name = Path(table).stem
    work.run("manifest", "check", table)
    work.run("manifest", "check", table, "--json")
    work.run("manifest", "show", table)
    work.run("manifest", "show", table, "--out", f"{name}.html")
    work.run("extract", table, *_TINY)
    work.run("cache", "ls", table)
    [cache] = Path("embeddings").rglob("*.h5")
    work.run("cache", "show", cache)
    work.run("cache", "show", cache, "--json")
    work.run("cache", "verify", table)
    work.run("probe", table, "--probe", "logreg", "--probe", "knn", "--seeds", 2, "--out", f"runs/{name}", "--jobs", 1)
    tuned = ("-m", "partial:1", "--epochs", 1, "--seeds", 2, "--device", "cpu", "--keep-weights")
    tiny = [word for word in _TINY if word not in ("--runtime", "torch")]
    work.run("finetune", table, *tiny, *tuned, "--out", f"runs/{name}-tuned")
    work.run("stats", f"runs/{name}", "--subgroups", "--calibration", "--out", f"stats/{name}")
    work.run("stats", f"runs/{name}", "--json")
    work.run("report", f"runs/{name}")


def _look_at(work: Work, table: str) -> None:
    """What shows most of a manifest's ids."""
    name = Path(table).stem
    work.run("manifest", "check", table, "--json")
    work.run("manifest", "show", table, "--out", f"{name}.html")
    work.run("extract", table, *_TINY)


def test_no_name_id_or_folder_of_a_table_of_patients_is_in_anything_that_is_made(work: Work) -> None:
    _plant_scans(work)
    columns = ("--image-column", "file", "--label-column", "finding", "--group-column", "patient", "--attribute", "sex")
    work.run("manifest", "build", "csv", "list.csv", *columns, "--split", "grouped:60/40", "--out", "cohort.parquet")
    _study(work, "cohort.parquet")
    assert work.leaks(exempt=["cohort.parquet", "cohort.key"]) == []
    table = pd.read_parquet("cohort.parquet").drop(columns="path").to_csv()
    assert not [secret for secret in work.planted if secret.lower() in table.lower()]


@pytest.mark.parametrize(
    "columns",
    [
        ("--image-column", "file", "--id-column", "image", "--group-column", "patient"),
        ("--image-column", "file", "--id-column", "image", "--unit-column", "patient"),
        ("--image-column", "whole", "--root", "{folder}", "--group-column", "patient"),
        ("--image-column", "whole", "--root", "{folder}/scans", "--id-column", "image", "--group-column", "patient"),
    ],
    ids=["ids", "units", "root", "ids below a root"],
)
def test_no_name_or_id_is_told_whatever_the_ids_and_paths_of_a_table_are(work: Work, columns: tuple[str, ...]) -> None:
    _plant_scans(work)
    words = [word.format(folder=work.folder) for word in columns]
    work.run("manifest", "build", "csv", "list.csv", *words, "--label-column", "finding", "--out", "cohort.parquet")
    _look_at(work, "cohort.parquet")
    assert work.leaks(exempt=["cohort.parquet", "cohort.key"]) == []
    table = pd.read_parquet("cohort.parquet").drop(columns="path").to_csv()
    assert not [secret for secret in work.planted if secret.lower() in table.lower()]


@pytest.mark.parametrize("fix", ["drop-duplicates", "group-duplicates"])
def test_no_name_or_id_is_in_a_fixed_manifest_or_told_of_it(work: Work, fix: str) -> None:
    _plant_scans(work)
    first, *_, last = sorted(Path("scans").rglob("*.png"))
    last.write_bytes(first.read_bytes())
    columns = ("--image-column", "file", "--label-column", "finding", "--group-column", "patient")
    work.run("manifest", "build", "csv", "list.csv", *columns, "--out", "cohort.parquet")
    work.run("manifest", "check", "cohort.parquet", "--fix", fix, "--out", "fixed.parquet", "--json")
    assert f"{fix}: " in " ".join(work.said.values())
    _look_at(work, "fixed.parquet")
    assert work.leaks(exempt=["cohort.parquet", "cohort.key", "fixed.parquet"]) == []
    table = pd.read_parquet("fixed.parquet").drop(columns="path").to_csv()
    assert not [secret for secret in work.planted if secret.lower() in table.lower()]


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@pytest.mark.parametrize("use", [_look_at, pytest.param(_study, marks=pytest.mark.slow)])
def test_nothing_of_a_dicom_header_but_what_was_asked_for_is_in_anything_that_is_made(
    work: Work, use: Callable[[Work, str], None]
) -> None:
    _plant_dicoms(work)
    columns = ("--labels", "list.csv", "--label-column", "finding", "--attribute", "sex")
    work.run("manifest", "build", "dicom", "export", *columns, "--split", "grouped:60/40", "--out", "cohort.parquet")
    use(work, "cohort.parquet")
    assert work.leaks(exempt=["cohort.parquet", "cohort.key"]) == []
    table = pd.read_parquet("cohort.parquet").drop(columns="path").to_csv()
    assert not [secret for secret in work.planted if secret.lower() in table.lower()]


def test_what_is_looked_for_would_be_found(work: Work) -> None:
    _plant_scans(work)
    columns = ("--image-column", "file", "--label-column", "finding", "--group-column", "patient")
    work.run("manifest", "build", "csv", "list.csv", *columns, "--keep-ids", "--out", "cohort.parquet")
    work.run("manifest", "check", "cohort.parquet", "--json")
    work.run("extract", "cohort.parquet", *_TINY)
    Path("zipped.gz").write_bytes(gzip.compress(str(work.folder).encode()))
    leaks = " ".join(work.leaks(exempt=[]))
    for place in ("cohort.parquet: ", ".h5: ", "zipped.gz: "):
        assert place in leaks


def test_an_image_that_cannot_be_read_is_set_aside_without_its_name(work: Work) -> None:
    _plant_scans(work)
    columns = ("--image-column", "file", "--label-column", "finding", "--group-column", "patient")
    work.run("manifest", "build", "csv", "list.csv", *columns, "--out", "cohort.parquet")
    damaged, missing = sorted(Path("scans").rglob("*.png"))[:2]
    damaged.write_bytes(damaged.read_bytes()[:60])
    missing.unlink()
    work.run("extract", "cohort.parquet", *_TINY, status=1)
    [cache] = Path("embeddings").rglob("*.h5")
    work.run("cache", "show", cache)
    work.run("manifest", "show", "cohort.parquet")
    work.run("manifest", "show", "cohort.parquet", "--out", "cohort.html")
    assert "could not be read" in Path("cohort.html").read_text()
    # Findings in a file name rows; those at the terminal name the files too, for whoever mends them.
    work.run("manifest", "check", "cohort.parquet", "--json", status=1)
    assert "unreadable-image" in work.said["manifest check cohort.parquet --json"]
    assert work.leaks(exempt=["cohort.parquet", "cohort.key"]) == []

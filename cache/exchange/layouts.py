"""Folders of embeddings in the layouts of other tools, read from their source code at the commits that are named."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ...base import CacheError, counted, one_of
from ..hdf5 import dataset, hdf5_into
from .arrays import read_npy
from .contents import UNNAMED, Contents, Rows, as_names, of_arrays, reading
from .tables import read_names
from .torch_tensors import read_tensor, write_tensor

PARTS = ("train", "val", "test")
_THINGSVISION = ("features.npy", "features.pt")


def read_clip_benchmark(folder: Path) -> Contents:
    """`features_train.pt`, `_val`, `_test`, and `targets_*.pt` beside them; rows in the order of each part.

    LAION-AI/CLIP_benchmark, clip_benchmark/metrics/linear_probe.py at 396f807: one folder per model below
    `--feature_root`, loaders without shuffling. Earlier versions (0394238) have no `_test` and call that part `_val`.
    """
    files = {part: folder / f"features_{part}.pt" for part in PARTS if (folder / f"features_{part}.pt").is_file()}
    features = {part: of_arrays({UNNAMED: read_tensor(file)}, file).vectors[UNNAMED] for part, file in files.items()}
    _require_one_width(features, folder)
    targets = [read_tensor(file) for part in features if (file := folder / f"targets_{part}.pt").is_file()]
    sizes = [len(matrix) for matrix in features.values()]
    has_targets = [len(one) for one in targets if one.ndim == 1] == sizes
    return Contents(
        {UNNAMED: np.concatenate(list(features.values()))},
        parts=np.repeat(np.array(list(features), dtype=object), sizes),
        targets=np.concatenate(targets) if has_targets else None,
    )


def write_clip_benchmark(rows: Rows, folder: Path) -> None:
    """Writes features and targets of each part; needs the columns `split` and `target`."""
    [matrix] = rows.vectors.values()
    for part in PARTS:
        inside = np.flatnonzero(rows.columns["split"] == part)
        if len(inside):
            write_tensor(np.ascontiguousarray(matrix[inside]), folder / f"features_{part}.pt")
            write_tensor(rows.columns["target"][inside].astype(np.int64), folder / f"targets_{part}.pt")


def read_clip_retrieval(folder: Path) -> Contents:
    """`img_emb/img_emb_0.npy` and on, and `metadata/metadata_0.parquet` and on with a column `image_path`.

    rom1504/clip-retrieval, clip_retrieval/clip_inference/writer.py at 07d747b: one pair per partition.
    """
    files = sorted((folder / "img_emb").glob("img_emb_*.npy"), key=_number)
    tables = [folder / "metadata" / f"metadata_{file.stem.removeprefix('img_emb_')}.parquet" for file in files]
    matrices = {file.name: read_npy(file).vectors[UNNAMED] for file in files}
    names = [read_names(table) for table in tables]
    for file, table, some in zip(files, tables, names, strict=True):
        if len(some) != len(matrices[file.name]):
            raise CacheError(f"{file}: has {len(matrices[file.name]):,} rows, {table.name} has {len(some):,}.")
    _require_one_width(matrices, folder)
    return Contents({UNNAMED: np.concatenate(list(matrices.values()))}, np.concatenate(names))


def write_clip_retrieval(rows: Rows, folder: Path) -> None:
    """Writes one partition; further columns are in its metadata."""
    for name in ("img_emb", "metadata"):
        (folder / name).mkdir()
    np.save(folder / "img_emb" / "img_emb_0.npy", *rows.vectors.values(), allow_pickle=False)
    table = pa.table({"image_path": pa.array(rows.sample_ids), **rows.columns})
    pq.write_table(table, folder / "metadata" / "metadata_0.parquet")


def read_stamp(folder: Path) -> Contents:
    """`SLIDE.h5` with a dataset `feats`, (D,) or (1, D), as STAMP's encoders write for slides or patients.

    KatherLab/STAMP, src/stamp/encoding/encoder/__init__.py at 7816df6 and modeling/data.py at 2aa37a5.
    """
    return _vector_per_file(
        folder, "feats", "encode slides or patients with `stamp encode_slides` or `encode_patients`"
    )


def read_trident(folder: Path) -> Contents:
    """`SLIDE.h5` with a dataset `features`, (D,), as in TRIDENT's folders `slide_features_ENCODER`.

    mahmoodlab/TRIDENT, trident/wsi_objects/WSI.py at 0b2f600 (`extract_slide_features`).
    """
    return _vector_per_file(
        folder, "features", "give a folder slide_features_ENCODER (run TRIDENT with --slide_encoder)"
    )


def write_stamp(rows: Rows, folder: Path) -> None:
    """Writes a file per sample, `feat_type` slide, so that STAMP takes them for slides."""
    _write_vector_per_file(rows, folder, "feats", {"encoder": rows.backbone, "feat_type": "slide"})


def write_trident(rows: Rows, folder: Path) -> None:
    """Writes a file per sample."""
    _write_vector_per_file(rows, folder, "features", {})


def read_thingsvision(folder: Path) -> Contents:
    """`features.npy` or `features.pt`, and `file_names.txt`.

    ViCCo-Group/thingsvision, thingsvision/utils/storing/helpers.py at 08a984a, and utils/data/helpers.py at b22d2ce
    (the order of rows).
    """
    file = next(folder / name for name in _THINGSVISION if (folder / name).is_file())
    contents = of_arrays({UNNAMED: read_tensor(file)}, file) if file.suffix == ".pt" else read_npy(file)
    names = folder / "file_names.txt"
    return Contents(contents.vectors, read_names(names) if names.is_file() else None)


def write_thingsvision(rows: Rows, folder: Path) -> None:
    """Writes `features.npy` and `file_names.txt`."""
    np.save(folder / "features.npy", *rows.vectors.values(), allow_pickle=False)
    (folder / "file_names.txt").write_text("".join(f"{name}\n" for name in rows.sample_ids), encoding="utf-8")


def tool_of(folder: Path) -> str | None:
    """Which tool's layout a folder has; None where it has none of them."""
    if any((folder / f"features_{part}.pt").is_file() for part in PARTS):
        return "clip-benchmark"
    if any((folder / "img_emb").glob("img_emb_*.npy")):
        return "clip-retrieval"
    first = next(iter(_h5_files(folder)), None)
    if first is not None:
        with reading(first, "HDF5"), h5py.File(first, "r", locking=False) as file:
            return "stamp" if "feats" in file else "trident" if "features" in file else None
    if any((folder / name).is_file() for name in _THINGSVISION):
        return "thingsvision"
    return None


def _h5_files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*.h5") if not file.name.startswith("."))


def _vector_per_file(folder: Path, name: str, remedy: str) -> Contents:
    vectors, names = [], []
    for path in _h5_files(folder):
        with reading(path, "HDF5"), h5py.File(path, "r", locking=False) as file:
            vector = dataset(file, name)[()]
        if vector.ndim == 2 and len(vector) != 1:
            raise CacheError(
                f"{path}: {name} has {counted(len(vector), 'row')}, a vector for each tile; one for the whole image is"
                f" needed: {remedy}."
            )
        vectors.append(vector.ravel())
        names.append(path.relative_to(folder).as_posix().removesuffix(".h5"))
    _require_one_width({key: vector[None] for key, vector in zip(names, vectors, strict=True)}, folder)
    return of_arrays({UNNAMED: np.stack(vectors), "sample_id": as_names(names)}, folder)


def _write_vector_per_file(rows: Rows, folder: Path, name: str, attributes: dict[str, str]) -> None:
    [matrix] = rows.vectors.values()
    for sample, vector in zip(rows.sample_ids, matrix, strict=True):
        if PurePosixPath(sample).is_absolute() or {"", ".", ".."} & set(sample.split("/")) or "\\" in sample:
            raise CacheError(f"the sample id {sample!r} cannot be the name of a file; export to another format.")
        path = folder / f"{sample}.h5"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x+b", buffering=0) as opened, hdf5_into(opened.fileno()) as file:
            file[name] = vector
            file.attrs.update(attributes)


def _require_one_width(matrices: dict[str, np.ndarray], where: Path) -> None:
    by_width = {matrix.shape[1]: name for name, matrix in reversed(matrices.items())}
    if len(by_width) > 1:
        found = one_of(f"{width} in {name}" for width, name in by_width.items())
        raise CacheError(f"{where}: its vectors are of different lengths: {found}. Give those of one network.")


def _number(file: Path) -> int:
    """The first number in a file's name, such as 10 of `img_emb_10.npy`."""
    return int(next(iter(re.findall(r"\d+", file.stem)), 0))

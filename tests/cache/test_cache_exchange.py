"""Embeddings from and for other programs: every format, how rows are matched, and what is refused."""

from __future__ import annotations

import shutil
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from medprobe.base import CacheError, ManifestError, MedprobeWarning, OutputError
from medprobe.cache import (
    CacheDraft,
    EmbeddingCache,
    default_store,
    export_embeddings,
    find_caches,
    import_embeddings,
    verify_cache,
)
from medprobe.cache.exchange.contents import Rows
from medprobe.cache.exchange.tables import read_csv, write_csv
from medprobe.cache.exchange.torch_tensors import read_tensor, write_tensor
from medprobe.manifests import DatasetCard, Manifest
from PIL import Image

pytestmark = pytest.mark.filterwarnings("ignore::medprobe.base.MedprobeWarning")

_FILES = ("x.npz", "x.npy", "x.parquet", "x.csv", "x.h5", "x.safetensors")
_LAYOUTS = ("clip-benchmark", "clip-retrieval", "stamp", "trident", "thingsvision")


@dataclass
class Cohort:
    """A manifest of real images, and two caches of it."""

    manifest: Manifest
    full: EmbeddingCache
    half: EmbeddingCache

    @property
    def vectors(self) -> np.ndarray:
        return self.full.load("cls", rows=self.full.rows_of(self.manifest.sample_ids))


def _make(folder: Path, make_spec) -> Cohort:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({
        "sample_id": [f"train/é {i:02d}" for i in range(24)],
        "path": [f"images/{'ab'[i % 2]}/é {i // 2:02d}.png" for i in range(24)],
        "label": [["no", "yes"][i % 2] for i in range(24)],
        "group_id": [f"p{i // 2}" for i in range(24)],
        "split": [["train", "train", "val", "test"][i // 2 % 4] for i in range(24)],
    })  # fmt: skip
    for path in table["path"]:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (8, 8), np.uint8)).save(folder / path)
    card = DatasetCard(name="brain", task="binary", classes=["no", "yes"], root=str(folder))
    manifest = Manifest(table, card).save(folder / "brain.parquet")
    digests, caches = [f"{i + 1:032x}" for i in range(24)], []
    for spec in (make_spec(), make_spec(precision="bf16")):
        vectors = {"cls": rng.standard_normal((24, 5)), "mean": rng.standard_normal((24, 3))}
        with CacheDraft.open(default_store(manifest.path or ""), "brain", spec) as draft:
            draft.append(manifest.sample_ids, digests, [1] * 24, vectors)
            caches.append(draft.publish(manifest.sample_ids))
    return Cohort(manifest, *caches)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory, make_spec) -> Cohort:
    return _make(tmp_path_factory.mktemp("exchange"), make_spec)


def _import(cohort: Cohort, file: Path, **options) -> EmbeddingCache:
    return import_embeddings(file, cohort.manifest, "x", store=file.parent / "store", progress=False, **options)


@pytest.mark.parametrize("which", ["full", "half"])
@pytest.mark.parametrize("file", _FILES)
def test_what_was_exported_is_imported_as_the_same_bytes(cohort, tmp_path, file, which) -> None:
    cache = getattr(cohort, which)
    poolings = ["cls"] if file.endswith("npy") else ["cls", "mean"]
    first = export_embeddings(
        cache, tmp_path / file, poolings=poolings, manifest=cohort.manifest, columns=["labels", "split", "groups"]
    )
    again = _import(cohort, first)
    assert verify_cache(again.path) == []
    assert again.sample_ids.tolist() == cohort.manifest.sample_ids.tolist()
    for pooling, copied in zip(poolings, again.poolings, strict=True):
        dtype = cache.info["dtypes"][pooling] if file != "x.csv" else "float32"
        assert again.info["dtypes"][copied] == dtype
        assert again.load(copied, dtype).tobytes() == cache.load(pooling, dtype).tobytes()
    second = export_embeddings(
        again, tmp_path / "second" / file, manifest=cohort.manifest, columns=["labels", "split", "groups"]
    )
    if which == "full" or file != "x.csv":
        assert second.read_bytes() == first.read_bytes()


@pytest.mark.parametrize("layout", _LAYOUTS)
def test_a_folder_as_another_tool_writes_it_is_imported_as_the_same_bytes(cohort, tmp_path, layout) -> None:
    out = export_embeddings(cohort.half, tmp_path / layout, layout=layout, poolings=["cls"], manifest=cohort.manifest)
    again = _import(cohort, out, in_order=layout == "clip-benchmark")
    assert again.info["imported"]["format"] == layout
    assert again.load("embedding", "float16").tobytes() == cohort.half.load("cls", "float16").tobytes()
    assert again.sample_ids.tolist() == cohort.manifest.sample_ids.tolist()


def test_labels_split_and_groups_are_written_on_request_alone(cohort, tmp_path) -> None:
    plain = export_embeddings(cohort.full, tmp_path / "plain.csv", manifest=cohort.manifest)
    assert list(pd.read_csv(plain).columns) == [
        "sample_id",
        *(f"cls_{i}" for i in range(5)),
        "mean_0",
        "mean_1",
        "mean_2",
    ]
    columns = ["labels", "split", "groups"]
    full = export_embeddings(cohort.full, tmp_path / "full.parquet", manifest=cohort.manifest, columns=columns)
    table = pd.read_parquet(full)
    for name in ("label", "split", "group_id"):
        assert table[name].tolist() == cohort.manifest.table[name].tolist()
    assert np.array_equal(np.stack(table["cls"].to_list()), cohort.vectors)
    with pytest.raises(CacheError):
        export_embeddings(
            cohort.full, tmp_path / "t", layout="stamp", poolings=["cls"], manifest=cohort.manifest, columns=columns
        )
    with pytest.raises(CacheError):
        export_embeddings(cohort.full, tmp_path / "no.csv", columns=columns)


def test_tasks_without_one_label_per_image_are_exported_as_far_as_they_can_be(tmp_path) -> None:
    np.savez(tmp_path / "x.npz", path=["a.png", "b.png"], X=np.eye(2, dtype=np.float32))
    table = pd.DataFrame({"sample_id": ["a", "b"], "path": ["a.png", "b.png"], "mass": [0, 1], "2": [1, 1]})
    several = Manifest(table, DatasetCard(name="several", task="multilabel", classes=["mass", "2"]))
    cache = import_embeddings(tmp_path / "x.npz", several, "x", store=tmp_path, progress=False)
    for name in ("y.csv", "y.npz", "y.safetensors"):
        file = export_embeddings(cache, tmp_path / name, manifest=several, columns=["labels"])
        again = import_embeddings(file, several, name, store=tmp_path, progress=False)
        assert again.dims == {"X": 2}
    assert pd.read_csv(tmp_path / "y.csv")[["label:mass", "label:2"]].to_numpy().tolist() == [[0, 1], [1, 1]]
    none = Manifest(table, DatasetCard(name="none"))
    cache = import_embeddings(tmp_path / "x.npz", none, "x", store=tmp_path, progress=False)
    assert export_embeddings(cache, tmp_path / "z.csv", manifest=none).exists()
    for options in ({"columns": ["labels"]}, {"columns": ["split"]}, {"layout": "clip-benchmark"}):
        with pytest.raises((CacheError, ManifestError)):
            export_embeddings(cache, tmp_path / "w.csv", manifest=none, **options)


def test_rows_are_matched_by_id_by_path_and_by_name_in_any_order(cohort, tmp_path) -> None:
    order = np.random.default_rng(1).permutation(24)
    paths = cohort.manifest.table["path"].to_numpy(object)
    names = {
        "sample id": cohort.manifest.sample_ids,
        "path": np.array([f"/mnt/elsewhere/{path}" for path in paths], object),
        "path without suffix": np.array([path.removeprefix("images/").removesuffix(".png") for path in paths], object),
    }
    for how, named in names.items():
        file = tmp_path / "x.npz"
        np.savez(file, sample_id=named[order].astype(str), X=cohort.vectors[order])
        imported = _import(cohort, file, overwrite=True)
        assert imported.info["imported"]["matched"] == how
        assert np.array_equal(imported.load("X"), cohort.vectors)


def test_a_name_that_several_paths_end_with_is_no_match(cohort, tmp_path) -> None:
    names = [path.rpartition("/")[2] for path in cohort.manifest.table["path"]]
    np.savez(tmp_path / "x.npz", path=np.array(names), X=cohort.vectors)
    with pytest.raises(CacheError, match="none of its 24 rows"):
        _import(cohort, tmp_path / "x.npz")


def test_rows_that_are_missing_doubled_not_finite_or_text_are_refused_by_name(cohort, tmp_path) -> None:
    ids, X = cohort.manifest.sample_ids.astype(str), cohort.vectors
    bad = X.astype(np.float64)
    bad[3, 1], bad[4, 1] = np.nan, 1e300
    faults = {
        "2 of 24 samples.*'train/é 22', 'train/é 23'": {"sample_id": ids[:22], "X": X[:22]},
        r"1 sample .*'train/é 05' \(rows 6 and 25\)": {"sample_id": [*ids, ids[5]], "X": [*X, X[5]]},
        "X: 1 vector .*'train/é 03'": {"sample_id": ids, "X": bad},
        "too large": {"sample_id": ids, "X": np.where(np.isnan(bad), 0, bad)},
        r"no vectors.*X \(24 x 5, <U": {"sample_id": ids, "X": X.astype(str)},
        "never loaded": {"sample_id": ids, "X": X.astype(object)},
        "24 rows, as sample_id has": {"sample_id": ids, "X": X[:20]},
        "nothing in it names": {"X": X},
        "none of its 24 rows": {"sample_id": [f"other {i}" for i in range(24)], "X": X},
    }  # fmt: skip
    for message, arrays in faults.items():
        np.savez(tmp_path / "x.npz", **arrays)
        with pytest.raises(CacheError, match=message):
            _import(cohort, tmp_path / "x.npz")
    assert not list((tmp_path / "store").glob("**/*.h5"))


def test_a_csv_with_text_or_a_gap_among_its_values_is_refused(cohort, tmp_path) -> None:
    table = pd.DataFrame(cohort.vectors, columns=[f"f{i}" for i in range(5)]).astype(object)
    table.insert(0, "sample_id", cohort.manifest.sample_ids)
    for value in ("high", ""):
        table.loc[7, "f2"] = value
        table.to_csv(tmp_path / "x.csv", index=False)
        with pytest.raises(CacheError, match="Row #9: .*'high'" if value else "train/é 07"):
            _import(cohort, tmp_path / "x.csv")
    table.drop(columns="f2").to_csv(tmp_path / "x.csv", index=False)
    with pytest.raises(CacheError, match="holds no vectors"):
        _import(cohort, tmp_path / "x.csv")


def test_labels_are_never_taken_for_vectors(cohort, tmp_path) -> None:
    one_hot = np.eye(2, dtype=np.float32)[np.arange(24) % 2]
    ids = cohort.manifest.sample_ids
    np.savez(tmp_path / "x.npz", sample_id=ids.astype(str), X=cohort.vectors, labels=one_hot, y=one_hot)
    flat = {f"label_{i}": one_hot[:, i] for i in range(2)} | {f"e{i}": cohort.vectors[:, i] for i in range(5)}
    pd.DataFrame({"sample_id": ids, **flat, "age": 50.0}).to_csv(tmp_path / "x.csv", index=False)
    pq.write_table(
        pa.table({"sample_id": ids, "e": list(cohort.vectors), "label": list(one_hot)}), tmp_path / "x.parquet"
    )
    for file, pooling in (("x.npz", "X"), ("x.csv", "e"), ("x.parquet", "e")):
        with pytest.warns(MedprobeWarning, match="column age") if file == "x.csv" else nullcontext():
            assert _import(cohort, tmp_path / file, overwrite=True).dims == {pooling: 5}


def test_order_counts_on_request_alone_and_only_when_counts_match(cohort, tmp_path) -> None:
    file = tmp_path / "x.npy"
    np.save(file, cohort.vectors)
    with pytest.raises(CacheError, match="--in-order"):
        _import(cohort, file)
    assert np.array_equal(_import(cohort, file, in_order=True).load("embedding"), cohort.vectors)
    np.save(file, cohort.vectors[:23])
    with pytest.raises(CacheError, match="23 rows, the manifest 24"):
        _import(cohort, file, in_order=True, overwrite=True)


def test_rows_are_named_by_a_table_beside_the_matrix_or_a_list(cohort, tmp_path) -> None:
    np.save(tmp_path / "x.npy", cohort.vectors[::-1])
    (tmp_path / "names.txt").write_text("".join(f"{name}\n" for name in cohort.manifest.sample_ids[::-1]))
    imported = _import(cohort, tmp_path / "x.npy", rows=tmp_path / "names.txt")
    assert np.array_equal(imported.load("embedding"), cohort.vectors)
    pd.DataFrame({"path": cohort.manifest.table["path"][::-1]}).to_csv(tmp_path / "x.csv", index=False)
    imported = _import(cohort, tmp_path / "x.npy", overwrite=True)
    assert np.array_equal(imported.load("embedding"), cohort.vectors)


def test_targets_that_contradict_the_labels_show_another_order(cohort, tmp_path) -> None:
    out = export_embeddings(
        cohort.full, tmp_path / "f", layout="clip-benchmark", poolings=["cls"], manifest=cohort.manifest
    )
    write_tensor(read_tensor(out / "targets_train.pt")[::-1].copy() * 0, out / "targets_train.pt")
    with pytest.raises(CacheError, match="another order"):
        _import(cohort, out, in_order=True)


def test_tile_features_are_refused_with_the_way_out(cohort, tmp_path) -> None:
    for name, word in (("feats", "encode_slides"), ("features", "slide_features_ENCODER")):
        folder = tmp_path / name
        folder.mkdir()
        with h5py.File(folder / "s.h5", "w") as file:
            file[name] = np.zeros((7, 4), np.float32)
        with pytest.raises(CacheError, match=f"7 rows.*{word}"):
            _import(cohort, folder)


def test_tensors_of_thingsvision_are_read(cohort, tmp_path) -> None:
    write_tensor(cohort.vectors, tmp_path / "features.pt")
    names = [f"{path}\n" for path in cohort.manifest.table["path"]]
    (tmp_path / "file_names.txt").write_text("".join(names), encoding="utf-8")
    assert np.array_equal(_import(cohort, tmp_path).load("embedding"), cohort.vectors)


def test_samples_without_a_row_are_quarantined_on_request(cohort, tmp_path) -> None:
    np.savez(tmp_path / "x.npz", sample_id=cohort.manifest.sample_ids[:20].astype(str), X=cohort.vectors[:20])
    imported = _import(cohort, tmp_path / "x.npz", skip_missing=True)
    assert sorted(imported.quarantine) == sorted(cohort.manifest.sample_ids[20:])
    assert len(export_embeddings(imported, tmp_path / "y.csv", manifest=cohort.manifest).read_text().splitlines()) == 21


def test_a_name_is_taken_once_and_replaced_on_request(cohort, tmp_path) -> None:
    file = export_embeddings(cohort.full, tmp_path / "x.npz")
    first = _import(cohort, file, poolings=["cls"], note="by hand")
    assert first.info["imported"]["note"] == "by hand"
    assert first.info["imported"]["file"] == "x.npz"
    with pytest.raises(CacheError, match="there already"):
        _import(cohort, file)
    with pytest.raises(CacheError, match=r"absent\.npz: does not exist"):
        _import(cohort, tmp_path / "absent.npz")
    second = _import(cohort, file, overwrite=True)
    assert not first.path.exists()
    assert find_caches(tmp_path / "store", "brain") == [second]
    manifest = cohort.manifest.save(tmp_path / "m.csv")
    for out in (file, manifest.path, cohort.full.path, tmp_path / "m.npy"):
        for overwrite in (False, True)[: 1 if out == file else 2]:
            with pytest.raises(OutputError):
                export_embeddings(cohort.full, out, poolings=["cls"], manifest=manifest, overwrite=overwrite)
    for folder in (tmp_path, tmp_path / "store"):
        with pytest.raises(OutputError):
            export_embeddings(cohort.full, folder, layout="stamp", poolings=["cls"], overwrite=True)
    for name in ("", "a@b", "/home/me/x"):
        with pytest.raises(CacheError, match="cannot be used"):
            import_embeddings(file, cohort.manifest, name, store=tmp_path)


def test_pixels_are_read_where_they_can_be_and_equal_vectors_stand_in_elsewhere(cohort, tmp_path, make_spec) -> None:
    own = _make(tmp_path / "own", make_spec)
    shutil.copy(own.manifest.source(0).path, own.manifest.source(1).path)
    X = own.vectors
    X[5] = X[4]
    np.savez(tmp_path / "x.npz", sample_id=own.manifest.sample_ids.astype(str), X=X)
    digests = _import(own, tmp_path / "x.npz").content_digests
    assert (digests[0] == digests[1]).all()
    assert len(np.unique(digests, axis=0)) == 23
    shutil.rmtree(tmp_path / "own" / "images")
    with pytest.warns(MedprobeWarning, match="24 images of 24 cannot be read"):
        digests = _import(own, tmp_path / "x.npz", overwrite=True).content_digests
    assert (digests[4] == digests[5]).all()
    assert len(np.unique(digests, axis=0)) == 23


@given(hnp.arrays(np.float32, (3, 2), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)))
def test_a_csv_gives_every_float32_back(tmp_path_factory, matrix) -> None:
    file = tmp_path_factory.getbasetemp() / "one.csv"
    write_csv(Rows(np.array(["a", "b", "c"], object), {"v": matrix}), file)
    assert read_csv(file).vectors["v"].tobytes() == matrix.tobytes()


@pytest.mark.parametrize("file", [*_FILES, "x.pt"])
def test_a_damaged_or_unknown_file_is_one_error(cohort, tmp_path, file) -> None:
    (tmp_path / file).write_bytes(b"not a file of embeddings, whatever its name is" * 4)
    with pytest.raises(CacheError, match=file):
        _import(cohort, tmp_path / file)
    with pytest.raises(CacheError, match="does not exist"):
        _import(cohort, tmp_path / f"absent-{file}")

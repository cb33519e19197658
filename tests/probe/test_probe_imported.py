"""Imported embeddings are probed, searched and reported as computed ones are."""

from __future__ import annotations

import numpy as np
import pytest
from medprobe.base import BackboneError, CacheError
from medprobe.cache import export_embeddings, find_caches, import_embeddings
from medprobe.evaluate import Run
from medprobe.extract import resolve
from medprobe.report.run.data import load_report_data
from medprobe.report.run.methods import embeddings

pytestmark = pytest.mark.filterwarnings("ignore::medprobe.base.MedprobeWarning")


def test_scores_of_imported_embeddings_are_those_of_the_cache_that_they_came_from(study, tmp_path) -> None:
    file = export_embeddings(study.caches[0], tmp_path / "x.safetensors")
    imported = import_embeddings(file, study.manifest, "net", store=tmp_path, progress=False)
    runs = [study.probe(caches=[cache], probes=["centroid", "knn"]) for cache in (study.caches[0], imported)]
    first, second = (run.predictions.drop(columns=["backbone", "fingerprint"]) for run in runs)
    assert first.equals(second)
    assert set(runs[1].predictions["backbone"]) == {"imported:net"}
    runs[1].save(tmp_path / "run")
    assert Run.load(tmp_path / "run").info["caches"][0]["imported"]["file"] == "x.safetensors"


def test_a_report_has_where_imported_embeddings_come_from(study, tmp_path) -> None:
    file = export_embeddings(study.caches[0], tmp_path / "x.npz")
    imported = import_embeddings(file, study.manifest, "net", store=tmp_path, progress=False)
    study.probe(caches=[*study.caches, imported], probes=["centroid"]).save(tmp_path / "run")
    rows = embeddings(load_report_data(tmp_path / "run")).rows
    assert [row[0] for row in rows] == ["imported:net", "net-0", "net-1"]
    assert "x.npz" in rows[0][2]


def test_an_external_test_needs_the_same_name_and_length(study, study_of, tmp_path) -> None:
    other = study_of(tmp_path / "other", name="elsewhere", seed=1)
    rng = np.random.default_rng(0)

    def imported(of, name: str, columns: int):
        X = rng.standard_normal((len(of.manifest), columns)).astype(np.float32)
        np.savez(tmp_path / "x.npz", sample_id=of.manifest.sample_ids.astype(str), X=X)
        return import_embeddings(tmp_path / "x.npz", of.manifest, name, store=tmp_path, progress=False, overwrite=True)

    ours = imported(study, "net", 6)
    run = study.probe(caches=[ours], probes=["centroid"], external=(other.manifest, [imported(other, "net", 6)]))
    assert len(run.predictions)
    for theirs in (imported(other, "net", 7), imported(other, "another", 6)):
        with pytest.raises(CacheError, match=r"cache import FILE --manifest \S+ --name"):
            study.probe(caches=[ours], probes=["centroid"], external=(other.manifest, [theirs]))


def test_the_way_to_missing_imported_embeddings_is_an_import(study, tmp_path) -> None:
    with pytest.raises(BackboneError, match="cache import"):
        resolve("imported:net")
    with pytest.raises(CacheError, match=r"cache import FILE --manifest .*cohort.parquet --name net"):
        find_caches(study.folder / "embeddings", "cohort", ["imported:net"])
    ids = study.manifest.sample_ids[:100]
    np.savez(tmp_path / "x.npz", sample_id=ids.astype(str), X=np.eye(100, 4, dtype=np.float32))
    some = import_embeddings(tmp_path / "x.npz", study.manifest, "n", store=tmp_path, skip_missing=True, progress=False)
    with pytest.raises(CacheError, match=r"not in x\.npz"):
        some.rows_of(study.manifest.sample_ids)
    with pytest.raises(CacheError, match="imported"):
        _ = some.computed_with

"""`medprobe cache ls | show | verify | import | export`."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from medprobe.cache import CacheDraft
from medprobe.cache.index import as_digests
from medprobe.manifests import DatasetCard, Manifest


@pytest.fixture(scope="module")
def store(tmp_path_factory, make_spec, cohort_of):
    """A published cache with a quarantined image, and an unfinished one."""
    store = tmp_path_factory.mktemp("cli") / "embeddings"
    table = pd.DataFrame({"sample_id": ["a"], "path": ["a.png"]})
    Manifest(table, DatasetCard(name="cohort")).save(store.parent / "m.parquet")
    cohort = cohort_of(12)
    with CacheDraft.open(store, "cohort", make_spec()) as draft:
        cohort.embed(draft, range(11))
        draft.quarantine(cohort.ids[11:], cohort.stamps[11:], ["truncated"])
        seen = as_digests(cohort.digests[8:])
        draft.publish(cohort.ids, device="a CPU", throughput={"images_per_s": 12.5}, trained_on=seen)
    with CacheDraft.open(store, "cohort", make_spec(precision="bf16"), segment_rows=4) as draft:
        cohort.embed(draft, range(8), batch=4)
    return store


def test_show_says_whose_throughput_it_tells(medprobe, store) -> None:
    [file] = (store / "cohort").glob("*.h5")
    said = medprobe("cache", "show", file).out
    assert "throughput of the process that published" in said
    assert "12.5" in said


def test_ls_lists_what_is_finished_and_what_is_not(medprobe, store, make_spec, monkeypatch) -> None:
    monkeypatch.chdir(store.parent)
    for said in (
        medprobe("cache", "ls", store),
        medprobe("cache", "ls", store.parent / "m.parquet"),
        medprobe("cache", "ls"),
    ):
        assert said.status == 0, said.err
        for word in (
            "dataset cohort",
            "hf:facebook/dinov2-base",
            make_spec().fingerprint,
            "11",
            "cls 24",
            "mean 7",
            "fp32",
            "kB",
        ):
            assert word in said.out
        assert "8 samples in 2 segments" in said.out


def test_show_tells_what_it_was_made_with_and_what_is_missing(medprobe, store) -> None:
    [path] = (store / "cohort").glob("*.h5")
    said = medprobe("cache", "show", path).out
    for word in (
        "bicubic",
        "12.5",
        "a CPU",
        "24 x float32",
        "quarantined: 1",
        "truncated",
        "h5py",
        "4 images, 3 of them",
    ):
        assert word in said
    facts = json.loads(medprobe("cache", "show", path, "--json").out)
    assert facts["quarantine"] == {"images/é 0011.png": "truncated"}
    assert facts["spec"]["transform"]["size"] == [224, 224]


def test_show_takes_a_folder_or_manifest_with_one_cache_and_names_several(medprobe, store, tmp_path) -> None:
    [path] = (store / "cohort").glob("*.h5")
    shown = medprobe("cache", "show", path).out
    for place in (store, store / "cohort", store.parent / "m.parquet"):
        assert medprobe("cache", "show", place).out == shown
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / path.name).write_bytes(path.read_bytes())
    refused = medprobe("cache", "show", tmp_path)
    assert refused.status == 1
    assert all(f"{name}/{path.name}" in refused.err for name in ("one", "two"))


def test_a_manifest_is_its_own_caches_in_a_store_of_several(medprobe, monkeypatch, tmp_path, make_spec) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("m", "n"):
        Manifest(pd.DataFrame({"sample_id": ["a"], "path": ["a.png"]}), DatasetCard(name=name)).save(f"{name}.csv")
        with CacheDraft.open(Path("embeddings"), name, make_spec()) as draft:
            draft.append(["a"], ["1" * 32], [1], {"cls": np.ones((1, 24)), "mean": np.ones((1, 7))})
            draft.publish(["a"], device="cpu")
    assert "dataset n" not in medprobe("cache", "ls", "m.csv").out
    assert "dataset n" in medprobe("cache", "ls").out
    assert len(medprobe("cache", "verify", "m.csv").out.splitlines()) == 1
    assert medprobe("cache", "show", "m.csv").status == 0
    assert medprobe("cache", "show", "embeddings").status != 0
    assert medprobe("cache", "ls", "o.csv").status != 0


def test_a_folder_of_caches_that_are_refused_is_not_called_empty(medprobe, tmp_path, store) -> None:
    [path] = (store / "cohort").glob("*.h5")
    old = tmp_path / "cohort" / path.name
    old.parent.mkdir()
    old.write_bytes(path.read_bytes())
    with h5py.File(old, "r+") as file:
        file.attrs["schema"] = 1
    listed, verified = (medprobe("cache", command, tmp_path) for command in ("ls", "verify"))
    assert (listed.status, verified.status) == (1, 1)
    assert "An older medprobe wrote it" in listed.err
    assert "No caches" not in listed.out
    assert verified.out.split() == ["refused", f"cohort/{path.name}"]


def test_verify_exits_with_the_problems(medprobe, tmp_path, store) -> None:
    assert medprobe("cache", "verify", store).status == 0
    [path] = (store / "cohort").glob("*.h5")
    bad = tmp_path / "cohort" / path.name
    bad.parent.mkdir()
    data = path.read_bytes()
    bad.write_bytes(data[: len(data) // 2])
    for target in (bad, tmp_path):
        said = medprobe("cache", "verify", target)
        assert said.status == 1
        assert said.err.startswith("error: ")
        assert "is damaged or not a cache" in said.err
    said = medprobe("cache", "ls", tmp_path)
    assert said.status == 1
    assert "is damaged or not a cache" in said.err


def test_a_store_that_is_not_there_is_one_line(medprobe, tmp_path) -> None:
    for verb in ("ls", "verify"):
        said = medprobe("cache", verb, tmp_path / "nowhere")
        assert said.status == 1
        assert "does not exist" in said.err
        assert "Traceback" not in said.err


def test_embeddings_are_imported_and_exported_by_one_command_each(medprobe, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    table = pd.DataFrame({"sample_id": ["a", "b"], "path": ["a.png", "b.png"], "label": ["no", "yes"]})
    Manifest(table, DatasetCard(name="m", task="binary", classes=["no", "yes"])).save("m.csv")
    Path("x.csv").write_text("image_path,f0,f1\n/x/b.png,1,2\n/x/a.png,3,4\n")
    said = medprobe("cache", "import", "x.csv", "--manifest", "m.csv", "--name", "net", "--note", "by hand")
    assert said.status == 0, said.err
    assert "matched by path" in said.out
    [path] = Path("embeddings/m").glob("*.h5")
    shown = medprobe("cache", "show", path).out
    assert "x.csv" in shown
    assert "by hand" in shown
    assert "transform" not in shown
    assert "imported:net" in medprobe("cache", "ls", "m.csv").out
    exported = medprobe("cache", "export", "m.csv", "--out", "y.csv", "--with", "labels")
    assert exported.status == 0, exported.err
    assert Path("y.csv").read_text() == '"sample_id","label","f_0","f_1"\n"a","no",3,4\n"b","yes",1,2\n'
    assert 'Did you mean "imported:net"?' in medprobe("cache", "export", "m.csv", "-b", "net", "--out", "z.csv").err
    Manifest(table.drop(columns="label"), DatasetCard(name="u")).save("u.csv")
    said = medprobe("cache", "import", "x.csv", "--manifest", "u.csv", "--name", "net")
    assert "Next:  medprobe retrieve u.csv --backbone imported:net" in said.out
    for words in (
        ("import", "x.csv", "--manifest", "m.csv", "--name", "net"),
        ("import", "z.csv", "--manifest", "m.csv", "--name", "other"),
        ("export", "m.csv", "--out", "y.csv"),
        ("export", "m.csv", "--out", "z.csv", "--with", "label"),
        ("export", "m.csv", "--out", "z", "--layout", "tide"),
        ("export", "m.csv", "--out", "z", "--layout", "stamp", "--with", "labels"),
    ):
        said = medprobe("cache", *words)
        assert said.status == 1, words
        assert said.err.startswith("error: ")

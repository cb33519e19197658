"""Keys of jobs: what is changed in a study, its data, presets or libraries is made again, and nothing else."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
from compiled_study import STUDY, compiled, new_jobs, save_manifest
from medprobe.finetune import Recipe
from medprobe.probe.estimators import gbm
from medprobe.study import arguments, load_study
from medprobe.study.data_sets import results_folder


def test_a_further_backbone_adds_its_own_jobs(place: Path) -> None:
    before, after = compiled(place), compiled(place, "extract.backbones=[dinov2-s, resnet50, clip-b16]")
    new = new_jobs(after, before)
    assert Counter(job.kind for job in new) == {"extract": 1, "probe": 2, "merge": 1, "stats": 1, "report": 1}
    assert all("clip-b16" in job.outputs[0] for job in new if job.kind == "probe")


def test_embedded_backbones_are_not_part_of_the_job_of_a_further_one(place: Path) -> None:
    records = [path for job in compiled(place) if job.kind == "extract" for path in job.outputs]
    out = results_folder(load_study(place / "study.yaml"), place)
    for path in records:
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        (out / path).touch()
    try:
        after = compiled(place, "extract.backbones=[dinov2-s, resnet50, clip-b16]")
    finally:
        for path in records:
            (out / path).unlink()
    assert [len(job.outputs) for job in after if job.kind == "extract"] == [2, 1]


def test_another_grid_of_one_probe_refits_that_probe_alone(place: Path) -> None:
    new = new_jobs(compiled(place, "probe.probes=['logreg:C=[0.1,1]', knn]"), compiled(place))
    assert Counter(job.kind for job in new) == {"probe": 2, "merge": 1, "stats": 1, "report": 1}
    assert all("logreg" in job.name for job in new if job.kind == "probe")


def test_another_content_of_a_preset_refits_its_probe_alone(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = compiled(place, "probe.probes=[gbm, knn]")
    monkeypatch.setitem(gbm.PRESETS, "dense", {**gbm.PRESETS["dense"], "max_bin": 15})
    new = [job for job in new_jobs(compiled(place, "probe.probes=[gbm, knn]"), before) if job.kind == "probe"]
    assert len(new) == 2
    assert all("gbm" in job.name for job in new)


def test_another_content_of_a_recipe_trains_again(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, of_now = compiled(place, "finetune=[{seeds: 2}]"), Recipe.facts
    monkeypatch.setattr(Recipe, "facts", lambda recipe: {**of_now(recipe), "batch_size": 8})
    new = new_jobs(compiled(place, "finetune=[{seeds: 2}]"), before)
    assert {job.kind for job in new} == {"finetune", "merge", "stats", "report"}


def test_further_seeds_are_further_blocks(place: Path) -> None:
    settings = ["data=[large.parquet]", "minutes_per_job=1"]
    before, after = compiled(place, *settings), compiled(place, *settings, "probe.seeds=200")
    probes = [job for job in before if job.kind == "probe"]
    assert len(probes) > 4
    assert not new_jobs(probes, after)
    blocks = [job.command[job.command.index("--seeds") + 1] for job in new_jobs(after, before) if job.kind == "probe"]
    assert all(int(block.split(":")[0]) >= 100 for block in blocks)


def test_seeds_that_are_there_are_kept_whatever_number_of_them_is_wanted(place: Path) -> None:
    first = [job for job in compiled(place, "probe.seeds=20") if job.kind == "probe"]
    out = results_folder(load_study(place / "study.yaml"), place)
    for job in first:
        (out / job.outputs[0]).mkdir(parents=True)
    try:
        after = compiled(place, "probe.seeds=21")
        fewer = compiled(place, "probe.seeds=19")
    finally:
        for job in first:
            (out / job.outputs[0]).rmdir()
    blocks = [job.command[job.command.index("--seeds") + 1] for job in after if job.kind == "probe"]
    assert blocks == ["0:20", "20:21"] * 4
    assert not new_jobs(first, after)
    assert all("0:19" in job.command for job in fewer if job.kind == "probe")


def test_the_key_of_a_manifest_follows_its_content(place: Path) -> None:
    before = compiled(place)
    try:
        save_manifest(place / "brain.parquet", 63)
        assert len(new_jobs(compiled(place), before)) == len(before)
    finally:
        save_manifest(place / "brain.parquet")
    assert not new_jobs(compiled(place), before)


def _keys(place: Path, text: str, *settings: str) -> set[str]:
    return {path for job in compiled(place, *settings, text=text) for path in job.outputs}


def test_an_image_that_is_replaced_makes_everything_again(tmp_path: Path) -> None:
    save_manifest(tmp_path / "brain.parquet")
    before = _keys(tmp_path, STUDY)
    (tmp_path / "s3.png").write_bytes(b"an image")
    there = _keys(tmp_path, STUDY)
    os.utime(tmp_path / "s3.png", ns=(0, 0))
    after = _keys(tmp_path, STUDY)
    assert not before & there
    assert not there & after
    os.utime(tmp_path / "s3.png", ns=(1, 0))  # read, not written
    assert _keys(tmp_path, STUDY) == after


def test_a_table_that_is_built_from_counts_by_its_content_and_its_images_by_their_time(tmp_path: Path) -> None:
    text = """
data: [{build: csv, source: labels.csv, options: {image-column: file, label-column: dx}}]
extract: {backbones: [resnet50]}
"""
    (tmp_path / "labels.csv").write_text("file,dx\n1.png,a\n2.png,b\n")
    (tmp_path / "1.png").touch()
    before = _keys(tmp_path, text)
    (tmp_path / "unnamed.txt").touch()
    os.utime(tmp_path / "labels.csv", ns=(0, 0))
    assert _keys(tmp_path, text) == before
    os.utime(tmp_path / "1.png", ns=(0, 0))
    after = _keys(tmp_path, text)
    assert not after & before
    (tmp_path / "labels.csv").write_text("file,dx\n1.png,b\n2.png,a\n")
    assert not _keys(tmp_path, text) & after


def test_the_source_of_a_manifest_is_all_that_its_builder_reads(tmp_path: Path) -> None:
    text = "data: [{build: folder, source: ., name: a}]\nextract: {backbones: [resnet50]}\n"
    (tmp_path / "elsewhere").mkdir()
    root = tmp_path / "scans"
    (root / "no").mkdir(parents=True)
    (root / "no" / "labels.csv").write_text("one")
    (root / "yes").symlink_to(tmp_path / "elsewhere")
    (root / "no" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (root / os.fsdecode(b"\xff.png")).touch()
    os.mkfifo(root / "pipe")
    seen = [_keys(root, text)]
    for change in (
        lambda: (tmp_path / "elsewhere" / "1.png").touch(),  # in a folder to which a link leads
        lambda: os.utime(tmp_path / "elsewhere" / "1.png", ns=(0, 0)),
        lambda: (root / "no" / "labels.csv").write_text("two"),
    ):
        change()
        seen.append(_keys(root, text))
        assert not seen[-1] & seen[-2]
    for made in ("studies/other/parts/1.png", "studies/b/parts/1.png", "caches/a/1.h5"):
        (root / made).parent.mkdir(parents=True)
        (root / made).touch()
    for name in ("Snakefile", "study.yaml"):  # as in the results of every study
        (root / "studies" / "b" / name).touch()
    assert _keys(root, text, "store=caches") == seen[-1]


def test_weights_in_a_folder_count_with_all_their_files(tmp_path: Path) -> None:
    save_manifest(tmp_path / "brain.parquet")
    text = "data: [brain.parquet]\nextract: {backbones: ['dinov2-b@w']}\n"
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "model.safetensors").write_bytes(b"one")
    before = _keys(tmp_path, text)
    (tmp_path / "w" / "model.safetensors").write_bytes(b"another")
    assert len(before - _keys(tmp_path, text)) == len(before) - 1  # all but the check


def test_parts_that_cannot_be_merged_are_made_again(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = ["finetune=[{modes: ['lora:8', full], seeds: 2}]", "retrieve={}"]
    before = compiled(place, *changes)
    real = arguments.versions_of
    for library, kinds in {"scikit-learn": {"probe", "finetune", "retrieve"}, "peft": {"finetune"}}.items():
        monkeypatch.setattr(
            arguments,
            "versions_of",
            lambda names=(), library=library: {one: "0" if one == library else two for one, two in real(names).items()},
        )
        arguments.versions_key.cache_clear()
        new = new_jobs(compiled(place, *changes), before)
        assert {job.kind for job in new} == {*kinds, "merge", "stats", "report"}
        assert all("lora" in job.name for job in new if job.kind == "finetune") == (library == "peft")
    arguments.versions_key.cache_clear()

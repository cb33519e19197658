"""From a study to its jobs: each change of the study adds the jobs that it concerns and no others."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from medprobe.base.errors import StudyError
from medprobe.finetune import Recipe
from medprobe.manifests import DatasetCard, Manifest
from medprobe.probe.estimators import gbm
from medprobe.study import Job, arguments, compile_study, load_study
from medprobe.study.data_sets import results_folder
from medprobe.study.plan import missing_data, plan_notes

_STUDY = """
data: [brain.parquet]
extract: {backbones: [dinov2-s, resnet50]}
probe: {probes: [logreg, knn], seeds: 100, protocols: [official]}
"""


def _save(path: Path, rows: int = 60, *, split: bool = True) -> None:
    table = pd.DataFrame({"sample_id": [f"s{row}" for row in range(rows)]})
    table["path"] = table["sample_id"] + ".png"
    table["label"] = np.array(["no", "yes"])[np.arange(rows) % 2]
    if split:
        table["split"] = np.array(["train", "train", "test"])[np.arange(rows) % 3]
    Manifest(table, DatasetCard(name=path.stem, task="binary", classes=["no", "yes"], root=str(path.parent))).save(path)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    _save(folder / "brain.parquet")
    _save(folder / "large.parquet", 20_000)
    _save(folder / "plain.parquet", split=False)
    (folder / "scans" / "no").mkdir(parents=True)
    (folder / "scans" / "no" / "1.png").touch()
    (folder / "study.yaml").write_text(_STUDY)
    return folder


def _compile(place: Path, *settings: str, text: str = "") -> list[Job]:
    if text:
        (place / "other.yaml").write_text(text)
    return compile_study(load_study(place / ("other.yaml" if text else "study.yaml"), settings), place)


def _new(jobs: list[Job], than: list[Job]) -> list[Job]:
    """Jobs of which an output is not one of the others'."""
    there = {output for job in than for output in job.outputs}
    return [job for job in jobs if not there.issuperset(job.outputs)]


def _made_before_read(jobs: list[Job]) -> bool:
    made: set[str] = set()
    for job in jobs:
        ours = [path for path in job.inputs if not path.startswith("..")]
        if not made.issuperset(ours):
            return False
        made |= set(job.outputs)
    return True


def test_jobs_are_commands_in_order_with_names_and_outputs_of_their_own(place: Path) -> None:
    jobs = _compile(place, "finetune=[{modes: [full], seeds: 3}]", "retrieve={}")
    assert _made_before_read(jobs)
    assert all(job.command[0] == "medprobe" for job in jobs)
    for values in ([job.name for job in jobs], [output for job in jobs for output in job.outputs]):
        assert len(set(values)) == len(values)
    assert all(job.needs.minutes > 0 and job.needs.walltime >= job.needs.minutes for job in jobs)
    assert [job.outputs for job in jobs] == [
        job.outputs for job in _compile(place, "finetune=[{seeds: 3}]", "retrieve={}")
    ]


def test_a_further_backbone_adds_its_own_jobs(place: Path) -> None:
    before, after = _compile(place), _compile(place, "extract.backbones=[dinov2-s, resnet50, clip-b16]")
    new = _new(after, before)
    assert Counter(job.kind for job in new) == {"extract": 1, "probe": 2, "merge": 1, "stats": 1, "report": 1}
    assert all("clip-b16" in job.outputs[0] for job in new if job.kind == "probe")


def test_embedded_backbones_are_not_part_of_the_job_of_a_further_one(place: Path) -> None:
    records = [path for job in _compile(place) if job.kind == "extract" for path in job.outputs]
    out = results_folder(load_study(place / "study.yaml"), place)
    for path in records:
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        (out / path).touch()
    try:
        after = _compile(place, "extract.backbones=[dinov2-s, resnet50, clip-b16]")
    finally:
        for path in records:
            (out / path).unlink()
    assert [len(job.outputs) for job in after if job.kind == "extract"] == [2, 1]


def test_images_that_cannot_be_read_stop_a_study_unless_it_allows_them(place: Path) -> None:
    codes = {"unreadable-image": True, "missing-file": True, "near-duplicate": False}
    for code, goes_on in codes.items():
        jobs = _compile(place, f"data[0].allow=[{code}]")
        assert all(("--allow-unreadable" in job.command) == goes_on for job in jobs if job.kind == "extract")


def test_another_grid_of_one_probe_refits_that_probe_alone(place: Path) -> None:
    new = _new(_compile(place, "probe.probes=['logreg:C=[0.1,1]', knn]"), _compile(place))
    assert Counter(job.kind for job in new) == {"probe": 2, "merge": 1, "stats": 1, "report": 1}
    assert all("logreg" in job.name for job in new if job.kind == "probe")


def test_another_content_of_a_preset_refits_its_probe_alone(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = _compile(place, "probe.probes=[gbm, knn]")
    monkeypatch.setitem(gbm.PRESETS, "dense", {**gbm.PRESETS["dense"], "max_bin": 15})
    new = [job for job in _new(_compile(place, "probe.probes=[gbm, knn]"), before) if job.kind == "probe"]
    assert len(new) == 2
    assert all("gbm" in job.name for job in new)


def test_another_content_of_a_recipe_trains_again(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, of_now = _compile(place, "finetune=[{seeds: 2}]"), Recipe.facts
    monkeypatch.setattr(Recipe, "facts", lambda recipe: {**of_now(recipe), "batch_size": 8})
    new = _new(_compile(place, "finetune=[{seeds: 2}]"), before)
    assert {job.kind for job in new} == {"finetune", "merge", "stats", "report"}


def test_further_seeds_are_further_blocks(place: Path) -> None:
    settings = ["data=[large.parquet]", "minutes_per_job=1"]
    before, after = _compile(place, *settings), _compile(place, *settings, "probe.seeds=200")
    probes = [job for job in before if job.kind == "probe"]
    assert len(probes) > 4
    assert not _new(probes, after)
    blocks = [job.command[job.command.index("--seeds") + 1] for job in _new(after, before) if job.kind == "probe"]
    assert all(int(block.split(":")[0]) >= 100 for block in blocks)


def test_seeds_that_are_there_are_kept_whatever_number_of_them_is_wanted(place: Path) -> None:
    first = [job for job in _compile(place, "probe.seeds=20") if job.kind == "probe"]
    out = results_folder(load_study(place / "study.yaml"), place)
    for job in first:
        (out / job.outputs[0]).mkdir(parents=True)
    try:
        after = _compile(place, "probe.seeds=21")
        fewer = _compile(place, "probe.seeds=19")
    finally:
        for job in first:
            (out / job.outputs[0]).rmdir()
    blocks = [job.command[job.command.index("--seeds") + 1] for job in after if job.kind == "probe"]
    assert blocks == ["0:20", "20:21"] * 4
    assert not _new(first, after)
    assert all("0:19" in job.command for job in fewer if job.kind == "probe")


def test_a_study_file_in_the_place_of_a_dataset_card_is_named(place: Path) -> None:
    (place / "nocard.parquet").write_bytes((place / "brain.parquet").read_bytes())
    (place / "nocard.yaml").write_text("data: [nocard.parquet]\nextract: {backbones: [resnet50]}\n")
    with pytest.raises(StudyError, match="which is the study file"):
        compile_study(load_study(place / "nocard.yaml"), place)


def test_probes_are_merged_with_what_was_fine_tuned_on_the_same_seeds(place: Path) -> None:
    jobs = _compile(place, "finetune=[{modes: ['partial:1'], seeds: 3}]", "extract.backbones=[dinov2-s]")
    first, main = [job for job in jobs if job.kind == "merge"]
    assert "first-3" in first.name
    assert sorted(path.split("--")[1] for path in first.inputs) == ["finetune-partial-1", "knn", "logreg"]
    assert first.command[first.command.index("--seeds") + 1] == "3"
    assert {path.split("--")[2] for path in main.inputs} == {"0-100"}
    without = _compile(place, "extract.backbones=[dinov2-s]")
    assert {job.kind for job in _new(jobs, without)} == {"finetune", "merge", "stats", "report"}


def test_equal_seeds_give_one_merged_run(place: Path) -> None:
    jobs = _compile(place, "finetune=[{seeds: 5}]", "probe.seeds=5")
    assert [job.name for job in jobs if job.kind == "merge"] == ["merge-brain-official"]


def test_fine_tuning_alone_has_a_run_of_its_own(place: Path) -> None:
    jobs = _compile(place, "finetune=[{seeds: 2, train_fraction: [0.1, 1]}]", "probe.probes=[]")
    assert Counter(job.kind for job in jobs)["probe"] == 0
    finetuned = [job for job in jobs if job.kind == "finetune"]
    assert all("--train-fraction" in job.command and "official" in job.command for job in finetuned)
    assert [job.name for job in jobs if job.kind == "merge"] == ["merge-brain-official"]
    curve = _compile(place, "finetune=[{seeds: 2, train_fraction: [0.1, 1]}]")
    assert [job.name for job in curve if job.kind == "merge"] == ["merge-brain-official-curve", "merge-brain-official"]


def test_a_large_data_set_is_embedded_in_shards(place: Path) -> None:
    settings = ["data=[large.parquet]", "extract.backbones=[dinov2-s]", "minutes_per_job=2"]
    *shards, last = [job for job in _compile(place, *settings) if job.kind == "extract"]
    assert len(shards) > 1
    assert {path for job in shards for path in job.outputs} <= set(last.inputs)
    assert all(path.endswith(".done") and "--shard" in job.command for job in shards for path in job.outputs)
    assert "--shard" not in last.command
    assert last.command.count("--record") == len(last.outputs)


def test_backbones_share_a_job_where_they_see_the_same_images(place: Path) -> None:
    apart = _compile(place, "extract.backbones=[dinov2-s, {name: resnet50, images: {image_size: 96}}]")
    assert [len(job.outputs) for job in apart if job.kind == "extract"] == [1, 1]
    assert [len(job.outputs) for job in _compile(place) if job.kind == "extract"] == [2]


def test_the_key_of_a_manifest_follows_its_content(place: Path) -> None:
    before = _compile(place)
    try:
        _save(place / "brain.parquet", 63)
        assert len(_new(_compile(place), before)) == len(before)
    finally:
        _save(place / "brain.parquet")
    assert not _new(_compile(place), before)


def _keys(place: Path, text: str, *settings: str) -> set[str]:
    return {path for job in _compile(place, *settings, text=text) for path in job.outputs}


def test_an_image_that_is_replaced_makes_everything_again(tmp_path: Path) -> None:
    _save(tmp_path / "brain.parquet")
    before = _keys(tmp_path, _STUDY)
    (tmp_path / "s3.png").write_bytes(b"an image")
    there = _keys(tmp_path, _STUDY)
    os.utime(tmp_path / "s3.png", ns=(0, 0))
    after = _keys(tmp_path, _STUDY)
    assert not before & there
    assert not there & after
    os.utime(tmp_path / "s3.png", ns=(1, 0))  # read, not written
    assert _keys(tmp_path, _STUDY) == after


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


def test_a_published_file_is_the_same_before_and_after_its_download(tmp_path: Path) -> None:
    data = "{build: medmnist, source: breastmnist, options: {download: true}}"
    text = f"data: [{data}]\nextract: {{backbones: [resnet50]}}\n"
    before = _keys(tmp_path, text)
    (tmp_path / "breastmnist.npz").write_bytes(b"the published file")
    assert _keys(tmp_path, text) == before


def test_weights_in_a_folder_count_with_all_their_files(tmp_path: Path) -> None:
    _save(tmp_path / "brain.parquet")
    text = "data: [brain.parquet]\nextract: {backbones: ['dinov2-b@w']}\n"
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "model.safetensors").write_bytes(b"one")
    before = _keys(tmp_path, text)
    (tmp_path / "w" / "model.safetensors").write_bytes(b"another")
    assert len(before - _keys(tmp_path, text)) == len(before) - 1  # all but the check


def test_parts_that_cannot_be_merged_are_made_again(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = ["finetune=[{modes: ['lora:8', full], seeds: 2}]", "retrieve={}"]
    before = _compile(place, *changes)
    real = arguments.versions_of
    for library, kinds in {"scikit-learn": {"probe", "finetune", "retrieve"}, "peft": {"finetune"}}.items():
        monkeypatch.setattr(
            arguments,
            "versions_of",
            lambda names=(), library=library: {one: "0" if one == library else two for one, two in real(names).items()},
        )
        arguments.versions_key.cache_clear()
        new = _new(_compile(place, *changes), before)
        assert {job.kind for job in new} == {*kinds, "merge", "stats", "report"}
        assert all("lora" in job.name for job in new if job.kind == "finetune") == (library == "peft")
    arguments.versions_key.cache_clear()


def test_a_search_has_no_calibration(place: Path) -> None:
    stats = [job for job in _compile(place, "retrieve={}", "stats.calibration=true") if job.kind == "stats"]
    assert ["--calibration" in job.command for job in stats] == [True, False]


def test_paths_may_begin_at_the_users_folder(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(place))
    here = _compile(place, "data=[{build: folder, source: scans}]")
    assert _compile(place, "data=[{build: folder, source: scans}]", "data_root=~/") == here
    assert not _new(_compile(place, "data=[~/brain.parquet]", "out=~/studies/study"), _compile(place))


def test_a_plan_tells_what_is_left_to_the_machines(place: Path) -> None:
    study = [load_study(place / "study.yaml", settings) for settings in ((), ["cluster.gpu_partition=gpu"])]
    assert [len(plan_notes(one)) for one in study] == [0, 1]
    named = ["cluster.gpu_partition=gpu", "extract.precision=fp32", "extract.runtime=torch"]
    assert plan_notes(load_study(place / "study.yaml", named)) == []


def test_a_built_manifest_comes_first_and_its_options_are_those_of_the_command(place: Path) -> None:
    data = (
        "{build: folder, source: scans, name: scans, options: {split: 'grouped:80/20', classes: ['no', 'yes, benign']}}"
    )
    build, check, *_ = _compile(place, f"data=[{data}]", "probe.protocols=[holdout]")
    assert build.command[:5] == ("medprobe", "manifest", "build", "folder", "../../scans")
    assert 'no,"yes, benign"' in build.command
    inside = [f"data=[{data}]", "probe.protocols=[holdout]", "out=scans/results"]
    before = _compile(place, *inside)
    (place / "scans" / "results").mkdir()
    (place / "scans" / "results" / "2.png").touch()
    assert _compile(place, *inside) == before
    (place / "scans" / "no" / "2.png").touch()
    assert len(_new(_compile(place, *inside), before)) == len(before)
    assert build.outputs[0] in check.inputs


def test_what_is_missing_is_left_out_and_listed_with_where_it_is_published(place: Path) -> None:
    text = """
data: [brain.parquet, {build: isic2019, source: ISIC}, {build: medmnist, source: breastmnist, options: {size: 224}}]
data_root: nowhere
extract: {backbones: [dinov2-s, retfound@weights.pth]}
"""
    jobs = _compile(place, text=text)
    assert {job.name for job in jobs if job.kind == "check"} == {"check-brain"}
    assert not [job for job in jobs if "retfound" in " ".join(job.command)]
    missing = {one.label: one for one in missing_data(load_study(place / "other.yaml"), place)}
    assert missing["isic2019"].published == "https://challenge.isic-archive.com/data/#2019"
    assert missing["medmnist"].place == place / "nowhere" / "breastmnist_224.npz"
    assert "zenodo" in missing["medmnist"].published
    assert "RETFound" in missing["retfound@weights.pth"].published


def test_all_that_does_not_exist_or_fit_is_one_message_with_lines(place: Path) -> None:
    text = """
data:
  - plain.parquet
  - {build: fodler}
  - {build: isic2019, name: a, options: {splt: x}}
  - {build: isic2019, name: b, options: {split: "grouped:x"}}
  - {build: chexpert, name: c, options: {uncertain: zero}}
  - {manifest: nosuch.csv, allow: [leak]}
extract:
  backbones: [dinov2-xs, {name: resnet50, poolings: [clz]}]
probe: {probes: [logrg], protocols: [official], metric: roc_auc_ovo, seeds: 2}
finetune:
  - {modes: [ful], data: [z]}
  - {recipe: huix}
  - {settings: {lrr: 3}}
"""
    with pytest.raises(StudyError) as error:
        _compile(place, text=text)
    message = str(error.value)
    for line, words in {
        4: 'build: unknown builder "fodler"',
        5: 'unknown option of isic2019 "splt"; there are split, window, per-slice, keep-ids, key. Did you mean "s',
        6: 'unknown split "grouped:x"',
        7: 'unknown word "zero"',
        8: 'allow: unknown code "leak"',
        10: 'there is no backbone "dinov2-xs". Did you mean "dinov2-s"',
        11: "unknown probe logrg",
        13: 'there is no mode "ful"',
        14: 'unknown recipe "huix"',
        15: "a recipe has no setting lrr",
    }.items():
        assert any(f.startswith(f"  line {line}: ") and words in f for f in message.splitlines()), words
    assert "poolings: unknown pooling" in message
    assert "official needs a manifest that names train, test; plain has no train, test" in message
    assert "roc_auc_ovo is not defined for plain, which is binary" in message
    assert "finetune[1].seeds: 3 are more than the 2 of the probes" in message


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["probe.probes=[knn, 'knn:k=5', 'knn:k=[5]']"], "probe.probes: two of knn, knn:k=5, knn:k=[5] are the same"),
        (["extract.backbones=[resnet50, {name: resnet50, label: b}]"], '"resnet50" and "b" are one backbone with'),
        (["finetune=[{modes: [mlp, 'mlp:256']}]"], "finetune[0]: two of mlp, mlp:256 are the same mode"),
        (["retrieve={}", "data=[plain.parquet]", "probe.protocols=[auto]"], "retrieve: plain: the test part of the"),
        (["retrieve={k: [41]}"], "retrieve: brain: k = 41"),
        (["out=brain.parquet"], "brain.parquet is a file; name a folder."),
        (["out=x", "store=brain.parquet/x"], "brain.parquet is a file; name a folder."),
        (["data=[{build: folder, source: scans}]", "out=scans"], "data[0]: source is the folder of out too"),
        (["data=[{build: folder, source: scans}]", "store=scans"], "data[0]: source is the folder of store too"),
        (["data=[{build: csv, source: brain.yaml}]"], "options.image-column is missing; csv needs it"),
        (["data=[{build: folder, source: scans, options: {unlabelled: true}}]"], "folder without labels; a study"),
        (["data_root=~nobody-of-this-name"], "~nobody-of-this-name: there is no such user's folder"),
    ],
)
def test_what_would_fail_later_is_refused_at_once(place: Path, settings: list[str], message: str) -> None:
    with pytest.raises(StudyError) as error:
        _compile(place, *settings)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_whose_normalisation_is_not_known_is_refused(tmp_path: Path) -> None:
    _save(tmp_path / "brain.parquet")
    (tmp_path / "net.onnx").write_bytes(b"1")
    own = "data: [brain.parquet]\nextract: {backbones: [{name: 'onnx:net.onnx'}]}"
    with pytest.raises(StudyError, match=r"onnx:net\.onnx: how its images are normalised is not known"):
        _compile(tmp_path, text=own)
    jobs = _compile(tmp_path, "extract.images.normalization=0.5/0.5", text=own)
    assert [job.kind for job in jobs if "0.5/0.5" in job.command] == ["extract"]
    (tmp_path / "preprocessor_config.json").write_text("{}")
    assert _compile(tmp_path, text=own)


def test_two_data_sets_whose_cards_have_one_name_are_refused(place: Path) -> None:
    Manifest.load(place / "brain.parquet").save(place / "brain2.parquet")
    with pytest.raises(StudyError, match='the cards of "brain" and "brain2" have one name, brain'):
        _compile(place, "data=[brain.parquet, brain2.parquet]")


def test_two_of_one_name_are_refused(place: Path) -> None:
    with pytest.raises(StudyError, match='two would be called "resnet50"; give each a `label`'):
        _compile(place, "extract.backbones=[resnet50, {name: resnet50, poolings: [pooled]}]")
    with pytest.raises(StudyError, match='two would be called "brain"; give each a `name`'):
        _compile(place, "data=[brain.parquet, brain.parquet]")


def test_several_data_sets_are_ranked(place: Path) -> None:
    jobs = _compile(place, "data=[brain.parquet, large.parquet]")
    ranks = [job for job in jobs if "--ranks" in job.command]
    assert [job.command[-3] for job in ranks] == ["backbones", "probes"]
    assert all(len(job.inputs) == 2 for job in ranks)
    apart = "finetune=[{data: [brain], modes: [linear]}, {data: [large], modes: [full]}]"
    jobs = _compile(place, "data=[brain.parquet, large.parquet]", "probe.probes=[]", apart)
    assert sum(job.kind == "merge" for job in jobs) == 2
    assert not [job for job in jobs if "--ranks" in job.command]
    apart = "finetune=[{data: [brain], settings: {epochs: 3}}, {data: [large]}]"
    jobs = _compile(place, "data=[brain.parquet, large.parquet]", "probe.probes=[]", apart)
    assert not [job for job in jobs if "--ranks" in job.command]


def test_a_plan_needs_no_torch(place: Path, without_torch: str) -> None:
    code = f"""{without_torch}
from pathlib import Path
from medprobe.study import compile_study, load_study
trained = "[{{modes: [full, 'lora:8', tokens-deit], recipe: huix2024}}, {{recipe: retfound}}]"
assert compile_study(load_study("study.yaml", ["finetune=" + trained]), Path())
unusual = load_study("study.yaml", ["finetune=[{{settings: {{optimizer: lion}}}}]"])
try:
    compile_study(unusual, Path())
except Exception as error:
    assert "is not installed: pip install" in str(error), error
else:
    raise AssertionError("timm was not missed")
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=place)

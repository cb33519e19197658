"""From a study to its jobs: their commands and order, what is left out, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from compiled_study import compiled, new_jobs, save_manifest
from medprobe.base.errors import StudyError
from medprobe.manifests import Manifest
from medprobe.study import Job, compile_study, load_study
from medprobe.study.plan import missing_data, plan_notes


def _made_before_read(jobs: list[Job]) -> bool:
    made: set[str] = set()
    for job in jobs:
        ours = [path for path in job.inputs if not path.startswith("..")]
        if not made.issuperset(ours):
            return False
        made |= set(job.outputs)
    return True


def test_jobs_are_commands_in_order_with_names_and_outputs_of_their_own(place: Path) -> None:
    jobs = compiled(place, "finetune=[{modes: [full], seeds: 3}]", "retrieve={}")
    assert _made_before_read(jobs)
    assert all(job.command[0] == "medprobe" for job in jobs)
    for values in ([job.name for job in jobs], [output for job in jobs for output in job.outputs]):
        assert len(set(values)) == len(values)
    assert all(job.needs.minutes > 0 and job.needs.walltime >= job.needs.minutes for job in jobs)
    assert [job.outputs for job in jobs] == [
        job.outputs for job in compiled(place, "finetune=[{seeds: 3}]", "retrieve={}")
    ]


def test_images_that_cannot_be_read_stop_a_study_unless_it_allows_them(place: Path) -> None:
    codes = {"unreadable-image": True, "missing-file": True, "near-duplicate": False}
    for code, goes_on in codes.items():
        jobs = compiled(place, f"data[0].allow=[{code}]")
        assert all(("--allow-unreadable" in job.command) == goes_on for job in jobs if job.kind == "extract")


def test_a_study_file_in_the_place_of_a_dataset_card_is_named(place: Path) -> None:
    (place / "nocard.parquet").write_bytes((place / "brain.parquet").read_bytes())
    (place / "nocard.yaml").write_text("data: [nocard.parquet]\nextract: {backbones: [resnet50]}\n")
    with pytest.raises(StudyError, match="which is the study file"):
        compile_study(load_study(place / "nocard.yaml"), place)


def test_probes_are_merged_with_what_was_fine_tuned_on_the_same_seeds(place: Path) -> None:
    jobs = compiled(place, "finetune=[{modes: ['partial:1'], seeds: 3}]", "extract.backbones=[dinov2-s]")
    first, main = [job for job in jobs if job.kind == "merge"]
    assert "first-3" in first.name
    assert sorted(path.split("--")[1] for path in first.inputs) == ["finetune-partial-1", "knn", "logreg"]
    assert first.command[first.command.index("--seeds") + 1] == "3"
    assert {path.split("--")[2] for path in main.inputs} == {"0-100"}
    without = compiled(place, "extract.backbones=[dinov2-s]")
    assert {job.kind for job in new_jobs(jobs, without)} == {"finetune", "merge", "stats", "report"}


def test_equal_seeds_give_one_merged_run(place: Path) -> None:
    jobs = compiled(place, "finetune=[{seeds: 5}]", "probe.seeds=5")
    assert [job.name for job in jobs if job.kind == "merge"] == ["merge-brain-official"]


def test_fine_tuning_alone_has_a_run_of_its_own(place: Path) -> None:
    jobs = compiled(place, "finetune=[{seeds: 2, train_fraction: [0.1, 1]}]", "probe.probes=[]")
    assert Counter(job.kind for job in jobs)["probe"] == 0
    finetuned = [job for job in jobs if job.kind == "finetune"]
    assert all("--train-fraction" in job.command and "official" in job.command for job in finetuned)
    assert [job.name for job in jobs if job.kind == "merge"] == ["merge-brain-official"]
    curve = compiled(place, "finetune=[{seeds: 2, train_fraction: [0.1, 1]}]")
    assert [job.name for job in curve if job.kind == "merge"] == ["merge-brain-official-curve", "merge-brain-official"]


def test_a_large_data_set_is_embedded_in_shards(place: Path) -> None:
    settings = ["data=[large.parquet]", "extract.backbones=[dinov2-s]", "minutes_per_job=2"]
    *shards, last = [job for job in compiled(place, *settings) if job.kind == "extract"]
    assert len(shards) > 1
    assert {path for job in shards for path in job.outputs} <= set(last.inputs)
    assert all(path.endswith(".done") and "--shard" in job.command for job in shards for path in job.outputs)
    assert "--shard" not in last.command
    assert last.command.count("--record") == len(last.outputs)


def test_backbones_share_a_job_where_they_see_the_same_images(place: Path) -> None:
    apart = compiled(place, "extract.backbones=[dinov2-s, {name: resnet50, images: {image_size: 96}}]")
    assert [len(job.outputs) for job in apart if job.kind == "extract"] == [1, 1]
    assert [len(job.outputs) for job in compiled(place) if job.kind == "extract"] == [2]


def test_a_search_has_no_calibration(place: Path) -> None:
    stats = [job for job in compiled(place, "retrieve={}", "stats.calibration=true") if job.kind == "stats"]
    assert ["--calibration" in job.command for job in stats] == [True, False]


def test_paths_may_begin_at_the_users_folder(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(place))
    here = compiled(place, "data=[{build: folder, source: scans}]")
    assert compiled(place, "data=[{build: folder, source: scans}]", "data_root=~/") == here
    assert not new_jobs(compiled(place, "data=[~/brain.parquet]", "out=~/studies/study"), compiled(place))


def test_a_plan_tells_what_is_left_to_the_machines(place: Path) -> None:
    study = [load_study(place / "study.yaml", settings) for settings in ((), ["cluster.gpu_partition=gpu"])]
    assert [len(plan_notes(one)) for one in study] == [0, 1]
    named = ["cluster.gpu_partition=gpu", "extract.precision=fp32", "extract.runtime=torch"]
    assert plan_notes(load_study(place / "study.yaml", named)) == []


def test_a_built_manifest_comes_first_and_its_options_are_those_of_the_command(place: Path) -> None:
    data = (
        "{build: folder, source: scans, name: scans, options: {split: 'grouped:80/20', classes: ['no', 'yes, benign']}}"
    )
    build, check, *_ = compiled(place, f"data=[{data}]", "probe.protocols=[holdout]")
    assert build.command[:5] == ("medprobe", "manifest", "build", "folder", "../../scans")
    assert 'no,"yes, benign"' in build.command
    inside = [f"data=[{data}]", "probe.protocols=[holdout]", "out=scans/results"]
    before = compiled(place, *inside)
    (place / "scans" / "results").mkdir()
    (place / "scans" / "results" / "2.png").touch()
    assert compiled(place, *inside) == before
    (place / "scans" / "no" / "2.png").touch()
    assert len(new_jobs(compiled(place, *inside), before)) == len(before)
    assert build.outputs[0] in check.inputs


def test_what_is_missing_is_left_out_and_listed_with_where_it_is_published(place: Path) -> None:
    text = """
data: [brain.parquet, {build: isic2019, source: ISIC}, {build: medmnist, source: breastmnist, options: {size: 224}}]
data_root: nowhere
extract: {backbones: [dinov2-s, retfound@weights.pth]}
"""
    jobs = compiled(place, text=text)
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
        compiled(place, text=text)
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
        compiled(place, *settings)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_whose_normalisation_is_not_known_is_refused(tmp_path: Path) -> None:
    save_manifest(tmp_path / "brain.parquet")
    (tmp_path / "net.onnx").write_bytes(b"1")
    own = "data: [brain.parquet]\nextract: {backbones: [{name: 'onnx:net.onnx'}]}"
    with pytest.raises(StudyError, match=r"onnx:net\.onnx: how its images are normalised is not known"):
        compiled(tmp_path, text=own)
    jobs = compiled(tmp_path, "extract.images.normalization=0.5/0.5", text=own)
    assert [job.kind for job in jobs if "0.5/0.5" in job.command] == ["extract"]
    (tmp_path / "preprocessor_config.json").write_text("{}")
    assert compiled(tmp_path, text=own)


def test_two_data_sets_whose_cards_have_one_name_are_refused(place: Path) -> None:
    Manifest.load(place / "brain.parquet").save(place / "brain2.parquet")
    with pytest.raises(StudyError, match='the cards of "brain" and "brain2" have one name, brain'):
        compiled(place, "data=[brain.parquet, brain2.parquet]")


def test_two_of_one_name_are_refused(place: Path) -> None:
    with pytest.raises(StudyError, match='two would be called "resnet50"; give each a `label`'):
        compiled(place, "extract.backbones=[resnet50, {name: resnet50, poolings: [pooled]}]")
    with pytest.raises(StudyError, match='two would be called "brain"; give each a `name`'):
        compiled(place, "data=[brain.parquet, brain.parquet]")


def test_several_data_sets_are_ranked(place: Path) -> None:
    jobs = compiled(place, "data=[brain.parquet, large.parquet]")
    ranks = [job for job in jobs if "--ranks" in job.command]
    assert [job.command[-3] for job in ranks] == ["backbones", "probes"]
    assert all(len(job.inputs) == 2 for job in ranks)
    apart = "finetune=[{data: [brain], modes: [linear]}, {data: [large], modes: [full]}]"
    jobs = compiled(place, "data=[brain.parquet, large.parquet]", "probe.probes=[]", apart)
    assert sum(job.kind == "merge" for job in jobs) == 2
    assert not [job for job in jobs if "--ranks" in job.command]
    apart = "finetune=[{data: [brain], settings: {epochs: 3}}, {data: [large]}]"
    jobs = compiled(place, "data=[brain.parquet, large.parquet]", "probe.probes=[]", apart)
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

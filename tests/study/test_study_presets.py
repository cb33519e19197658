"""Presets of published studies: their jobs, their splits to the row, and every cell of them at toy size."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pandas as pd
import pytest
from medprobe.evaluate import Run
from medprobe.study import StudyFile, compile_study, load_study, preset_names
from medprobe.study.data_sets import results_folder
from medprobe.study.plan import missing_data
from tiny_catalogue import SIZE, save_weights, shrink
from toy_data import write_medmnist, write_presets_data

VARIANTS = ("faithful", "corrected")
ALL = list(product(preset_names(), VARIANTS))
_NIGHTLY = os.environ.get("CI_NIGHTLY") == "1"
_TRIED = {
    "huang2024": ["kermany-cxr", "ichallenge-amd", "ham10000", "glioma-t1ce"],
    "medmnist-plus": ["bloodmnist-28", "chestmnist-28", "retinamnist-28", "breastmnist-28"],
    "retrieval-mahbod2024": ["bloodmnist-28", "retinamnist-28", "adrenalmnist3d-28"],
}
"""Of presets with many sets of one form, those that run: one of each task, and a volume; in nightly tests all."""
_BLOCKS = {
    **dict.fromkeys(["dinov2-s", "dinov2-b", "sam-vit-b", "seem-focalnet-t", "blip-base", "clip-b16"], 12),
    **dict.fromkeys(["deit-b", "dino-vit-b16"], 12),
    **dict.fromkeys(["dinov2-l", "sam-vit-l"], 24),
    "dinov2-g": 40,
    "resnet50": 16,
    "resnet101": 33,
    "resnet152": 50,
}
"""Of the backbones of huix2024, as published."""
_FACTS = [
    ("huang2024", "faithful", "extract.images.resize", 256),
    ("huang2024", "faithful", "extract.images.resize_mode", "short-side"),
    ("huang2024", "faithful", "extract.images.image_size", 224),
    ("huang2024", "faithful", "extract.images.normalization", ".485,.456,.406/.229,.224,.225"),
    ("huang2024", "faithful", "extract.backbones.3.poolings", ["logits"]),
    ("huang2024", "faithful", "finetune.0.modes", ["mlp:256", "full:256"]),
    ("huang2024", "faithful", "finetune.1.settings", {"select": "loss"}),
    ("huang2024", "faithful", "probe.metric", "accuracy"),
    ("huang2024", "faithful", "probe.seeds", 1),
    ("huang2024", "faithful", "stats.interval", "percentile"),
    ("huix2024", "faithful", "extract.images.resize", 256),
    ("huix2024", "faithful", "extract.images.resize_mode", "squash"),
    ("huix2024", "faithful", "extract.images.interpolation", "bilinear"),
    ("huix2024", "faithful", "data.0.images.normalization", ".415,.221,.073/.275,.150,.081"),
    ("huix2024", "faithful", "data.1.images.normalization", ".286/.267"),
    ("huix2024", "faithful", "data.2.images.normalization", ".668,.530,.524/.224,.204,.215"),
    ("huix2024", "faithful", "data.3.images.normalization", ".503/.292"),
    ("huix2024", "faithful", "data.3.images.grey", "red-filters"),
    ("huix2024", "faithful", "extract.backbones.4.poolings", ["mean"]),
    ("huix2024", "faithful", "extract.backbones.6.poolings", ["res5"]),
    ("huix2024", "faithful", "extract.backbones.7.poolings", ["patch0"]),
    ("huix2024", "faithful", "extract.backbones.8.poolings", ["proj"]),
    ("huix2024", "faithful", "probe.probes", ["knn:k=[200],weights=softmax,temperature=0.1"]),
    ("huix2024", "faithful", "probe.refit", False),
    ("huix2024", "faithful", "finetune.0.settings", {"warmup_epochs": 5}),
    ("huix2024", "faithful", "finetune.1.settings", {}),
    ("huix2024", "corrected", "extract.backbones.7.poolings", ["cls"]),
    ("medmnist-plus", "faithful", "probe.probes", ["knn:k=[11],metric=euclidean,weights=uniform"]),
    ("medmnist-plus", "faithful", "probe.seeds", 3),
    ("retrieval-mahbod2024", "faithful", "retrieve.k", [1, 3, 5]),
    ("retrieval-mahbod2024", "faithful", "retrieve.similarity", "euclidean"),
    ("retrieval-mahbod2024", "corrected", "retrieve.similarity", "cosine"),
]
"""What the studies did (and what the corrected variants must not), by preset, variant and key."""


@pytest.fixture(scope="module", autouse=True)
def _tiny_networks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        yield


@pytest.fixture(scope="module")
def root(once) -> Path:
    """A folder with all data sets and weights of all presets."""

    def make(folder: Path) -> None:
        folder.mkdir()
        write_presets_data(folder)
        studies = [load_study(f"preset:{name}") for name in preset_names()]
        sets = [one.source for study in studies for one in study.data if one.build == "medmnist"]
        write_medmnist(folder, sorted(set(map(str, sets))))
        save_weights(folder)

    return once("presets", make)


def _preset(name: str, variant: str, root: Path) -> StudyFile:
    return load_study(f"preset:{name}", [f"protocol={variant}", f"data_root={root}"])


@pytest.mark.parametrize(("name", "variant"), ALL)
def test_a_preset_has_a_job_for_each_cell_and_says_what_it_does_not_repeat(name, variant, root, tmp_path) -> None:
    study = _preset(name, variant, root)
    assert study.notes
    assert missing_data(study, tmp_path) == []
    jobs = compile_study(study, tmp_path)
    words = [job.command for job in jobs]
    for one in study.data:
        assert sum(f"{one.name}-{variant}" in command for command in words if "build" in command) == 1
    embedded = [job for job in jobs if job.kind == "extract"]
    recorded = {path for job in embedded for path in job.outputs if path.endswith(".json")}
    assert len(recorded) == len(study.data) * len(study.extract.backbones)
    trained = {(job.inputs, *_without_seeds(job.command)) for job in jobs if job.kind == "finetune"}
    assert len(trained) == sum(
        len(one.data or study.data) * len(one.backbones or study.extract.backbones) * len(one.modes)
        for one in study.finetune
    )
    if study.retrieve:
        assert sum(job.kind == "retrieve" for job in jobs) == len(recorded)


@pytest.mark.parametrize(("name", "variant", "key", "value"), _FACTS)
def test_a_preset_does_what_the_study_did(name, variant, key, value) -> None:
    found = load_study(f"preset:{name}", [f"protocol={variant}"]).model_dump()
    for step in key.split("."):
        found = found[int(step) if step.isdigit() else step]
    assert found == value


@pytest.mark.parametrize("variant", VARIANTS)
def test_blocks_are_unfrozen_and_dropped_by_the_depth_of_each_network(variant) -> None:
    study = load_study("preset:huix2024", [f"protocol={variant}"])
    for one in study.finetune:
        for mode in one.modes:
            kind, _, blocks = mode.partition(":")
            if kind not in ("partial", "drop-last"):
                continue
            for backbone in one.backbones:
                depth = _BLOCKS[backbone.label or backbone.name]
                if variant == "faithful":  # blocks[8:] are trained; the ninth is the last that is kept
                    assert int(blocks) == depth - (8 if kind == "partial" else 9)
                elif kind == "partial":
                    assert int(blocks) == round(depth / 3)
                else:
                    assert depth == 12


def _without_seeds(command: tuple[str, ...]) -> list[str]:
    at = command.index("--seeds")
    words = [*command[:at], *command[at + 2 :]]
    return words[: words.index("--out")]


def test_what_is_missing_is_listed_with_its_source_and_the_rest_has_its_jobs(root, tmp_path) -> None:
    there = tmp_path / "data"
    there.mkdir()
    (there / "APTOS2019").symlink_to(root / "APTOS2019")
    study = _preset("huix2024", "faithful", there)
    missing = {one.label: one.published for one in missing_data(study, tmp_path)}
    assert "challenge.isic-archive.com" in missing["isic2019"]
    assert {"ddsm", "chexpert"} < set(missing)
    weights = {label: source for label, source in missing.items() if "@" in label}
    assert [("UX-Decoder" in source, "salesforce/BLIP" in source) for source in weights.values()] == [
        (True, False),
        (False, True),
    ]
    commands = [" ".join(job.command) for job in compile_study(study, tmp_path)]
    assert any("dinov2-b" in command for command in commands)
    assert not any("blip" in command or "isic2019" in command for command in commands)


def test_the_faithful_splits_of_huix_are_the_study_s_own_to_the_row(root, tmp_path, medprobe, monkeypatch) -> None:
    study = _preset("huix2024", "faithful", root)
    out = results_folder(study, tmp_path)
    out.joinpath("manifests").mkdir(parents=True)
    monkeypatch.chdir(out)
    drawn = {}
    for job in compile_study(study, tmp_path):
        if job.kind == "build":
            assert medprobe(*job.command[1:]).status == 0
            drawn[job.name.removeprefix("build-")] = pd.read_parquet(job.outputs[0])
    for name, table, held in (
        ("aptos2019", "APTOS2019/train.csv", 0.3),
        ("isic2019", "ISIC2019/ISIC_2019_Training_GroundTruth.csv", 0.2),
    ):
        rows = len(pd.read_csv(root / table))
        order = list(range(rows))
        random.Random(42).shuffle(order)
        kept = order[: int(rows * held)]
        val, test = set(kept[: len(kept) // 2]), set(kept[len(kept) // 2 :])
        wanted = ["val" if row in val else "test" if row in test else "train" for row in range(rows)]
        assert drawn[name]["split"].tolist() == wanted
    lists = {part: (root / f"DDSM/ddsm_raw_image_lists/{part}.txt").read_text().split() for part in _PARTS}
    assert drawn["ddsm"]["split"].tolist() == [part for part in _PARTS for _ in lists[part]]
    published = pd.read_csv(root / "CheXpert/train.csv").sort_values("Path")
    cut = int(len(published) * 0.2) + 15
    part = published.loc[:cut]
    test = set(part.loc[len(part) // 2 :].index)
    assert set(drawn["chexpert"].index[drawn["chexpert"]["split"] == "test"]) == test


_PARTS = ("train", "val", "test")


def test_the_faithful_huix_sees_images_as_the_study_did(root, tmp_path) -> None:
    seen = {
        "ddsm": "--normalization .286/.267 --grey red-filters",
        "aptos2019": "--normalization .415,.221,.073/.275,.150,.081",
    }
    jobs = compile_study(_preset("huix2024", "faithful", root), tmp_path)
    for name, options in seen.items():
        commands = [
            " ".join(job.command) for job in jobs if job.name.startswith((f"extract-{name}", f"finetune-{name}"))
        ]
        assert all(set(options.split()) < set(command.split()) for command in commands)
        assert all("--resize 256 --resize-mode squash --interpolation bilinear" in command for command in commands)
        assert any("blip-base@" in command and "[patch0]" in command for command in commands)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "variant"), ALL)
def test_every_cell_of_a_preset_runs(name, variant, root, tmp_path, medprobe, monkeypatch) -> None:
    study = _small(_preset(name, variant, root))
    runs: list[Run] = []
    for number, part in enumerate([study] if _NIGHTLY else [_all_networks(study), _all_sets(study)]):
        out = results_folder(part, tmp_path / str(number))
        out.mkdir(parents=True)
        monkeypatch.chdir(out)
        for job in compile_study(part, tmp_path / str(number)):
            for path in job.outputs:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
            words = [word.replace("{threads}", "1") for word in job.command[1:]]
            here = ["--device", "cpu", "--workers", "0"] if job.kind in ("extract", "finetune") else []
            ended = medprobe(*words, *here)
            assert ended.status == 0, f"{job.name}: {ended.notes}"
            for path in job.outputs:
                if path.endswith(".done"):
                    Path(path).touch()
        runs += [Run.load(folder) for folder in Path("merged").iterdir()]
    assert {dataset for run in runs for dataset in run.scores["dataset"]} == {
        f"{one.name}-{variant}" for one in study.data
    }
    backbones = {backbone for run in runs for backbone in run.scores["backbone"]}
    assert len(backbones) == len({one.name for one in _embedders(study)})


def _embedders(study: StudyFile) -> list:
    return [*study.extract.backbones, *(each for one in study.finetune for each in one.backbones)]


def _small(study: StudyFile) -> StudyFile:
    """One seed, one epoch, two rates, three blocks, few neighbours, halves for low-data curves, and tiny networks."""
    tried = None if _NIGHTLY else _TRIED.get(study.name or "")
    chosen = [one for one in study.data if not tried or one.name in tried]
    data = [one.model_copy(update={"images": one.images and _tiny(one.images)}) for one in chosen]
    extract = study.extract.model_copy(update={"images": _tiny(study.extract.images)})
    probe = study.probe and study.probe.model_copy(
        update={
            "seeds": 1,
            "probes": [text.replace("k=[200]", "k=[3]").replace("k=[11]", "k=[3]") for text in study.probe.probes],
            "train_fraction": [0.5, 1] if study.probe.train_fraction else [],
        }
    )
    finetune = [
        one.model_copy(
            update={
                "seeds": 1,
                "settings": {**one.settings, "epochs": 1},
                "modes": [re.sub(r"(partial|drop-last):\d+", r"\1:3", mode) for mode in one.modes],
                "search": one.search and "lr=1e-4,1e-3",
                "train_fraction": [0.5, 1] if one.train_fraction else [],
                "data": [each.name for each in data if not one.data or each.name in one.data],
            }
        )
        for one in study.finetune
    ]
    return study.model_copy(update={"data": data, "extract": extract, "probe": probe, "finetune": finetune})


def _all_networks(study: StudyFile) -> StudyFile:
    """Every network and every mode, but not each with each other, on the first data set."""
    first, finetune = study.data[:1], []
    for one in study.finetune:
        if first[0].name in one.data:
            backbones = one.backbones or study.extract.backbones
            for some, modes in ((backbones, one.modes[:1]), (backbones[:1], one.modes[1:])):
                finetune += [one.model_copy(update={"data": [], "backbones": some, "modes": modes})] if modes else []
    return study.model_copy(update={"data": first, "finetune": finetune})


def _all_sets(study: StudyFile) -> StudyFile:
    """The other data sets, each with one network and one mode."""
    extract = study.extract.model_copy(update={"backbones": study.extract.backbones[:1]})
    left, finetune = [one.name for one in study.data[1:]], []
    for one in study.finetune:
        if names := [name for name in one.data if name in left]:
            changes = {"data": names, "backbones": one.backbones[:1], "modes": one.modes[:1]}
            finetune.append(one.model_copy(update=changes))
            left = [name for name in left if name not in names]
    return study.model_copy(update={"data": study.data[1:], "extract": extract, "finetune": finetune})


def _tiny(images):
    return images.model_copy(update={"image_size": SIZE, **({"resize": SIZE + 4} if images.resize else {})})

"""Study files: what they say, what `--set` and variants change, and what every error names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from medprobe.base.errors import StudyError
from medprobe.study import StudyFile, load_study
from medprobe.study.loading import PRESET

_SMALL = "data: [brain.parquet]\nextract:\n  backbones: [dinov2-s]\n"


def _load(folder: Path, text: str, *settings: str) -> StudyFile:
    file = folder / "brain.yaml"
    file.write_text(text)
    return load_study(file, settings)


def _refused(folder: Path, text: str, *settings: str) -> str:
    with pytest.raises(StudyError) as error:
        _load(folder, text, *settings)
    return str(error.value)


def test_a_text_stands_for_a_data_set_and_for_a_backbone(tmp_path: Path) -> None:
    study = _load(tmp_path, _SMALL)
    assert study.name == "brain"
    assert study.data[0].manifest == "brain.parquet"
    assert study.extract.backbones[0].name == "dinov2-s"
    assert study.probe
    assert study.probe.seeds == 20


def test_settings_change_what_the_file_has_and_what_it_lacks(tmp_path: Path) -> None:
    study = _load(
        tmp_path,
        _SMALL,
        "probe.seeds=200",
        "data[0].allow=[missing-file]",
        "extract.backbones[0].poolings=[cls, mean]",
        "resources.probe.minutes=30",
        "cluster.partition=long",
    )
    assert study.probe
    assert (study.probe.seeds, study.data[0].manifest, study.data[0].allow) == (200, "brain.parquet", ["missing-file"])
    assert study.extract.backbones[0].poolings == ["cls", "mean"]
    assert (study.resources["probe"].minutes, study.cluster.partition) == (30, "long")
    assert _load(tmp_path, _SMALL, "probe=null").probe is None


def test_the_last_setting_of_a_key_holds(tmp_path: Path) -> None:
    study = _load(tmp_path, _SMALL, "probe.seeds=3", "probe.seeds=4")
    assert study.probe
    assert study.probe.seeds == 4


def test_a_variant_changes_the_file_and_settings_change_the_variant(tmp_path: Path) -> None:
    text = _SMALL + "variants: {faithful: {}, corrected: {probe.seeds: 7, 'data[0].name': grouped}}\n"
    seeds = [_load(tmp_path, text, *settings).probe.seeds for settings in (  # pyright: ignore[reportOptionalMemberAccess]
        [], ["protocol=corrected"], ["probe.seeds=9", "protocol=corrected"]
    )]  # fmt: skip
    assert seeds == [20, 7, 9]
    assert _load(tmp_path, text).protocol == "faithful"
    assert _load(tmp_path, text, "protocol=corrected").data[0].name == "grouped"
    assert 'unknown protocol "correct"' in _refused(tmp_path, text, "protocol=correct")


def test_several_errors_are_one_message_with_lines_keys_and_near_names(tmp_path: Path) -> None:
    message = _refused(
        tmp_path,
        "data:\n  - {build: folder, sorce: x}\n  - {}\nextract:\n  backbones:\n    - {name: a, imges: {}}\n"
        "probe:\n  protocols: [offical]\n  seeds: many\nfinetun: 3\n",
    )
    assert "6 errors" in message
    for line, words in {
        2: 'data[0]: unknown key "sorce"; there are manifest, build, source, options, name, allow, images. Did',
        3: "data[1]: give either manifest or build.",
        6: 'extract.backbones[0]: unknown key "imges"',
        8: "probe.protocols[0] must be 'auto', 'official', 'fixed', 'holdout' or 'kfold', not \"offical\". Did",
        9: 'probe.seeds must be a whole number, not "many".',
        10: 'unknown key "finetun"',
    }.items():
        assert f"\n  line {line}: {words}" in message


def test_a_wrong_setting_is_named_instead_of_a_line(tmp_path: Path) -> None:
    for setting, words in {
        "probe.seds=3": 'brain.yaml, --set probe.seds=3: probe: unknown key "seds"; there are probes, protocols, seeds',
        "probe.seeds=x": 'brain.yaml, --set probe.seeds=x: probe.seeds must be a whole number, not "x".',
        "data[4].name=x": "--set data[4].name=x: data has 1 entries, from 0.",
        "data.name=x": "--set data.name=x: data has no keys.",
        "probe.seeds=true": "probe.seeds must not be true.",
        "probe..x=1": 'is not a path such as probe.seeds or data[0].allow',
        "probe": "write a path and a value, such as probe.seeds=200",
        "probe.seeds=[": "the value is not YAML",
        "probe.seeds=" + "[" * 5000: "the value is not YAML",
    }.items():  # fmt: skip
        assert words in _refused(tmp_path, _SMALL, setting)


_RIGHT = "data: [a]\nextract: {backbones: [a]}\n"


@pytest.mark.parametrize(
    ("text", "words"),
    {
        "probe: {probes: [knn, centroid, knn]}": "line 3: probe.probes must not hold knn twice",
        "probe: {protocols: [auto, auto]}": "line 3: probe.protocols must not hold auto twice",
        "probe: {shots: [5, 5]}": "line 3: probe.shots must not hold 5 twice",
        "finetune: [{modes: [full, full]}]": "line 3: finetune[0].modes must not hold full twice",
        "finetune: [{data: [a, a]}]": "line 3: finetune[0].data must not hold a twice",
        "probe: {folds: 1}": "line 3: probe.folds must be at least 2, not 1",
        "probe:\n  train_fraction: [0.5, 2.0]": "line 4: probe.train_fraction[1] must be at most 1.0, not 2.0",
        "finetune: [{train_fraction: [2.0]}]": "line 3: finetune[0].train_fraction[0] must be at most 1",
        "retrieve: {k: []}": "line 3: retrieve.k must have at least 1 value",
        "protocol: [a]\nvariants: {a: {probe.seeds: 3}}": "line 3: unknown protocol",
        'out: "a\\0b"': "line 3: out holds a NUL character",
        "name: a\nstore: b\nstats: {tests: [delong, delong]}": "line 5: stats.tests must not hold delong twice",
    }.items(),
)
def test_a_value_that_would_fail_later_is_refused_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    assert words in _refused(tmp_path, _RIGHT + text)


def test_a_normalization_is_read_when_the_study_is(tmp_path: Path) -> None:
    words = 'extract.images.normalization: "foo" is not a normalization; use model'
    assert words in _refused(tmp_path, "data: [a]\nextract: {backbones: [a], images: {normalization: foo}}")


@pytest.mark.parametrize(
    ("text", "words"),
    {
        "": "is empty",
        "# nothing": "is empty",
        "- a": "holds no keys",
        "data: [": "line 1, column 8: is not YAML",
        "data: [a]\ndata: [b]": "line 2: data is there twice",
        "data: [a]\nextract: {backbones: [a]}\nprobe:\n  seeds: 1\n  seeds: 2": "line 5: probe.seeds is there twice",
        "a: " + "[" * 10_000 + "]" * 10_000: "lists within lists",
        "a: &a [*a]": "lists within lists",
        "a: !!python/object:os.system 1": "is not YAML",
        "a: 2000-99-99": "cannot be read",
        "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}' if n else 'x'] * 9)}]" for n in range(9)): "more than 50,000",
    }.items(),
)
def test_a_file_that_is_no_study_is_one_clear_error(tmp_path: Path, text: str, words: str) -> None:
    assert words in _refused(tmp_path, text)


def test_what_is_no_readable_file_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes("name: Zürich".encode("latin-1"))
    (tmp_path / "brain.parquet").write_bytes(b"PAR1\xff\xfe")
    with (tmp_path / "huge.yaml").open("wb") as file:
        file.truncate(3_000_000)
    os.mkfifo(tmp_path / "pipe.yaml")
    for name, words in {
        ".": "is a folder; name a file",
        "latin.yaml": "is not UTF-8 text",
        "brain.parquet": "is a table, not a study",
        "huge.yaml": "has 3,000,000 bytes",
        "pipe.yaml": "is not a file",
        "hug.yaml": 'there is no such file. Did you mean "huge.yaml"?',
    }.items():
        with pytest.raises(StudyError) as error:
            load_study(f"{tmp_path}/{name}")
        assert words in str(error.value)
    with pytest.raises(StudyError, match='unknown preset "nosuch"'):
        load_study(f"{PRESET}nosuch")


def test_merge_keys_and_anchors_of_yaml_work(tmp_path: Path) -> None:
    text = "data:\n  - &one {manifest: a.csv, allow: [x]}\n  - {<<: *one, manifest: b.csv}\nextract: {backbones: [c]}\n"
    study = _load(tmp_path, text)
    assert [(one.manifest, one.allow) for one in study.data] == [("a.csv", ["x"]), ("b.csv", ["x"])]

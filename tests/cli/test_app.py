from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from medprobe.base import MedprobeError
from medprobe.cli.app import app
from typer.main import get_command


def _commands(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield words, command
    # Asked for, not read: the builders' commands are found when they are needed.
    for name in command.list_commands(None) if hasattr(command, "list_commands") else ():
        yield from _commands(command.get_command(None, name), (*words, name))


def test_every_help_is_shown_as_it_was_written_and_has_an_example(medprobe) -> None:
    """No star, bracket, underscore or colon of it is taken for markup."""

    def plain(text: str) -> str:
        return "".join(text.replace("`", "").replace("│", "").split())

    asked = 0
    for words, command in _commands(get_command(app)):
        assert "\u2026" not in medprobe(*words, "--help").out, "a word was cut to fit 80 columns"
        out = medprobe(*words, "--help", columns=240).out
        assert f"medprobe {' '.join(words)}".rstrip() in out.split("Usage:")[1].split("\n", 1)[1], words
        written = [command.help, *(parameter.help for parameter in command.params)]
        for text in filter(None, written):
            assert plain(text) in plain(out), words
            asked += 1
    assert asked > 100


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom medprobe.cli.app import app\n"
        "try: app(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'numpy', 'pandas', 'h5py', 'torch', 'sklearn', 'scipy', 'matplotlib', 'PIL'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_the_version_is_that_of_the_package() -> None:
    from importlib.metadata import version

    command = [sys.executable, "-m", "medprobe.cli", "--version"]
    assert subprocess.run(command, capture_output=True, text=True).stdout == f"medprobe {version('medprobe')}\n"


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (("extrac",), "extract"),
        (("manifest", "chek"), "check"),
        (("manifest", "build", "fodler"), "folder"),
        (("manifest", "build", "brain_tumor_mri"), "brain-tumor-mri"),
        (("cache", "verfy"), "verify"),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, tuple) else words,
)
def test_an_unknown_verb_of_any_group_exits_with_2_and_names_the_near_one(medprobe, words, near) -> None:
    said = medprobe(*words)
    assert said.status == 2
    assert f"No such command '{words[-1]}'. Did you mean '{near}'?" in " ".join(said.err.split())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("check", "m.csv", "--most", "0"), "'--most': must be at least 1, not \"0\"."),
        (("check", "m.csv", "--most", "few"), "'--most': must be a whole number, not \"few\"."),
        (("show", "m.csv", "--per-class", "41"), "'--per-class': must be at most 40, not \"41\"."),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, tuple) else "",
)
def test_a_value_of_the_wrong_kind_is_told_in_words_with_what_is_right(medprobe, words, told) -> None:
    said = medprobe("manifest", *words)
    assert said.status == 2
    assert told in " ".join(said.err.replace("│", "").split())


def test_a_word_that_an_option_does_not_know_is_a_fault_that_names_the_near_one(medprobe) -> None:
    said = medprobe("manifest", "check", "m.csv", "--fix", "drop-duplicate", "--out", "n.csv")
    assert said.status == 1
    assert '--fix: unknown word "drop-duplicate"' in said.notes
    assert 'Did you mean "drop-duplicates"' in said.notes


def test_the_choices_of_an_option_are_all_that_there_is_and_anything_else_ends_with_2(medprobe) -> None:
    from medprobe.evaluate.resampling.protocols import PROTOCOLS
    from medprobe.evaluate.statistics.intervals import INTERVALS
    from medprobe.evaluate.statistics.p_values import CORRECTIONS
    from medprobe.probe.data.features import AGGREGATIONS, PREDICTIONS

    for verb, option, names in (
        ("extract", "runtime", ["auto", "torch", "openvino"]),
        ("probe", "protocol", ["auto", *PROTOCOLS]),
        ("probe", "aggregation", [*AGGREGATIONS, PREDICTIONS]),
        ("stats", "interval", INTERVALS),
        ("stats", "correction", CORRECTIONS),
        ("stats", "between", ["backbones", "probes"]),
    ):
        said = medprobe(verb, "m.csv", f"--{option}", "foo")
        assert said.status == 2
        assert all(f"'{name}'" in said.notes for name in names), said.err


def test_every_code_of_a_check_is_explained_without_a_manifest(medprobe) -> None:
    from medprobe.manifests import CODES

    for code, meant in CODES.items():
        said = medprobe("manifest", "check", "--explain", code)
        assert said.status == 0, said.err
        assert said.out.startswith(f"{code}\n\n{meant.severity.capitalize()}. ")
        assert "#" not in said.out
    said = medprobe("manifest", "check", "--explain", "near-duplicates")
    assert said.status == 1
    assert 'Did you mean "near-duplicate"' in said.err
    said = medprobe("manifest", "check", "--explain", "")
    assert said.status == 1
    assert 'unknown code ""' in said.err


def test_the_explanations_are_installed_with_the_package() -> None:
    import tomllib

    from medprobe.cli.manifest.check import PAGE

    setuptools = tomllib.loads((PAGE.parent.parent / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert "medprobe.docs" in setuptools["packages"]
    assert setuptools["package-dir"]["medprobe.docs"] == PAGE.parent.name
    assert PAGE.name in setuptools["package-data"]["medprobe.docs"]


def test_a_fault_is_one_message_without_a_traceback_unless_asked(medprobe, tmp_path) -> None:
    words = ("manifest", "check", tmp_path / "nothing.parquet")
    plain = medprobe(*words)
    assert plain.status == 1
    assert plain.err.startswith("error: ")
    assert "Traceback" not in plain.err
    with pytest.raises(MedprobeError):
        medprobe("--debug", *words)


def test_the_demo_leaves_a_folder_alone_that_is_not_its_own(medprobe, tmp_path) -> None:
    (tmp_path / "digits.npz").write_text("mine")
    said = medprobe("demo", "--out", tmp_path)
    assert said.status == 1
    assert "choose another --out" in said.err
    assert (tmp_path / "digits.npz").read_text() == "mine"


@pytest.mark.parametrize("out", ["/proc/nowhere/m.parquet", "x" * 300 + ".parquet"])
def test_a_place_that_cannot_be_is_one_clear_line(medprobe, tmp_path, out) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        (tmp_path / "pets" / name / "1.png").write_bytes(b"")
    said = medprobe("manifest", "build", "folder", tmp_path / "pets", "--out", tmp_path / out)
    assert said.status == 1
    assert said.err.startswith("error: ") or "error: " in said.err
    assert "Traceback" not in said.err

"""Nothing that data holds controls a terminal, and none is too poor for results."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from contextlib import suppress
from io import BytesIO, TextIOWrapper
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from medprobe.base.text import printable
from medprobe.cli.terminal.console import remark, say, show_table
from PIL import Image

_HOSTILE = {
    "escape": "\x1b[31mred\x1b[0m",
    "title": "\x1b]0;owned\x07",
    "one-byte-escape": "\x9b31m",
    "bell": "a\x07b",
    "backspace": "abc\x08\x08\x08",
    "carriage-return": "bad\rgood",
    "override": "a\u202egnp.exe",
    "isolate": "a\u2067b\u2069",
    "mark": "a\u200fb",
    "separator": "a\u2028b",
    "byte-order-mark": "\ufeffa",
    "tag": "a\U000e0041",
}
_ENCODINGS = ("ascii", "iso-8859-1", "cp1252", "utf-8")


def _is_safe(text: str) -> bool:
    return not any(
        (letter < " " and letter not in "\n\t") or "\x7f" <= letter <= "\x9f" or letter in "\u200e\u200f\u061c\ufeff"
        or "\u2028" <= letter <= "\u202e" or "\u2066" <= letter <= "\u2069" or "\ud800" <= letter <= "\udfff"
        or letter >= "\U000e0000"
        for letter in text
    )  # fmt: skip


@given(st.text(st.characters(exclude_categories=[]) | st.sampled_from("".join(_HOSTILE.values()))))
def test_whatever_a_text_holds_it_can_be_printed_and_printing_it_twice_changes_nothing(text: str) -> None:
    shown = printable(text)
    assert _is_safe("".join(letter for letter in shown if letter < "\U000e0000"))
    assert printable(shown) == shown
    assert shown.encode().decode() == shown


@pytest.mark.parametrize("name", ["Müller", "≥3 mm", "肺炎", "良性（A），ｱ", "הדמיה", "a b", "e\u0301", "👩\u200d⚕"])
def test_names_in_any_script_are_printed_as_they_are(name: str) -> None:
    assert printable(name) == name


@pytest.mark.parametrize("value", _HOSTILE.values(), ids=_HOSTILE.keys())
def test_no_way_to_the_terminal_passes_on_what_would_control_it(value: str, capsys) -> None:
    say(value)
    remark(f"note: {value}")
    show_table([value, "b"], [[value, 1]], title=value, whole=[value])
    printed = capsys.readouterr()
    assert _is_safe(printed.out + printed.err)
    assert "\\x" in printed.out + printed.err or "\\u" in printed.out.lower()


def test_warnings_of_other_libraries_are_printed_once_without_what_controls_a_terminal(medprobe, monkeypatch) -> None:
    def warn(*_: object) -> None:
        for _ in range(2):
            warnings.warn("in \x1b[31mred", UserWarning, stacklevel=1)

    monkeypatch.setattr("medprobe.cli.doctor._versions", lambda: warn() or [])
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        ended = medprobe("doctor")
    assert ended.err.count("UserWarning: in \\x1b[31mred") == 1


def _cohort(folder: Path, *, label: str = "≥3 mm", name: str = "") -> Path:
    """A table of six images, whose names, labels, patients and sites are hostile."""
    (folder / "i").mkdir()
    rng, values = np.random.default_rng(0), [value.replace("\r", " ") for value in _HOSTILE.values()]
    rows = []
    for number in range(6):
        path = f"i/{number}{name}.png"
        Image.fromarray(rng.integers(0, 256, (16, 16), dtype=np.uint8)).save(folder / path)
        rows.append({"file": path, "label": (label, "<3 mm")[number % 2], "site": values[number], "who": values[6]})
    pd.DataFrame(rows).to_csv(folder / "labels.csv", index=False)
    return folder / "labels.csv"


def test_hostile_files_sites_and_patients_do_not_control_the_terminal(medprobe, tmp_path) -> None:
    labels = _cohort(tmp_path, label="\u202emm 3", name="\x1b[31m\u202e")
    options = ("--image-column", "file", "--label-column", "label", "--group-column", "who", "--attribute", "site")
    out = tmp_path / "m.csv"
    commands = (
        ("build", "csv", labels, *options, "--keep-ids", "--out", out),
        ("show", out),
        ("check", out),
        ("check", out, "--json"),
    )
    for words in commands:
        ended = medprobe("manifest", *words)
        assert ended.status in (0, 1), ended.err
        assert "Traceback" not in ended.err
        assert _is_safe(ended.out + ended.err), words
    assert "\\u202e" in ended.out
    ended = medprobe("manifest", "check", tmp_path / "\x1b[31m\u202e.parquet", "--moist")
    assert ended.status == 2
    assert _is_safe(ended.out + ended.err)


@pytest.mark.parametrize("encoding", _ENCODINGS)
def test_a_terminal_of_few_letters_gets_all_results(encoding: str, main, tmp_path, monkeypatch) -> None:
    labels, out = _cohort(tmp_path, label="肺炎 ≥3 mm"), tmp_path / "m.csv"
    options = ("--image-column", "file", "--label-column", "label")
    shown = ""
    for words in (("build", "csv", labels, *options, "--out", out), ("show", out), ("check", out), ("build", "--help")):
        streams = [TextIOWrapper(BytesIO(), encoding=encoding) for _ in range(2)]
        for name, stream in zip(("stdout", "stderr"), streams, strict=True):
            monkeypatch.setattr(sys, name, stream)
        monkeypatch.setattr("sys.argv", ["medprobe", "manifest", *map(str, words)])
        with suppress(SystemExit):
            main()
        for stream in streams:
            stream.flush()
            shown += stream.buffer.getvalue().decode(encoding)  # pyright: ignore[reportAttributeAccessIssue]
    assert "UnicodeEncodeError" not in shown
    assert "\\u80ba\\u708e \\u22653 mm" in shown or encoding == "utf-8"


@pytest.mark.parametrize("environment", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}])
def test_results_survive_the_environment_of_a_poor_terminal(environment: dict[str, str], tmp_path) -> None:
    out = tmp_path / "m.csv"
    words = ("manifest", "build", "csv", _cohort(tmp_path), "--image-column", "file", "--label-column", "label")
    command = [sys.executable, "-m", "medprobe.cli", *map(str, words), "--out", str(out)]
    run = subprocess.run(command, capture_output=True, check=False, env={**os.environ, **environment})
    assert run.returncode == 0, run.stderr
    assert out.is_file()


@pytest.mark.parametrize("place", ["s/a/h\xf6he.png", "s/a/h\xf6he.txt", "s/h\xf6he/1.png", "h\xf6he/a/1.png"])
def test_names_that_are_not_utf_8_are_refused_by_name_with_a_way_to_rename_them(place: str, medprobe, tmp_path) -> None:
    for name in ("s/a/0.png", "s/b/0.png", place, f"{place.partition('/')[0]}/b/1.png"):
        file = tmp_path / os.fsdecode(name.encode("latin1"))
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), len(name)).save(file, format="PNG")
    folder = tmp_path / os.fsdecode(place.partition("/")[0].encode("latin1"))
    (tmp_path / "labels.csv").write_text("PatientID,label\n1,a\n2,b\n")
    labels = ("--labels", tmp_path / "labels.csv", "--label-column", "label")
    for builder, options in {
        "folder": (),
        "dicom": labels,
        "nifti": (*labels, "--patient-column", "PatientID"),
    }.items():
        ended = medprobe("manifest", "build", builder, folder, "--out", tmp_path / "m.csv", "--name", "x", *options)
        assert ended.status == 1
        assert "h\\xf6he" in ended.err
        assert "convmv" in ended.err
        assert "Traceback" not in ended.err
    assert not (tmp_path / "m.csv").exists()


@pytest.mark.parametrize(
    "words", [("manifest", "show"), ("manifest", "check"), ("extract", "-b", "resnet50"), ("report",)]
)
def test_an_argument_that_is_not_utf_8_is_named_in_one_message(words: tuple[str, ...], medprobe, tmp_path) -> None:
    ended = medprobe(*words, tmp_path / os.fsdecode(b"h\xf6he.parquet"))
    assert ended.status in (1, 2)
    assert "h\\xf6he" in ended.err.replace("\n", "")
    assert "Traceback" not in ended.err

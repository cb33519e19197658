from __future__ import annotations

import subprocess
import sys

import pytest


def _medprobe(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "medprobe.cli", *words], capture_output=True, text=True, check=False)


_VERBS = (
    ("demo",),
    ("manifest", "build", "folder"),
    ("manifest", "build", "csv"),
    ("manifest", "build", "npz"),
    ("manifest", "check"),
    ("manifest", "show"),
    ("backbones",),
    ("extract",),
    ("cache", "ls"),
    ("cache", "show"),
    ("cache", "verify"),
    ("probe",),
    ("report",),
    ("doctor",),
)


@pytest.mark.parametrize("verb", _VERBS, ids=" ".join)
def test_every_verb_has_help_with_an_example(verb: tuple[str, ...]) -> None:
    shown = _medprobe(*verb, "--help")
    assert shown.returncode == 0, shown.stderr
    assert f"medprobe {' '.join(verb)}" in shown.stdout.split("Usage:")[1].split("\n", 1)[1]


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

    assert _medprobe("--version").stdout.strip() == f"medprobe {version('medprobe')}"


def test_an_unknown_verb_exits_with_2_and_names_the_near_one() -> None:
    run = _medprobe("extrac")
    assert run.returncode == 2
    assert "extract" in run.stderr


def test_a_fault_is_one_message_without_a_traceback_unless_asked(tmp_path) -> None:
    words = ("manifest", "check", str(tmp_path / "nothing.parquet"))
    plain, debug = _medprobe(*words), _medprobe("--debug", *words)
    assert plain.returncode == 1
    assert plain.stderr.startswith("error: ")
    assert "Traceback" not in plain.stderr
    assert "Traceback" in debug.stderr

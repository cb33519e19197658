"""The Snakefile: readable, the same every time, and right for odd names; sbatch scripts and graphs of the same jobs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from medprobe.base.errors import StudyError
from medprobe.study import Job
from medprobe.study.jobs import Needs
from medprobe.study.workflow.graph import write_graph
from medprobe.study.workflow.sbatch import write_sbatch
from medprobe.study.workflow.snakefile import write_snakefile
from shell_jobs import KEY, out_of, shell_job, tiny_study

pytest.importorskip("snakemake")

_MARK = "shards/1-2--0123456789.done"
_TASK = {"SLURM_ARRAY_TASK_ID": "0", "SLURM_CPUS_PER_TASK": "1"}
_ODD = 'it\'s a {strange} $NAME & "more" ü 😀'


def _jobs(odd: Path) -> list[Job]:
    words = ("bash", "-c", 'test "$1" = 2 && cp "$0" shards/copy--0', str(odd), "{threads}")
    needs = Needs(memory_mb=3000, minutes=4, cores=2, gpus=1)
    copy = Job("extract", "extract-a", words, (str(odd),), ("shards/copy--0", _MARK), needs)
    probe = shell_job("probe-a", "true", copy.outputs)
    return [copy, probe, shell_job("report-a", "true", (out_of(probe),), folder="reports", kind="report")]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the Snakefile was run by Snakemake alone, without medprobe on the path."""
    out = tmp_path_factory.mktemp("ran")
    odd = out / _ODD
    odd.write_text("content")
    write_snakefile(_jobs(odd), tiny_study(cluster={"before": ["export BEFORE='{x}'"], "extra": ["--qos=long"]}), out)
    words = [sys.executable, "-m", "snakemake", "-s", "Snakefile", "--cores", "2"]
    subprocess.run(words, cwd=out, check=True, env={"PATH": os.defpath}, capture_output=True)
    return out


def test_snakemake_runs_it_alone_whatever_characters_names_have(ran: Path) -> None:
    assert (ran / "shards" / "copy--0").read_text() == "content"
    assert (ran / out_of(_jobs(ran / _ODD)[-1]) / "when").exists()


def test_the_command_gets_its_cores_and_marks_are_made_after_it(ran: Path) -> None:
    assert (ran / _MARK).read_bytes() == b""


def test_the_same_jobs_give_the_same_bytes(ran: Path) -> None:
    before = (ran / "Snakefile").read_bytes()
    study = tiny_study(cluster={"before": ["export BEFORE='{x}'"], "extra": ["--qos=long"]})
    assert write_snakefile(_jobs(ran / _ODD), study, ran).read_bytes() == before


def test_rules_say_what_a_cluster_needs(tmp_path: Path) -> None:
    cluster = {
        "partition": "cpu",
        "gpu_partition": "gpu",
        "account": "lab",
        "gpu": "gpu:a100:1",
        "extra": ["--qos=long", "--nice=3"],
    }
    study = tiny_study(cluster=cluster)
    extract, probe, report = write_snakefile(_jobs(tmp_path), study, tmp_path).read_text().split("\nrule:")[1:]
    for line in ('slurm_partition="gpu"', 'slurm_account="lab"', 'gres="gpu:a100:1"', "mem_mb=raised(3000)"):
        assert line in extract
    assert 'slurm_partition="cpu"' in probe
    assert 'qos="long"' in probe
    assert 'slurm_extra="--nice=3"' in probe
    assert "runtime=raised(10)" in probe
    assert "gres" not in probe
    assert "localrule: True" in report


def test_scripts_for_sbatch_do_the_jobs_in_order(tmp_path: Path) -> None:
    """The scripts are run here by a shell instead of Slurm, a job of an array at a time."""
    odd = tmp_path / _ODD
    odd.write_text("content")
    out, folder = tmp_path / "out", tmp_path / "jobs"
    (out / "shards").mkdir(parents=True)
    study = tiny_study(cluster={"partition": "cpu", "before": ["export BEFORE=1"], "extra": ["--nice=3"]})
    *scripts, submit = write_sbatch(_jobs(odd), study, out, folder)
    assert [path.name for path in scripts] == ["01-extract.sh", "02-probe.sh", "03-report.sh"]
    text = scripts[0].read_text()
    for option in ("--array=0-0", "--cpus-per-task=2", "--mem=3000M", "--partition=cpu", "--gres=gpu:1", "--nice=3"):
        assert f"#SBATCH {option}\n" in text
    for _ in range(2):  # the second time they have nothing to do
        for script in scripts:
            subprocess.run(["bash", script], check=True, env={**os.environ, **_TASK})
    assert (out / "shards" / "copy--0").read_text() == "content"
    assert (out / _MARK).exists()
    assert "--dependency=afterok:${job2%%;*} --kill-on-invalid-dep=yes 03-report.sh" in submit.read_text()
    assert write_sbatch(_jobs(odd), study, out, folder / "again") == [folder / "again" / "submit.sh"]


def test_a_page_that_was_not_finished_is_not_taken_for_one(tmp_path: Path) -> None:
    page = f"reports/page--{KEY}"
    words = ("bash", "-c", f"mkdir -p {page} && touch {page}/first && test -e allowed && touch {page}/last")
    job = Job("report", "report-page", words, (), (f"{page}/",))
    out = tmp_path / "out"
    script, _ = write_sbatch([job], tiny_study(), out, tmp_path / "jobs")
    assert subprocess.run(["bash", script], check=False, env={**os.environ, **_TASK}).returncode == 1
    assert not (out / page).exists()
    (out / "allowed").touch()
    subprocess.run(["bash", script], check=True, env={**os.environ, **_TASK})
    assert sorted(path.name for path in (out / page).iterdir()) == ["first", "last"]


def test_an_array_is_no_longer_than_slurm_takes(tmp_path: Path) -> None:
    jobs = [shell_job(f"probe-{number}", "true") for number in range(1500)]
    files = write_sbatch(jobs, tiny_study(), tmp_path, tmp_path / "jobs")
    assert len(files) == 3
    assert "#SBATCH --array=0-499\n" in files[1].read_text()


def test_a_graph_has_a_box_for_each_job_or_for_each_kind(tmp_path: Path) -> None:
    few = [shell_job("a", "true", kind="extract"), shell_job("b", "true", (out_of(shell_job("a", "true")),))]
    write_graph(few, tmp_path / "few.mmd")
    assert (tmp_path / "few.mmd").read_text() == 'flowchart LR\n    j0["a"]\n    j1["b"]\n    j0 --> j1\n'
    many = [*few, *(shell_job(f"c{n}", "true", (out_of(few[0]),)) for n in range(100))]
    write_graph(many, tmp_path / "many.mmd")
    assert 'j1["probe: 101 jobs"]' in (tmp_path / "many.mmd").read_text()
    with pytest.raises(StudyError, match=r"\.mmd"):
        write_graph(few, tmp_path / "graph.pdf")

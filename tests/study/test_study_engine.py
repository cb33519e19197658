"""Running a study: what fails, what is done again, who may run, and what is left when it is stopped."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from medprobe.base import OutputError
from medprobe.base.errors import StudyError
from medprobe.study.jobs import Needs
from medprobe.study.workflow.engine import StudyInterrupted, StudyRun, run_study
from medprobe.study.workflow.folder_lock import only_run, running_in
from medprobe.study.workflow.progress import failures, jobs_to_do, plan_by_kind, states
from medprobe.study.workflow.results import link_results
from shell_jobs import KEY, out_of, shell_job, tiny_study

pytest.importorskip("snakemake")

_A = shell_job("retrieve-a", "true", kind="retrieve", folder="embedded", minutes=2, memory_mb=500, disk_mb=10)
_B = shell_job("probe-b", "true", (out_of(_A),), minutes=3, memory_mb=700)
_BAD = shell_job("probe-bad", "echo first; echo the data are bad >&2; exit 3", (out_of(_A),))
_MERGED = shell_job("merge", "true", (out_of(_B), out_of(_BAD)), folder="merged", kind="merge")
_REPORT = shell_job("brain-official", "true", (out_of(_B),), folder="reports", kind="report")
_JOBS = [_A, _B, _BAD, _MERGED, _REPORT]
_GOOD = [_A, _B, _REPORT]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StudyRun]:
    """A run in which one job failed; a killed Snakemake had left its lock in the folder."""
    out = tmp_path_factory.mktemp("study")
    (out / ".snakemake" / "locks").mkdir(parents=True)
    (out / ".snakemake" / "locks" / "0.output.lock").write_text(out_of(_A).rstrip("/"))
    return out, run_study(_JOBS, tiny_study(), out, cores=2)


def test_a_failed_job_stops_only_what_needs_it(ran: tuple[Path, StudyRun]) -> None:
    out, result = ran
    state = states(_JOBS, out, running=False)
    assert state == {
        "retrieve-a": "done",
        "probe-b": "done",
        "probe-bad": "failed",
        "merge": "waiting",
        "brain-official": "done",
    }
    assert (result.done, result.unfinished, result.status) == (3, 2, 1)


def test_failures_have_the_end_of_their_log(ran: tuple[Path, StudyRun]) -> None:
    out, result = ran
    [failure] = result.failures
    assert failure.job == _BAD
    assert failure.last_lines == ("first", "the data are bad")
    assert failures(_JOBS, out, running=False) == [failure]


def test_the_newest_results_are_linked_under_plain_names(ran: tuple[Path, StudyRun]) -> None:
    out, result = ran
    link = out / "results" / "reports" / "brain-official"
    assert result.links == (link,)
    assert link.resolve() == (out / f"reports/brain-official--{KEY}").resolve()


def test_a_second_run_does_nothing(ran: tuple[Path, StudyRun]) -> None:
    """Times do not matter, nor do other lines before the commands, nor what is gone and not needed any more."""
    out, _ = ran
    report = out / out_of(_REPORT) / "when"
    before = report.read_bytes()
    os.utime(out / out_of(_A))
    (out / out_of(_B)).rename(out / "moved")
    result = run_study(_GOOD, tiny_study(cluster={"before": ["true"]}), out, cores=2)
    (out / "moved").rename(out / out_of(_B))
    assert (result.done, result.unfinished, result.status) == (0, 0, 0)
    assert report.read_bytes() == before


def test_only_what_is_missing_and_needed_is_to_do(tmp_path: Path) -> None:
    assert jobs_to_do(_GOOD, tmp_path) == _GOOD
    for job in (_A, _REPORT):
        (tmp_path / out_of(job)).mkdir(parents=True)
    assert jobs_to_do(_GOOD, tmp_path) == []
    further = shell_job("further", "true", (out_of(_A),))
    assert jobs_to_do([*_GOOD, further], tmp_path) == [further]
    (tmp_path / out_of(_A)).rmdir()  # made again for the new one, and with it what is made from it
    assert jobs_to_do([*_GOOD, further], tmp_path) == [*_GOOD, further]


def test_a_plan_counts_what_unfinished_jobs_take(tmp_path: Path) -> None:
    (tmp_path / out_of(_A)).mkdir(parents=True)
    first, probe, _ = plan_by_kind(_GOOD, tmp_path)
    assert (first.jobs, first.done, first.minutes, first.disk_mb) == (1, 1, 0, 0)
    assert (probe.jobs, probe.done, probe.minutes, probe.memory_mb) == (1, 0, 3, 700)


def test_links_of_an_older_form_of_the_study_go(tmp_path: Path) -> None:
    (tmp_path / out_of(_REPORT)).mkdir(parents=True)
    assert len(link_results([_REPORT], tmp_path)) == 1
    assert link_results([_A], tmp_path) == []
    assert not list((tmp_path / "results").glob("*/*"))


def test_a_folder_in_which_a_study_runs_is_refused(tmp_path: Path) -> None:
    with only_run(tmp_path), pytest.raises(StudyError, match=f"process {os.getpid()} on .* runs a study there"):
        run_study(_GOOD, tiny_study(), tmp_path)


def test_a_folder_in_which_a_job_still_runs_is_refused(tmp_path: Path) -> None:
    words = [sys.executable, "-c", "input()"]
    environment = {**os.environ, "MEDPROBE_VERSION": "0"}
    with subprocess.Popen(words, cwd=tmp_path, env=environment, stdin=subprocess.PIPE) as job:
        while running_in(tmp_path) is None:
            time.sleep(0.01)
        with pytest.raises(StudyError, match=f"process {job.pid} runs jobs"):
            run_study(_GOOD, tiny_study(), tmp_path)
        job.communicate(b"\n")
    assert running_in(tmp_path) is None


def test_who_only_reads_a_log_there_runs_no_study(tmp_path: Path) -> None:
    log = tmp_path / "snakemake.log"
    log.touch()
    with subprocess.Popen(["tail", "-f", log.name], cwd=tmp_path) as reader:
        assert running_in(tmp_path) is None
        reader.terminate()


@pytest.mark.parametrize("name", ["study.yaml", "Snakefile"])
def test_a_file_of_the_user_s_own_is_not_replaced(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("# mine\n")
    with pytest.raises(OutputError, match=f"{name}: is not of an earlier run"):
        run_study(_GOOD, tiny_study(), tmp_path, cores=1)
    assert (tmp_path / name).read_text() == "# mine\n"


def test_slurm_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StudyError, match="there is no sbatch on this machine"):
        run_study(_GOOD, tiny_study(), tmp_path, engine="slurm")


def test_another_executor_has_no_limits_of_this_machine(tmp_path: Path) -> None:
    words = ("bash", "-c", f"mkdir -p {out_of(_A)} && echo $0 > cores", "{threads}")
    large = replace(_A, command=words, needs=Needs(cores=999))
    run_study([large], tiny_study(), tmp_path, options=["--executor", "local", "--cores", "999"])
    assert (tmp_path / "cores").read_text() == "999\n"


def test_a_lock_of_another_machine_is_left_with_what_to_do(tmp_path: Path) -> None:
    locks = tmp_path / ".snakemake" / "locks"
    locks.mkdir(parents=True)
    (locks / "0.output.lock").write_text("x")
    (tmp_path / ".snakemake" / "medprobe.lock").write_text("12 node7")
    with pytest.raises(StudyError, match=r"process 12 on node7.*snakemake --unlock"), only_run(tmp_path):
        pass
    assert (locks / "0.output.lock").exists()


def test_a_stopped_run_ends_its_jobs(tmp_path: Path) -> None:
    job = shell_job("slow", "sleep 60")

    def begun() -> bool:
        return "running" in states([job], tmp_path, running=True).values()

    with pytest.raises(StudyInterrupted):
        run_study([job], tiny_study(), tmp_path, should_stop=begun)
    assert running_in(tmp_path) is None
    assert states([job], tmp_path, running=False) == {"slow": "waiting"}
    assert jobs_to_do([job], tmp_path) == [job]


def test_what_a_cluster_says_of_a_failed_job_is_kept(tmp_path: Path) -> None:
    """The text that Snakemake's plugin for Slurm writes where no job began, and where one took too long."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "probe-b.log").write_text("fitting\n")
    (tmp_path / "logs" / "snakemake.log").write_text(
        "Error in rule retrieve-a:\n    message: SLURM sbatch failed. The error message was 'sbatch: error: invalid "
        "partition specified: nosuch\nsbatch: error: Batch job submission failed: Invalid partition name specified'.\n"
        "    sbatch call: sbatch --parsable\n    jobid: 1\n"
        "Error in rule probe-b:\n    message: SLURM-job '12' failed, SLURM status is: 'TIMEOUT'. For further details "
        "see the log\n    jobid: 2\n"
    )
    first, second = failures(_GOOD, tmp_path, running=False)
    assert first.reason.startswith("sbatch: error: invalid partition specified: nosuch")
    assert first.last_lines == ()
    assert "'TIMEOUT'" in second.reason
    assert second.last_lines == ("fitting",)


def test_a_job_of_another_version_is_refused(medprobe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDPROBE_VERSION", "0.0.9")
    said = medprobe("backbones")
    assert said.status == 1
    assert "medprobe 0.0.9" in said.notes
    monkeypatch.setenv("MEDPROBE_VERSION", "0.1.0")


def test_snakemake_must_be_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "snakemake", None)
    with pytest.raises(StudyError, match=r"pip install .*snakemake"):
        run_study(_GOOD, tiny_study(), tmp_path)

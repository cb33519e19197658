"""Studies on a real Slurm: the same bytes as on this machine, whatever happens to jobs and nodes."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest
from cluster_study import SMALLER, command, finish, finished, kill_with_children, sealed, start, write_study
from one_machine import Slurm, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.realdata, pytest.mark.weights]


@pytest.fixture(scope="module")
def study(realdata: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a study of two backbones, three probes and a fine-tuning."""
    pytest.importorskip("snakemake_executor_plugin_slurm")
    return write_study(tmp_path_factory.mktemp("study"), realdata / "brain-mri")


@pytest.fixture(scope="module")
def local(study: Path) -> dict[str, bytes]:
    """What the study gives on this machine."""
    out = study.parent / "local"
    finish(command(study, out, slurm=False))
    return sealed(out)


def _part_of(found: dict[str, bytes], local: dict[str, bytes]) -> None:
    """Parts of a smaller study are parts of the whole one; what is merged of them is not."""
    parts = {path: content for path, content in found.items() if path.startswith("parts/")}
    assert parts
    assert parts == {path: local.get(path) for path in parts}


def test_a_study_gives_the_bytes_of_the_local_engine(slurm: Slurm, study: Path, local, tmp_path: Path) -> None:
    finish(command(study, tmp_path))
    assert sealed(tmp_path) == local
    assert {job["state"] for job in slurm.jobs("")} == {"COMPLETED"}
    assert "Nothing to do" in finish(command(study, tmp_path))


def test_cancelled_jobs_are_done_again(slurm: Slurm, study: Path, local, tmp_path: Path) -> None:
    process = start(command(study, tmp_path, *SMALLER))
    for kind, started in (("extract", "embeddings/**/*.lock"), ("probe", "logs/probe*.log")):
        job = wait_for(lambda kind=kind: slurm.jobs(kind, "RUNNING"), 90, kind)[0]
        wait_for(lambda started=started: any(tmp_path.glob(started)), 60, f"the work of {kind}")
        subprocess.run(["scancel", job["id"]], check=True)
        wait_for(lambda kind=kind: slurm.jobs(kind, "CANCELLED"), 30, f"the end of {kind}")
    finished(process)
    assert [job["state"] for job in slurm.jobs("extract")][-2:] == ["CANCELLED", "COMPLETED"]
    _part_of(sealed(tmp_path), local)


def test_a_walltime_that_is_too_short_is_doubled(slurm: Slurm, study: Path, local, tmp_path: Path) -> None:
    asleep = 'if [ "$(squeue -h -j "${SLURM_JOB_ID:-0}" -o %l 2>/dev/null)" = 1:00 ]; then sleep 600; fi'
    changes = ("resources.extract.minutes=1", f"cluster.before=[{asleep!r}]")
    finish(command(study, tmp_path, *SMALLER, *changes))
    tries = slurm.jobs("extract")[-2:]
    assert [(job["state"], job["limit"]) for job in tries] == [("TIMEOUT", "1:00"), ("COMPLETED", "2:00")]
    _part_of(sealed(tmp_path), local)


def test_jobs_wait_for_a_drained_node(slurm: Slurm, study: Path, local, tmp_path: Path) -> None:
    with slurm.drained():
        process = start(command(study, tmp_path, *SMALLER))
        wait_for(lambda: slurm.jobs("", "PENDING"), 60, "a job that waits")
    finished(process)
    _part_of(sealed(tmp_path), local)


def test_ctrl_c_cancels_the_jobs(slurm: Slurm, study: Path, tmp_path: Path) -> None:
    process = start(command(study, tmp_path, *SMALLER))
    wait_for(lambda: slurm.jobs("", "RUNNING"), 60, "a job")
    process.send_signal(signal.SIGINT)
    assert "Go on with" in finished(process, status=130)
    wait_for(lambda: not slurm.jobs("", "PENDING,RUNNING,COMPLETING"), 10, "the end of jobs")


def test_the_scripts_for_sbatch_give_the_same_bytes(slurm: Slurm, study: Path, local, tmp_path: Path) -> None:
    out, scripts = tmp_path / "out", tmp_path / "jobs"
    finish([*command(study, out, name=("study", "sbatch")), "--out", str(scripts)])
    last = finish([str(scripts / "submit.sh")]).split()[-1]
    after_it = ["sbatch", "--wait", f"--dependency=afterok:{last}", "--output=/dev/null", "--wrap=true"]
    subprocess.run(after_it, check=True)
    assert sealed(out) == local


def test_a_refusal_of_slurm_is_shown(slurm: Slurm, study: Path, tmp_path: Path) -> None:
    words = command(study, tmp_path, *SMALLER, "cluster.partition=nosuch")
    text = finished(start(words), status=1)
    assert "Invalid partition name specified" in text
    assert "Traceback" not in text


def test_jobs_that_a_killed_run_left_are_not_submitted_again(slurm: Slurm, study: Path, tmp_path: Path) -> None:
    words = command(study, tmp_path, *SMALLER)
    with slurm.drained():
        process = start(words)
        left = wait_for(lambda: slurm.jobs("", "PENDING"), 60, "a job that waits")[0]["id"]
        kill_with_children(process)
        text = finished(start(words), status=1)
    slurm.end_jobs()
    assert f"scancel {left}" in text

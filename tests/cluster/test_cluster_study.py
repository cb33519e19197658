"""Studies on a real Slurm: the same bytes as on this machine, whatever happens to jobs and nodes."""

from __future__ import annotations

import subprocess
from importlib.metadata import version
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


@pytest.fixture
def out(study: Path, tmp_path: Path) -> Path:
    """For results: beside the others, as names of files hold where the images are from there."""
    return study.parent / tmp_path.name


def _part_of(found: dict[str, bytes], local: dict[str, bytes]) -> None:
    """Parts of a smaller study are parts of the whole one; what is merged of them is not."""
    parts = {path: content for path, content in found.items() if path.startswith("parts/")}
    assert parts
    assert parts == {path: local.get(path) for path in parts}


def test_a_study_gives_the_bytes_of_the_local_engine(slurm: Slurm, study: Path, local, out: Path) -> None:
    finish(command(study, out))
    assert sealed(out) == local
    assert {job["state"] for job in slurm.jobs("")} == {"COMPLETED"}
    assert "Nothing to do" in finish(command(study, out))


def test_cancelled_jobs_are_done_again(slurm: Slurm, study: Path, local, out: Path) -> None:
    process = start(command(study, out, *SMALLER))
    for kind in ("extract", "probe"):
        wait_for(lambda kind=kind: any(out.glob(f"logs/{kind}-*.log")), 120, f"a job that runs {kind}")
        subprocess.run(["scancel", slurm.jobs(kind, "RUNNING")[0]["id"]], check=True)
    finished(process)
    for kind in ("extract", "probe"):
        assert [job["state"] for job in slurm.jobs(kind)][-2:] == ["CANCELLED", "COMPLETED"]
    _part_of(sealed(out), local)


def test_a_walltime_that_is_too_short_is_doubled(slurm: Slurm, study: Path, local, out: Path) -> None:
    asleep = 'if [ "$(squeue -h -j "${SLURM_JOB_ID:-0}" -o %l 2>/dev/null)" = 1:00 ]; then sleep 600; fi'
    changes = ("resources.extract.minutes=1", f"cluster.before=[{asleep!r}]")
    finish(command(study, out, *SMALLER, *changes))
    tries = slurm.jobs("extract")[-2:]
    assert [(job["state"], job["limit"]) for job in tries] == [("TIMEOUT", "1:00"), ("COMPLETED", "2:00")]
    _part_of(sealed(out), local)


def test_jobs_wait_for_a_drained_node(slurm: Slurm, study: Path, local, out: Path) -> None:
    with slurm.drained():
        process = start(command(study, out, *SMALLER))
        wait_for(lambda: slurm.jobs("", "PENDING"), 60, "a job that waits")
    finished(process)
    _part_of(sealed(out), local)


def test_a_run_that_is_stopped_cancels_its_jobs(slurm: Slurm, study: Path, out: Path) -> None:
    process = start(command(study, out, *SMALLER))
    wait_for(lambda: slurm.jobs("", "RUNNING"), 60, "a job")
    process.terminate()
    assert "Go on with" in finished(process, status=75)
    wait_for(lambda: not slurm.jobs("", "PENDING,RUNNING,COMPLETING"), 10, "the end of jobs")


def test_the_scripts_for_sbatch_give_the_same_bytes(slurm: Slurm, study: Path, local, out, tmp_path: Path) -> None:
    scripts = tmp_path / "jobs"
    finish([*command(study, out, name=("study", "sbatch")), "--out", str(scripts)])
    last = finish([str(scripts / "submit.sh")]).split()[-1]
    wait = ["sbatch", "--wait", "--kill-on-invalid-dep=yes", "--output=/dev/null", "--wrap=true"]
    subprocess.run([*wait, f"--dependency=afterok:{last}"], check=True, timeout=400)
    assert sealed(out) == local


def test_a_refusal_of_slurm_is_shown(slurm: Slurm, study: Path, out: Path) -> None:
    words = [*command(study, out, *SMALLER, "cluster.partition=nosuch"), "--retries", "0"]
    text = finished(start(words), status=1)
    assert "Invalid partition name specified" in text
    assert "Traceback" not in text


def test_jobs_that_a_killed_run_left_are_not_submitted_again(slurm: Slurm, study: Path, out: Path) -> None:
    words = command(study, out, *SMALLER)
    with slurm.drained():
        process = start(words)
        left = wait_for(lambda: slurm.jobs("", "PENDING"), 60, "a job that waits")[0]["id"]
        kill_with_children(process)
        text = finished(start(words), status=1)
    slurm.end_jobs()
    assert f"scancel {left}" in text


def test_a_worker_of_another_version_refuses(slurm: Slurm, study: Path, out: Path, tmp_path: Path) -> None:
    """The environment that is activated on the node says that it has another medprobe."""
    other = tmp_path / "other" / "medprobe-0.0.1.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: medprobe\nVersion: 0.0.1\n")
    before = f'cluster.before=["export PYTHONPATH={other.parent}"]'
    text = finished(start([*command(study, out, *SMALLER, before), "--retries", "0"]), status=1)
    assert "medprobe 0.0.1" in text
    assert f"medprobe {version('medprobe')} runs" in " ".join(text.split())

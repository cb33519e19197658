"""Studies on a real Slurm: the same bytes as on this machine, whatever happens to jobs and nodes."""

from __future__ import annotations

import shutil
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


@pytest.fixture
def begun(study: Path, local, out: Path) -> Path:
    """Results in which a smaller study has one job left for the cluster, a probe."""
    shutil.copytree(study.parent / "local", out, symlinks=True)
    [part] = out.glob("parts/*/*/efficientnet-lite0--knn--*")
    shutil.rmtree(part)
    return out


def _before(line: str) -> str:
    """A setting: this line of shell is run before each command."""
    return f"cluster.before=[{line!r}]"


_ASLEEP_ONCE = _before('if [ "${SLURM_JOB_ID:-}" ] && [ ! -e asleep ]; then touch asleep; sleep 600; fi')


def _asleep(process: subprocess.Popen[str], out: Path) -> None:
    """Waits for the job that sleeps."""
    wait_for(lambda: (out / "asleep").exists() or process.poll() is not None, 300, "the job")
    assert process.poll() is None, process.communicate()[0]


def _parts(found: dict[str, bytes]) -> dict[str, bytes]:
    return {path: content for path, content in found.items() if path.startswith("parts/")}


def test_a_study_gives_the_bytes_of_the_local_engine(slurm: Slurm, study: Path, local, out: Path) -> None:
    finish(command(study, out))
    assert sealed(out) == local
    assert {job["state"] for job in slurm.jobs("")} == {"COMPLETED"}
    assert "Nothing to do" in finish(command(study, out))


def test_cancelled_jobs_are_done_again(slurm: Slurm, study: Path, local, begun: Path) -> None:
    process = start(command(study, begun, *SMALLER, _ASLEEP_ONCE))
    _asleep(process, begun)
    subprocess.run(["scancel", slurm.jobs("probe", "RUNNING")[0]["id"]], check=True)
    finished(process)
    assert [job["state"] for job in slurm.jobs("probe")][-2:] == ["CANCELLED", "COMPLETED"]
    assert _parts(sealed(begun)) == _parts(local)


def test_a_walltime_that_is_too_short_is_doubled(slurm: Slurm, study: Path, local, begun: Path) -> None:
    process = start(command(study, begun, *SMALLER, "resources.probe.minutes=1", _ASLEEP_ONCE))
    _asleep(process, begun)
    [job] = slurm.jobs("probe", "RUNNING")
    assert job["limit"] == "1:00"
    subprocess.run(["scontrol", "update", f"jobid={job['id']}", "timelimit=0"], check=True)  # as if a minute had passed
    finished(process)
    tries = slurm.jobs("probe")[-2:]
    assert [(job["state"], job["limit"]) for job in tries] == [("TIMEOUT", "0:00"), ("COMPLETED", "2:00")]
    assert _parts(sealed(begun)) == _parts(local)


def test_jobs_wait_for_a_drained_node(slurm: Slurm, study: Path, local, begun: Path) -> None:
    with slurm.drained():
        process = start(command(study, begun, *SMALLER))
        wait_for(lambda: slurm.jobs("", "PENDING"), 300, "a job that waits")
    finished(process)
    assert _parts(sealed(begun)) == _parts(local)


def test_a_run_that_is_stopped_cancels_its_jobs(slurm: Slurm, study: Path, begun: Path) -> None:
    process = start(command(study, begun, *SMALLER, _ASLEEP_ONCE))
    _asleep(process, begun)
    process.terminate()
    assert "Go on with" in finished(process, status=75)
    wait_for(lambda: not slurm.jobs("", "PENDING,RUNNING,COMPLETING"), 60, "the end of jobs")


def test_the_scripts_for_sbatch_give_the_same_bytes(slurm: Slurm, study: Path, local, out, tmp_path: Path) -> None:
    scripts = tmp_path / "jobs"
    finish([*command(study, out, name=("study", "sbatch")), "--out", str(scripts)])
    last = finish([str(scripts / "submit.sh")]).split()[-1]
    wait = ["sbatch", "--wait", "--kill-on-invalid-dep=yes", "--output=/dev/null", "--wrap=true"]
    subprocess.run([*wait, f"--dependency=afterok:{last}"], check=True, timeout=1200)
    assert sealed(out) == local


def test_a_refusal_of_slurm_is_shown(slurm: Slurm, study: Path, begun: Path) -> None:
    words = [*command(study, begun, *SMALLER, "cluster.partition=nosuch"), "--retries", "0"]
    text = finished(start(words), status=1)
    assert "Invalid partition name specified" in text
    assert "Traceback" not in text


def test_jobs_that_a_killed_run_left_are_not_submitted_again(slurm: Slurm, study: Path, begun: Path) -> None:
    words = command(study, begun, *SMALLER)
    with slurm.drained():
        process = start(words)
        left = wait_for(lambda: slurm.jobs("", "PENDING"), 300, "a job that waits")[0]["id"]
        kill_with_children(process)
        text = finished(start(words), status=1)
    slurm.end_jobs()
    assert f"scancel {left}" in text


def test_a_worker_of_another_version_refuses(slurm: Slurm, study: Path, begun: Path, tmp_path: Path) -> None:
    """The environment that is activated on the node says that it has another medprobe."""
    other = tmp_path / "other" / "medprobe-0.0.1.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: medprobe\nVersion: 0.0.1\n")
    before = _before(f"export PYTHONPATH={other.parent}")
    text = finished(start([*command(study, begun, *SMALLER, before), "--retries", "0"]), status=1)
    assert "medprobe 0.0.1" in text
    assert f"medprobe {version('medprobe')} runs" in " ".join(text.split())

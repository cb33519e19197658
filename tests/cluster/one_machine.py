"""A Slurm of one node that is this machine: munged, slurmctld and slurmd, with a configuration of their own.

Not for a machine that has a Slurm already: commands and Snakemake's plugin read the configuration from /etc/slurm only.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

_T = TypeVar("_T")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scancel", "scontrol", "squeue", "sinfo")
_ETC = Path("/etc/slurm")
_FIRST_LINE = "# A test of medprobe wrote this file, and removes it at its end.\n"
_CONFIGURATION = """\
ClusterName=medprobe
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/slurmctld
SlurmdSpoolDir={folder}/slurmd
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ReturnToService=2
EnforcePartLimits=ALL
KillWait=2
MinJobAge=600
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory={memory} Gres=gpu:1
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def why_not() -> str | None:
    """What keeps a Slurm from being started here."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
    if missing:
        return f"Slurm is not installed: no {', '.join(missing)} (Debian: apt-get install slurm-wlm munge)"
    if os.geteuid() != 0:
        return "only root can start a Slurm"
    configuration = _ETC / "slurm.conf"
    if configuration.exists() and not configuration.read_text().startswith(_FIRST_LINE):
        return f"this machine has a Slurm of its own: {configuration}"
    return None


def _path() -> str:
    return os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin"))


class Slurm:
    """A running Slurm. `folder` has the daemons' logs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.node = socket.gethostname().partition(".")[0]
        self.cores = max(2, os.cpu_count() or 2)
        self._daemons: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Returns when the node takes jobs."""
        self._configure()
        munge = [f"--{name}-file={self.folder}/munge.{name}" for name in ("key", "pid", "seed", "log")]
        self._spawn("munged", "--foreground", "--force", f"--socket={self.folder}/munge.socket", *munge)
        wait_for(lambda: (self.folder / "munge.socket").exists(), 120, "munged")
        self._spawn("slurmctld", "-D")
        self._spawn("slurmd", "-D")
        wait_for(lambda: self.ask("sinfo", "-h", "-o", "%T") == "idle", 120, "the node")

    def _configure(self) -> None:
        for name in ("slurmctld", "slurmd"):
            (self.folder / name).mkdir()
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        # Less than there is, as some of it is the kernel's: a node with less than its RealMemory takes no jobs.
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * 9 // 10 // 2**20
        values = {"host": self.node, "folder": self.folder, "cores": self.cores, "memory": memory, "ports": _ports()}
        _ETC.mkdir(exist_ok=True)
        (_ETC / "slurm.conf").write_text(_FIRST_LINE + _CONFIGURATION.format(**values))
        # A GPU that can be requested and handed out, but is none.
        (_ETC / "gres.conf").write_text(f"{_FIRST_LINE}NodeName={self.node} Name=gpu File=/dev/null\n")

    def _spawn(self, *command: str) -> None:
        closed = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._daemons.append(subprocess.Popen(command, env={**os.environ, "PATH": _path()}, **closed))

    def stop(self) -> None:
        """Ends jobs and daemons, and removes the configuration."""
        try:
            self.end_jobs()
        finally:
            for daemon in reversed(self._daemons):
                daemon.terminate()
                try:
                    daemon.wait(timeout=20)
                except subprocess.TimeoutExpired:
                    daemon.kill()
                    daemon.wait()
            for name in ("slurm.conf", "gres.conf"):
                (_ETC / name).unlink(missing_ok=True)

    def end_jobs(self) -> None:
        """Returns when no job is there."""
        subprocess.run(["scancel", "--user=root"], check=False, capture_output=True)
        wait_for(lambda: not self.ask("squeue", "-h"), 120, "the end of jobs")

    @contextmanager
    def drained(self) -> Iterator[None]:
        """The node begins no job meanwhile."""
        change = ["scontrol", "update", f"nodename={self.node}"]
        subprocess.run([*change, "state=drain", "reason=test"], check=True)
        try:
            yield
        finally:
            subprocess.run([*change, "state=resume"], check=True)

    def ask(self, *command: str) -> str:
        """What a command of Slurm prints; nothing if it fails."""
        return subprocess.run(command, check=False, capture_output=True, text=True).stdout.strip()

    def jobs(self, rule: str, states: str = "all") -> list[dict[str, str]]:
        """The jobs of rules whose names begin with `rule`, oldest first: id, rule, state, time limit, cores, GPUs."""
        columns = {"id": "%i", "rule": "%k", "state": "%T", "limit": "%l", "cores": "%C", "gres": "%b"}
        rows = self.ask("squeue", "-h", "-t", states, "-S", "i", "-o", "|".join(columns.values())).splitlines()
        found = [dict(zip(columns, row.split("|"), strict=True)) for row in rows]
        return [job for job in found if job["rule"].startswith(f"rule_{rule}")]


def wait_for(ready: Callable[[], _T], seconds: float, what: str) -> _T:
    """The first value of `ready` that is true.

    Raises:
        TimeoutError: there is none in time.
    """
    end = time.monotonic() + seconds
    while not (value := ready()):
        if time.monotonic() > end:
            raise TimeoutError(f"{what} is not ready after {seconds:g} s")
        time.sleep(0.1)
    return value


def _ports() -> list[int]:
    """Two that are free."""
    sockets = [socket.socket() for _ in range(2)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()

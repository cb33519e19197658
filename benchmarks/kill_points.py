"""Kills every command right before each system call that renames, links, fsyncs or removes, then runs it again.

    python benchmarks/kill_points.py [COMMAND...] [--every K]

With strace (`apt-get install strace`). Per command: an undisturbed run counts the calls of each thread; then, for each
call in turn, the same start is laid out again, the command is killed at this call and run once more as it was. What
lies there then must be what the undisturbed run left, to the byte and without another name, in the folder of work, in
TMPDIR and in the user's cache. Excepted are the times that are recorded by design: `created` and `throughput` of a
cache (and its seal, which covers them), timings.parquet and the key of pseudonyms, which is drawn at random (what was
built with it is compared with a build with the same key).
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

CALLS = ("rename", "renameat", "renameat2", "link", "linkat", "unlink", "unlinkat", "rmdir", "fsync", "fdatasync")
_RECORDED = ("created", "throughput", "seal")
_TRIED = b"blat"
"""What Python's tempfile writes into TMPDIR, under a random name, to try it; a kill just then leaves that."""
_BUILD = "manifest build folder ../images --out brain.parquet --overwrite"
_EXTRACT = "extract brain.parquet --backbone timm:test_vit@random --device cpu --runtime torch --workers 1"
_PROBE = "probe brain.parquet --out run --probe centroid --seeds 3 --jobs 1 --overwrite"


@dataclass(frozen=True)
class Trial:
    """A command, and the commands that make what it starts from."""

    command: str
    before: tuple[str, ...] = ()


TRIALS = {
    "build": Trial(_BUILD),
    "build over an older one": Trial(_BUILD, ("manifest build folder ../few --out brain.parquet",)),
    "build with a new key": Trial(
        "manifest build csv ../images.csv --root ../images --image-column path --label-column label"
        " --group-column patient --out brain.csv --overwrite"
    ),
    "check": Trial("manifest check brain.parquet", (_BUILD,)),
    "check --fix": Trial(
        "manifest check brain.parquet --fix drop-duplicates --out fixed.parquet --overwrite", (_BUILD,)
    ),
    "extract": Trial(_EXTRACT, (_BUILD,)),
    "extract into an older cache": Trial(
        _EXTRACT, ("manifest build folder ../few --out brain.parquet --name images", _EXTRACT, _BUILD)
    ),
    "probe": Trial(_PROBE, (_BUILD, _EXTRACT)),
    "probe over an older run": Trial(
        _PROBE, (_BUILD, _EXTRACT, _PROBE.replace("--seeds 3", "--seeds 2"), "report run")
    ),
    "report": Trial("report run", (_BUILD, _EXTRACT, _PROBE)),
    "stats": Trial("stats run --out statistics", (_BUILD, _EXTRACT, _PROBE)),
}


class Bench:
    """A folder with images, in which every command runs in `trial`, made again from `prepared` each time."""

    def __init__(self, folder: Path) -> None:
        self.trial, self.prepared, self.log = folder / "trial", folder / "prepared", folder / "calls"
        rng, rows = np.random.default_rng(0), ["path,label,patient"]
        for number in range(24):
            name = f"{'ab'[number % 2]}/{number:02}.png"
            pixels = rng.integers(0, 200, (40, 40), np.uint8)
            pixels[:, : 20 + 20 * (number % 2)] //= 2
            for place in [folder / "images"] + ([folder / "few"] if number < 12 else []):
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(place / name)
            rows.append(f"{name},{'ab'[number % 2]},patient-{number // 2}")
        shutil.copy(folder / "images/a/00.png", folder / "images/a/copy.png")
        (folder / "images.csv").write_text("\n".join(rows) + "\n")
        self.environment = {
            **os.environ,
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "200",
            "MPLCONFIGDIR": str(folder / "matplotlib"),
            "TMPDIR": str(self.trial / "tmp"),
            "XDG_CACHE_HOME": str(self.trial / "user-cache"),
        }

    def run(self, command: str, *strace: str) -> int:
        """The command's exit status, killed or not; its output goes nowhere."""
        traced = ["strace", "-f", "-qq", "-o", str(self.log), *strace] if strace else []
        words = [*traced, sys.executable, "-m", "medprobe.cli", *command.split()]
        return subprocess.run(words, cwd=self.trial, env=self.environment, capture_output=True, check=False).returncode

    def start(self, trial: Trial, *, fresh: bool) -> None:
        """Lays out what the command starts from; `fresh` runs the commands that make it."""
        shutil.rmtree(self.trial, ignore_errors=True)
        if not fresh:
            shutil.copytree(self.prepared, self.trial)
            return
        (self.trial / "tmp").mkdir(parents=True)
        for command in trial.before:
            assert self.run(command) == 0, command
        shutil.rmtree(self.prepared, ignore_errors=True)
        shutil.copytree(self.trial, self.prepared)

    def counts(self, command: str) -> tuple[int, Counter[str]]:
        """The exit status, and how often a thread makes each call, at most."""
        status = self.run(command, "--seccomp-bpf", "-e", f"trace={','.join(CALLS)}")
        calls = Counter(re.findall(r"^(\d+) +(\w+)\(", self.log.read_text(), re.MULTILINE))
        most: Counter[str] = Counter()
        for (_, call), count in calls.items():
            most[call] = max(most[call], count)
        return status, most

    def kill(self, command: str, call: str, number: int) -> bool:
        """Runs the command until some thread makes `call` for the n-th time; whether it was killed."""
        inject = f"inject={call}:signal=SIGKILL:when={number}"
        return self.run(command, "-e", f"trace={call}", "-e", inject) in (-9, 137)

    def contents(self) -> dict[str, str]:
        """What lies in the trial's folder, by path."""
        return {
            str(path.relative_to(self.trial)): _digest(path)
            for path in sorted(self.trial.rglob("*"))
            if (path.is_file() and path.read_bytes() != _TRIED) or (path.is_dir() and not any(path.iterdir()))
        }


def _digest(path: Path) -> str:
    # What the user's cache remembers (how fast a machine is) differs between runs; only its names count.
    if path.is_dir() or path.name == "timings.parquet" or "user-cache" in path.parts:
        return ""
    total = blake2b(digest_size=8)
    if path.suffix != ".h5":
        total.update(path.read_bytes())
        return total.hexdigest()

    def add(name: str, found: h5py.HLObject) -> None:
        total.update(name.encode() + (found[...].tobytes() if isinstance(found, h5py.Dataset) else b""))

    with h5py.File(path) as file:
        file.visititems(add)
        total.update(repr([(name, file.attrs[name]) for name in sorted(file.attrs) if name not in _RECORDED]).encode())
    return total.hexdigest()


def _faults(bench: Bench, trial: Trial, status: int, expected: dict[str, str]) -> list[str]:
    """Runs the command again and says what differs from an undisturbed run."""
    again = bench.run(trial.command)
    found = bench.contents()
    if (key := bench.trial / "brain.key").exists():
        drawn = {name: found.pop(name) for name in ("brain.csv", "brain.key")}
        bench.run(trial.command.replace("brain.csv", "tmp/brain.csv") + " --key brain.key")
        if _digest(bench.trial / "tmp/brain.csv") != drawn["brain.csv"] or len(key.read_text()) != 65:
            return ["brain.csv is not what its key gives"]
        expected = {name: digest for name, digest in expected.items() if name not in drawn}
    names = [f"left behind: {name}" for name in found.keys() - expected.keys()]
    names += [f"missing: {name}" for name in expected.keys() - found.keys()]
    names += [f"other bytes: {name}" for name in found.keys() & expected.keys() if found[name] != expected[name]]
    return [f"exit status {again}", *names] if again != status else names


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the trials; the number of kills after which something was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="COMMAND", help=f"of: {', '.join(TRIALS)}; all by default")
    parser.add_argument("--every", type=int, default=1, metavar="K", help="kill at every K-th call only")
    chosen = parser.parse_args(arguments)
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        for name in chosen.names or TRIALS:
            trial = TRIALS[name]
            bench.start(trial, fresh=True)
            status, counts = bench.counts(trial.command)
            expected, kills, bad = bench.contents(), 0, 0
            points = [(made, at) for made in counts for at in range(1, counts[made] + 1, chosen.every)]
            for call, number in points:
                bench.start(trial, fresh=False)
                kills += bench.kill(trial.command, call, number)
                faults = _faults(bench, trial, status, expected)
                bad += bool(faults)
                for fault in faults:
                    print(f"  {name}, killed at {call} {number}: {fault}")
            listed = ", ".join(f"{count} {call}" for call, count in counts.items())
            print(f"{name}: status {status}; calls: {listed}; {kills} kills, {bad} with faults")
            wrong += bad
    return wrong


if __name__ == "__main__":
    sys.exit(bool(main()))

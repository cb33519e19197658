"""Feeds damaged files to every reader, in a process that is watched; prints the table of docs/formats.md.

    python benchmarks/fuzz_readers.py [--count 5000] [--reader all] [--seed 0] [--keep FOLDER]

Every file must end in an image or an `ImageError`, within 5 s and 1 GB above what the process held before. Anything
else (another exception, a process that ends or has to be ended, more time, more memory) makes the status 1; `--keep`
keeps the files that did it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from damaged_files import Seed, damaged, seeds
from medprobe.base import ImageError
from medprobe.manifests import READERS, IntensityPolicy, Source, read_image

_SECONDS = 5.0
_BYTES = 10**9
_CEILING = 6 * 2**30
"""No read may take the machine's memory from others: at this much the system refuses."""


class Watched:
    """A process that reads one source after another and is watched."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None

    def ends(self, source: Source) -> dict[str, Any]:
        """How reading `source` ends: `image`, `error`, `exception`, `crash` or `hang`; with seconds and bytes."""
        if self._child is None:
            words = [sys.executable, __file__, "--child"]
            self._child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            assert self._child.stdout is not None
            self._child.stdout.readline()  # it has started, which is not part of the time of a read
        child = self._child
        assert child.stdin is not None
        assert child.stdout is not None
        start = time.perf_counter()
        request = [str(source.path), source.frame, source.member, source.reading.model_dump(mode="json")]
        child.stdin.write(json.dumps(request).encode() + b"\n")
        child.stdin.flush()
        ready, _, _ = select.select([child.stdout], [], [], 3 * _SECONDS)
        answer = child.stdout.readline() if ready else b""
        if answer:
            return json.loads(answer)
        child.kill()
        status = child.wait()
        self._child = None
        seconds = time.perf_counter() - start
        return {"end": "crash" if ready else "hang", "text": f"status {status}", "seconds": seconds, "bytes": 0}

    def close(self) -> None:
        """Ends the process."""
        if self._child is not None:
            self._child.communicate()


def child() -> None:
    """Reads one source a line until there are no more."""
    resource.setrlimit(resource.RLIMIT_DATA, (_CEILING, _CEILING))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # output that a library prints is not an answer
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        path, frame, member, reading = json.loads(line)
        before, start = _held(reset=True), time.perf_counter()
        end, text = _read(Source(Path(path), frame, member, IntensityPolicy.model_validate(reading)))
        seconds = time.perf_counter() - start
        print(json.dumps({"end": end, "text": text, "seconds": seconds, "bytes": _held() - before}), file=answers)
        answers.flush()


def _read(source: Source) -> tuple[str, str]:
    try:
        pixels = read_image(source)
    except ImageError as error:
        return ("exception", "names a folder") if str(source.path.parent) in str(error) else ("error", str(error))
    except BaseException as error:  # noqa: BLE001
        return "exception", repr(error)
    is_image = pixels.dtype == np.uint8 and (pixels.ndim == 2 or pixels.shape[2:] == (3,))
    return ("image", "") if is_image else ("exception", f"{pixels.dtype} {pixels.shape}")


def _held(*, reset: bool = False) -> int:
    """The largest memory (RSS, bytes) that this process and those under it held since they were last reset."""
    total = 0
    for pid in ("self", *Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()):
        try:
            if reset:
                Path(f"/proc/{pid}/clear_refs").write_text("5")
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        except OSError:  # it has just ended
            continue
        total += sum(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    return total


@dataclass
class Row:
    """A line of the table."""

    reader: str
    ends: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    largest: int = 0

    def add(self, ending: dict[str, Any]) -> bool:
        """Counts how a file ended; whether that was within the bounds."""
        is_slow = ending["end"] in ("image", "error") and ending["seconds"] > _SECONDS
        self.ends["hang" if is_slow else ending["end"]] += 1
        self.slowest = max(self.slowest, ending["seconds"])
        self.largest = max(self.largest, ending["bytes"])
        return ending["end"] in ("image", "error") and not is_slow and ending["bytes"] <= _BYTES

    def __str__(self) -> str:
        ends = self.ends
        counts = (ends.total(), ends["image"], ends["error"], ends["crash"] + ends["exception"], ends["hang"])
        cells = (self.reader, *(f"{n:,}" for n in counts), f"{self.slowest:.2f} s", f"{self.largest / 1e6:.0f} MB")
        return f"| {' | '.join(cells)} |"


def fuzz(reader: str, count: int, seed: int, keep: Path | None) -> tuple[Row, int]:
    """Damages `count` files; the line of the table, and how many ended outside the bounds."""
    sound, rng, row, bad = seeds(reader), np.random.default_rng(seed), Row(reader), 0
    watched = Watched()
    with tempfile.TemporaryDirectory() as folder:
        for number, one in enumerate(sound):
            ending = watched.ends(one.written(Path(folder) / f"sound{number}"))
            if ending["end"] != "image":
                print(f"{reader}: {one.name} is sound and ends in: {ending['text']}", file=sys.stderr)
        for number in range(count if sound else 0):
            changed, suffix = damaged(sound[number % len(sound)], rng)
            place = Path(folder) / f"{number}{suffix}"
            ending = watched.ends(changed.written(place))
            if not row.add(ending):
                bad += 1
                print(f"{reader}: {changed.name} {number}: {ending}", file=sys.stderr)
                _keep(changed, keep, f"{reader}-{number}-{changed.name}")
            shutil.rmtree(place) if place.is_dir() else place.unlink()
        watched.close()
    return row, bad


def _keep(seed: Seed, folder: Path | None, name: str) -> None:
    if folder is not None:
        shutil.rmtree(folder / name, ignore_errors=True)
        seed.written(folder / name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=5000, help="damaged files per reader")
    parser.add_argument("--reader", choices=["all", *(reader.name for reader in READERS)], default="all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child()
        return
    print("| reader | files | images | errors | crashes | hangs | slowest | largest memory |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    bad = 0
    for reader in [reader.name for reader in READERS] if args.reader == "all" else [args.reader]:
        row, failed = fuzz(reader, args.count, args.seed, args.keep)
        print(row, flush=True)
        bad += failed
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()

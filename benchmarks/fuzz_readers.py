"""Feeds damaged files to every reader, in the workers that `extract` uses; prints the table of docs/formats.md.

    python benchmarks/fuzz_readers.py [--count 5000] [--reader all] [--seed 0] [--keep FOLDER]

Every file must end in an image or an `ImageError`, within 5 s of processor time and 1 GB above what the process held
before. Anything else (another exception, a worker that ends or has to be ended, more time, more memory) makes the
status 1; `--keep` keeps the files that did it. At the end a reader is made to crash, to hang and to take all memory,
between sound files: each of these must cost its image and no other.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from damaged_files import Seed, damaged, seeds
from medprobe.base import ImageError
from medprobe.manifests import READERS, read_image, readers
from medprobe.manifests.readers import worker_pool
from medprobe.manifests.readers.source import Source
from medprobe.manifests.readers.worker_pool import look_at

_SECONDS = 5.0
_BYTES = 10**9


class Ending(NamedTuple):
    """How reading a file ended."""

    end: str
    """`image`, `error`, `exception`, `crash` or `hang`."""
    text: str
    seconds: float = 0.0
    bytes: int = 0


class DamagedFiles(Sequence[Source]):
    """`count` damaged files after the sound ones, each written when it is requested."""

    def __init__(self, sound: list[Seed], count: int, seed: int, folder: Path) -> None:
        self.sound, self.count, self.seed, self.folder = sound, count, seed, folder

    def __len__(self) -> int:
        return len(self.sound) + self.count

    def made(self, number: int) -> tuple[Seed, str]:
        """A file, and the suffix to write it under."""
        one, later = self.sound[number % len(self.sound)], number - len(self.sound)
        return (one, "") if later < 0 else damaged(one, np.random.default_rng([self.seed, later]))

    def __getitem__(self, number: int) -> Source:  # pyright: ignore[reportIncompatibleMethodOverride]
        one, suffix = self.made(number)
        place = self.folder / f"{number}{suffix}"
        _removed(place)  # a worker that ended has left it
        return one.written(place)


def _removed(place: Path) -> None:
    shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)


def _watched(source: Source) -> Ending:
    before, start = _held(reset=True), time.process_time()
    end, text = _read(source)
    ending = Ending(end, text, time.process_time() - start, _held() - before)
    _removed(source.path)
    return ending


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
    """The largest memory (RSS, bytes) that this process held since it was last reset."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


@dataclass
class Row:
    """A line of the table."""

    reader: str
    ends: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    largest: int = 0

    def add(self, ending: Ending) -> bool:
        """Counts how a file ended; whether that was within the bounds."""
        is_slow = ending.end in ("image", "error") and ending.seconds > _SECONDS
        self.ends["hang" if is_slow else ending.end] += 1
        self.slowest = max(self.slowest, ending.seconds)
        self.largest = max(self.largest, ending.bytes)
        return ending.end in ("image", "error") and not is_slow and ending.bytes <= _BYTES

    def __str__(self) -> str:
        ends = self.ends
        counts = (ends.total(), ends["image"], ends["error"], ends["crash"] + ends["exception"], ends["hang"])
        cells = (self.reader, *(f"{n:,}" for n in counts), f"{self.slowest:.2f} s", f"{self.largest / 1e6:.0f} MB")
        return f"| {' | '.join(cells)} |"


def fuzz(reader: str, count: int, seed: int, keep: Path | None) -> tuple[Row, int]:
    """Damages `count` files; the line of the table, and how many ended outside the bounds."""
    sound, row, bad = seeds(reader), Row(reader), 0
    with tempfile.TemporaryDirectory() as folder:
        files = DamagedFiles(sound, count if sound else 0, seed, Path(folder))
        for chunk in look_at(_watched, files, ([number] for number in range(len(files))), workers=1):
            [number], [ending] = chunk.rows, chunk.results
            if isinstance(ending, ImageError):  # of the workers: the reader did not come to an end
                ending = Ending("hang" if "does not end" in str(ending) else "crash", str(ending))
            changed, suffix = files.made(number)
            if number < len(sound):
                if ending.end != "image":
                    print(f"{reader}: {changed.name} is sound and ends in: {ending.text}", file=sys.stderr)
            elif not row.add(ending):
                bad += 1
                print(f"{reader}: {changed.name} {number}: {ending}", file=sys.stderr)
                if keep is not None:
                    _removed(keep / f"{reader}-{number}-{changed.name}{suffix}")
                    changed.written(keep / f"{reader}-{number}-{changed.name}{suffix}")
    return row, bad


def _deadly(source: Source) -> Any:
    how = source.path.read_text().split()[1]
    taken = []
    while how == "memory":
        taken.append(np.ones(2**26, np.uint8))
    while how == "hang":
        pass
    os.kill(os.getpid(), signal.SIGSEGV)


def isolation(count: int) -> tuple[Row, int]:
    """Files of which every fifth ends its reader; their line of the table, and how many did not end as they should."""
    readers.READERS = (
        readers.Reader("deadly", lambda head: head.startswith(b"DEADLY"), _deadly, lambda _: 1),
        *READERS,
    )
    worker_pool._SECONDS, row, bad = 1.0, Row("made to crash, hang, take all memory"), 0
    kinds = [("crash", "hang", "memory")[number // 5 % 3] if number % 5 == 4 else "" for number in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        sources = [Source(Path(folder, str(number))) for number in range(count)]
        for source, kind in zip(sources, kinds, strict=True):
            source.path.write_bytes(f"DEADLY {kind}".encode() if kind else b"P5 3 2 255\n" + bytes(6))
        chunks = [range(start, min(start + 8, count)) for start in range(0, count, 8)]
        results = [one for chunk in look_at(read_image, sources, chunks, workers=2) for one in chunk.results]
    for kind, result in zip(kinds, results, strict=True):
        row.ends["error" if isinstance(result, ImageError) else "image"] += 1
        bad += isinstance(result, ImageError) != bool(kind)
    return row, bad


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=5000, help="damaged files per reader")
    parser.add_argument("--reader", choices=["all", *(reader.name for reader in READERS)], default="all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path)
    args = parser.parse_args()
    print("| reader | files | images | errors | crashes | hangs | slowest | largest memory |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    bad = 0
    for reader in [reader.name for reader in READERS] if args.reader == "all" else [args.reader]:
        row, failed = fuzz(reader, args.count, args.seed, args.keep)
        print(row, flush=True)
        bad += failed
    if args.reader == "all":
        row, failed = isolation(60)
        print(row, flush=True)
        bad += failed
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()

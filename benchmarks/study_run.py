"""Seconds of a study on this machine: from nothing, a second time, and its commands one after another, by hand.

`python benchmarks/study_run.py examples/brain-mri.yaml --data-root ../shared/data`
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from medprobe.base import usable_cores
from medprobe.study import compile_study, load_study
from medprobe.study.data_sets import results_folder
from medprobe.study.loading import study_place

MEDPROBE = str(Path(sys.executable).parent / "medprobe")


def seconds(words: list[str], folder: Path) -> float:
    """Of a command, which must succeed; what it prints goes to no terminal, as in a job."""
    started = time.perf_counter()
    subprocess.run(words, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def by_hand(path: str, settings: list[str]) -> dict[str, float]:
    """Seconds by kind of job of the same commands in their order, each with all cores."""
    study = load_study(path, settings)
    out = results_folder(study, study_place(path))
    out.mkdir(parents=True)
    took: dict[str, float] = {}
    for job in compile_study(study, study_place(path)):
        for output in job.outputs:
            (out / output).parent.mkdir(parents=True, exist_ok=True)
        words = [word.replace("{threads}", str(usable_cores())) for word in job.command]
        took[job.kind] = took.get(job.kind, 0) + seconds([MEDPROBE, *words[1:]], out)
        for output in job.outputs:
            if output.endswith(".done"):
                (out / output).touch()
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", help="the study's file")
    parser.add_argument("--data-root", type=Path, required=True, help="the folder of its data")
    given = parser.parse_args()
    with TemporaryDirectory() as folder:
        data = f"data_root={given.data_root.resolve()}"
        run = [MEDPROBE, "run", str(Path(given.study).resolve()), "--set", data, "--set", f"out={folder}/run"]
        first, second = seconds(run, Path(folder)), seconds(run, Path(folder))
        took = by_hand(given.study, [data, f"out={folder}/by-hand"])
    total = sum(took.values())
    print(f"from nothing {first:.1f} s, a second time {second:.1f} s")
    print(f"its commands one after another {total:.1f} s: " + ", ".join(f"{k} {s:.1f}" for k, s in took.items()))
    print(f"ratio {first / total:.2f}")


if __name__ == "__main__":
    main()

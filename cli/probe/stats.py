"""The verb `stats`: everything that the predictions of one or several runs tell, without fitting anything."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..terminal.console import remark

if TYPE_CHECKING:
    import pandas as pd

    from ...evaluate import Run, Statistics


def stats(
    run: Annotated[
        list[Path], typer.Argument(help="Folders that `medprobe probe` wrote; of several data sets, for ranks.")
    ],
    metric: Annotated[
        str | None, typer.Option("--metric", help="Compare by this metric. [default: the one each run was tuned by]")
    ] = None,
    between: Annotated[
        str, typer.Option("--between", help="Compare backbones (within each probe) or probes (on each backbone).")
    ] = "backbones",
    interval: Annotated[
        str, typer.Option("--interval", help="Bootstrap intervals: percentile, or bca (corrected for bias and skew).")
    ] = "percentile",
    test: Annotated[
        list[str] | None,
        typer.Option(
            "--test",
            help="Beside the verdict's own: wilcoxon, delong (ROC-AUC), mcnemar (accuracy); verdict for none of"
            " them. May be repeated. [default: all]",
        ),
    ] = None,
    correction: Annotated[
        str, typer.Option("--correction", help="For many comparisons: holm, or bh (false discovery rate).")
    ] = "holm",
    subgroups: Annotated[
        bool, typer.Option("--subgroups", help="Score the subgroups of each attribute of the card, and the gaps.")
    ] = False,
    calibration: Annotated[
        bool, typer.Option("--calibration", help="Calibration, the parts of the Brier score, temperature scaling.")
    ] = False,
    ranks: Annotated[bool, typer.Option("--ranks", help="Only the ranks over several runs.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write every table as CSV (and diagrams of ranks) into this folder.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the tables as JSON and nothing else.")] = False,
) -> None:
    """Intervals, tests, calibration and subgroups of runs, and ranks over several; nothing is fitted again.

    Example: `medprobe stats runs/brain --interval bca --calibration --out stats/brain`

    Example: `medprobe stats runs/brain runs/chest runs/skin --between probes`
    """
    from ...evaluate import Run, compute_statistics
    from .stats_tables import show_statistics

    if out is not None:
        _refuse_place(out)
    loaded = [Run.load(folder) for folder in run]
    found = compute_statistics(
        loaded,
        between=between,
        metric=metric,
        interval=interval,
        tests=test or None,
        correction=correction,
        subgroups=subgroups,
        calibration=calibration,
        ranks_only=ranks,
    )
    if out is not None:
        _write(found, out)
    if as_json:
        typer.echo(json.dumps(_as_json(loaded, found), indent=2))
    else:
        show_statistics(loaded, found)
    if out is not None:
        remark(f"\nSaved: {out}")


def _refuse_place(out: Path) -> None:
    """Makes sure, before the work, that tables may be written to `out`.

    Raises:
        OutputError: it is no folder, or holds a run, in which nothing else may stand.
    """
    from ...base import OutputError

    if out.exists() and not out.is_dir():
        raise OutputError(f"{out}: is not a folder; choose another --out.")
    if (out / "run.json").exists():
        raise OutputError(f"{out}: holds a run, beside which nothing else may stand; choose another --out.")


def _write(found: Statistics, out: Path) -> None:
    from ...base import atomic_path
    from ...evaluate import FULL_TRAIN
    from ...report import draw_ranking

    for name, table in found.tables.items():
        with atomic_path(out / f"{name}.csv") as path:
            table.to_csv(path, index=False, lineterminator="\n")
    for ranking in found.rankings:
        budget = "" if ranking.budget == FULL_TRAIN else f"-{ranking.budget}"
        stem = re.sub(r"[^\w.-]+", "-", f"ranks-{ranking.within}{budget}")
        for suffix, drawn in zip(("svg", "png"), draw_ranking(ranking), strict=True):
            with atomic_path(out / f"{stem}.{suffix}") as path:
                path.write_bytes(drawn)


def _as_json(runs: list[Run], found: Statistics) -> dict[str, Any]:
    about = [
        {
            "dataset": run.info["dataset"]["name"],
            "task": run.task,
            "metric": run.primary_metric,
            "protocol": run.info["protocol"],
            "seeds": len(run.info["seeds"]),
        }
        for run in runs
    ]
    return {"runs": about, **{name: _records(table) for name, table in found.tables.items()}}


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    # By way of pandas, which writes null for what is not a number.
    return json.loads(table.to_json(orient="records", double_precision=15))

"""The command `stats`: statistics of one or several runs from their predictions; nothing is fitted."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..terminal.console import remark

if TYPE_CHECKING:
    from ...evaluate import Run
    from ...evaluate.statistics.compute import Statistics


def stats(
    run: Annotated[
        list[Path], typer.Argument(help="Run folders; those of one data set are merged, several data sets give ranks.")
    ],
    metric: Annotated[str | None, typer.Option(help="Metric to compare. [default: each run's primary metric]")] = None,
    between: Annotated[
        Literal["backbones", "probes", "systems"],
        typer.Option(help="Compare backbones (within each probe), probes (on each backbone), or systems of both."),
    ] = "backbones",
    interval: Annotated[
        Literal["wilson", "percentile"],
        typer.Option(help="Kind of intervals; percentile is of a bootstrap over groups."),
    ] = "wilson",
    test: Annotated[
        list[str] | None,
        typer.Option(
            metavar="wilcoxon | delong | mcnemar | verdict",
            help="Further significance test; delong is for ROC-AUC, mcnemar for accuracy, verdict for none of them. May"
            " be repeated. [default: wilcoxon, delong, mcnemar]",
        ),
    ] = None,
    correction: Annotated[
        Literal["holm", "bh"],
        typer.Option(help="Correction for many comparisons; bh controls the false discovery rate."),
    ] = "holm",
    subgroups: Annotated[
        bool, typer.Option("--subgroups", help="Scores per subgroup of each attribute of the card, and their gaps.")
    ] = False,
    calibration: Annotated[
        bool, typer.Option("--calibration", help="Calibration, the parts of the Brier score, temperature scaling.")
    ] = False,
    ranks: Annotated[bool, typer.Option("--ranks", help="Only the ranks over several runs.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Write every table as CSV (and diagrams of ranks) into this folder.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the tables as JSON and nothing else.")] = False,
) -> None:
    """Computes intervals, tests, calibration and subgroup scores of runs, and ranks over several; fits nothing.

    Example: `medprobe stats runs/brain --interval percentile --calibration --out stats/brain`

    Example: `medprobe stats runs/brain runs/chest runs/skin --between probes`
    """
    from ...base import OutputError
    from ...evaluate import Run, compute_statistics
    from ...evaluate.results.merge import merged_by_dataset
    from .stats_tables import show_statistics

    if out is not None and ((out.exists() and not out.is_dir()) or (out / "run.json").exists()):
        raise OutputError(f"{out}: is {'a run' if out.is_dir() else 'not a'} folder; choose another --out.")
    runs = [Run.load(folder, predictions=not ranks) for folder in run]
    if ranks and len({one.info["dataset"]["name"] for one in runs}) < len(runs):  # those of one data set are merged
        runs = [Run.load(folder) for folder in run]
    loaded = merged_by_dataset(runs, list(map(str, run)))
    results = compute_statistics(
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
        _write(results, out)
    if as_json:
        typer.echo(json.dumps(_as_json(loaded, results), indent=2))
    else:
        show_statistics(loaded, results)
    if out is not None:
        remark(f"\nSaved: {out}")


def _write(found: Statistics, out: Path) -> None:
    from ...base import atomic_path
    from ...evaluate.resampling.train_size import FULL_TRAIN
    from ...manifests.schema.table_io import csv_text
    from ...report import draw_ranking

    for name, table in found.tables.items():
        with atomic_path(out / f"{name}.csv") as path:
            path.write_text(csv_text(table), encoding="utf-8")
    for ranking in found.rankings:
        budget = "" if ranking.budget == FULL_TRAIN else f"-{ranking.budget}"
        stem = re.sub(r"[^\w.-]+", "-", f"ranks-{ranking.within or ranking.between}{budget}")
        drawn = draw_ranking(ranking)
        for suffix, content in (("svg", drawn.svg), ("png", drawn.png)):
            with atomic_path(out / f"{stem}.{suffix}") as path:
                path.write_bytes(content)


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
    # By way of pandas, which writes null for what is not a number.
    tables = {
        name: json.loads(table.to_json(orient="records", double_precision=15)) for name, table in found.tables.items()
    }
    return {"runs": about, **tables}

"""The command `merge`: runs of one data set become one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..terminal.console import command, remark, say


def merge(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders of one data set, in any order.")],
    out: Annotated[Path, typer.Option(help="Folder for the merged run, e.g. runs/brain.")],
    seeds: Annotated[
        str | None, typer.Option(metavar="N | A:B", help="Keep the first N seeds, or A to B - 1, alone. [default: all]")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing run.")] = False,
) -> None:
    """Merges runs of one data set: other probes, backbones or fine-tuned networks, further seeds, or all of these.

    The result is what one run of all would have been; the merged runs stay as they are.

    Example: `medprobe merge runs/brain-0-19 runs/brain-20-39 --out runs/brain`

    Example: `medprobe merge runs/brain-frozen runs/brain-fine-tuned --out runs/brain`
    """
    from ...base import counted
    from ...evaluate import Run, merge_runs
    from ...evaluate.resampling.resample import parse_seeds
    from ...evaluate.results.run import check_output_dir

    check_output_dir(out, overwrite=overwrite)
    wanted = parse_seeds(seeds) if seeds else None
    run = merge_runs([Run.load(folder) for folder in runs], list(map(str, runs)), seeds=wanted)
    run.save(out, overwrite=overwrite)
    systems = len(run.timings.drop_duplicates(["backbone", "fingerprint", "pooling", "probe"]))
    seeds = counted(len(run.info["seeds"]), "seed")
    say(f"{run.info['dataset']['name']}: {counted(systems, 'system')} over {seeds}, from {counted(len(runs), 'run')}")
    remark(f"\nSaved: {out}")
    say(f"Next:  {command('report', out)}")

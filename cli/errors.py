"""The command `errors`: which test images a run got wrong, and which labels may be."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .probe.cache_options import Store
from .terminal.console import command, remark, say, show_table

if TYPE_CHECKING:
    from ..cache import EmbeddingCache
    from ..evaluate import SystemKey
    from ..explore import Errors
    from ..manifests import Manifest

_ROWS = 20
"""Rows of the table that are printed."""
_NEIGHBOURS = 3
"""Nearest training units that are shown unless another number is given."""


def errors(
    run: Annotated[Path, typer.Argument(help="Run folder, e.g. runs/brain.")],
    manifest: Annotated[Path, typer.Option(help="The manifest that the run was made with.")],
    backbone: Annotated[
        str | None,
        typer.Option("--backbone", "-b", help="Backbone, as the run names it. [default: that of the best system]"),
    ] = None,
    pooling: Annotated[str | None, typer.Option(help="Pooling. [default: that of the best system]")] = None,
    probe: Annotated[
        str | None, typer.Option(help="Probe, as the run names it. [default: that of the best system]")
    ] = None,
    neighbours: Annotated[
        int, typer.Option(min=0, help="Nearest training units to show; 0 needs no cache.")
    ] = _NEIGHBOURS,
    cache: Store = None,
    external: Annotated[
        Path | None, typer.Option(help="The manifest that the run was tested on, under external.")
    ] = None,
    external_cache: Annotated[
        Path | None, typer.Option(help="Folder of its caches. [default: embeddings/ next to the external manifest]")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the whole table, errors.csv, and the page.")] = None,
    page: Annotated[
        bool, typer.Option("--page", help="Also write errors.html into it, with thumbnails of patient images.")
    ] = False,
    most: Annotated[int, typer.Option(min=1, help="Images on the page, from the top of the table.")] = 100,
) -> None:
    """Lists the test images that a run got wrong, what lies near them, and labels that may be wrong.

    Label errors are suspected by confident learning (cleanlab, an extra). Table and page name files: keep them where
    the images are.

    Example: `medprobe errors runs/brain --manifest brain.parquet`

    Example: `medprobe errors runs/brain --manifest brain.parquet --out errors/brain --page`
    """
    from ..base import OutputError
    from ..cache import default_store
    from ..evaluate import Run
    from ..evaluate.statistics.summary import systems_by_score
    from ..explore import find_errors
    from ..explore.judged import manifests_of_run
    from ..manifests import Manifest

    if page and out is None:
        raise OutputError("--page is written into the folder of --out: add e.g. --out errors/brain.")
    if out is not None and ((out.exists() and not out.is_dir()) or (out / "run.json").exists()):
        raise OutputError(f"{out}: is {'a run' if out.is_dir() else 'not a'} folder; choose another --out.")
    loaded, samples = Run.load(run), Manifest.load(manifest)
    others = None if external is None else Manifest.load(external)
    manifests_of_run(loaded, samples, others)  # before caches, which another manifest may lack
    chosen = {"backbone": backbone, "pooling": pooling, "probe": probe}
    caches, tested = [], None if others is None else (others, [])
    if neighbours:
        system = systems_by_score(loaded, **chosen)[0]
        caches = _caches(samples, cache or default_store(manifest), system)
        if others is not None and external is not None:
            tested = others, _caches(others, external_cache or default_store(external), system)
    found = find_errors(loaded, samples, caches, external=tested, neighbours=neighbours, **chosen)
    if out is not None:
        _write(found, out, most if page else None)
    _show(found)
    if out is None:
        given = {
            "manifest": manifest,
            **chosen,
            "neighbours": None if neighbours == _NEIGHBOURS else neighbours,
            "cache": cache,
        }
        given |= {"external": external, "external-cache": external_cache, "out": f"errors/{samples.name}"}
        words = [word for name, value in given.items() if value is not None for word in (f"--{name}", value)]
        say(f"Next:  {command('errors', run, *words, '--page')}")
    else:
        say(f"\nTable: {out / 'errors.csv'}" + (f"\nPage:  {out / 'errors.html'}" if page else ""))
        remark("It names files, and the page shows them: keep it where the images are.")


def _caches(samples: Manifest, store: Path, system: SystemKey) -> list[EmbeddingCache]:
    from ..cache import find_caches

    name = f"{system.backbone.removesuffix(f'@{system.fingerprint}')}@{system.fingerprint}"
    return find_caches(store, samples.name, [name], manifest=samples)


def _show(found: Errors) -> None:
    from ..base.text import number

    system, rows = found.system, found.table[found.worth_a_look].head(_ROWS)
    say(f"{system.backbone}, {system.pooling}, {system.probe}\n{found.headline}.\n")
    names = [name for name in ("path", "frame", "finding", "label", "predicted") if name in rows]
    shown = rows[names].astype(str)
    shown["wrong"] = [f"{wrong}/{tested}" for wrong, tested in zip(rows["wrong"], rows["tested"], strict=True)]
    shown["p(label)"] = [number(value, 2) for value in rows["label_probability"]]
    if found.has_suspects:
        shown["suspect"] = ["yes" if suspect else "" for suspect in rows["suspect"]]
    if len(rows):
        show_table(list(map(str, shown)), shown.to_numpy().tolist(), right=["wrong", "p(label)"])
    for text in found.remarks:
        remark(text)


def _write(found: Errors, out: Path, page: int | None) -> None:
    """The table, and the page with at most `page` units."""
    from ..base import atomic_path
    from ..explore import write_errors_page
    from ..manifests.schema.table_io import csv_text

    with atomic_path(out / "errors.csv") as path:
        path.write_text(csv_text(found.table), encoding="utf-8")
    if page is not None:
        write_errors_page(found, out / "errors.html", most=page)

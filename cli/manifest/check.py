"""The command `manifest check`: errors and warnings of a manifest, and a new one without its duplicates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...base import CacheError, ManifestError, OutputError, atomic_path, counted, no_such
from ...base.text import NONE
from ..terminal.console import command, remark, rich_console, say, show_table, wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from ...cache import EmbeddingCache
    from ...manifests import Diagnostic, Manifest

_COMPARED_BY_DEFAULT = 50_000
"""Samples up to which embeddings are compared without --cache; the time grows with the square."""


PAGE = Path(__file__).resolve().parents[2] / "docs" / "checks.md"
"""The page on the checks, which is installed with the package."""
ManifestFile = Annotated[Path, typer.Argument(help="The table of a manifest (.parquet or .csv).", show_default=False)]


def _explain(code: str | None) -> None:
    if code is None:
        return
    from rich.markdown import Markdown

    _require_codes("--explain", [code])
    section = PAGE.read_text(encoding="utf-8").split(f"\n### `{code}`\n")[1].split("\n#")[0]
    say(f"{code}\n")
    rich_console().print(Markdown(section.strip(), hyperlinks=False), soft_wrap=False)
    raise typer.Exit


def check(
    manifest: ManifestFile,
    most: Annotated[int, typer.Option(min=1, help="Errors or warnings to list per code.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON, with sample ids.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="End with status 1 on warnings too.")] = False,
    allow: Annotated[
        list[str] | None,
        typer.Option(metavar="CODE", help="Accept errors of this code: they are listed but do not fail. Repeatable."),
    ] = None,
    save: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write everything as JSON, unless the check fails.")
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            help="Folder of embeddings to search for near duplicates.", show_default="embeddings next to the manifest"
        ),
    ] = None,
    fix: Annotated[
        str | None,
        typer.Option(
            metavar="HOW",
            help="Write a new manifest and check it: drop-duplicates keeps one of identical images, group-duplicates "
            "puts identical and nearly identical ones into one group. The old manifest is not changed.",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The new manifest of --fix.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a manifest that is at --out.")] = False,
    explain: Annotated[
        str | None,
        typer.Option(metavar="CODE", callback=_explain, is_eager=True, help="Explain a code and what to do, and exit."),
    ] = None,
) -> None:
    """Finds missing, damaged and repeated images, wrong labels, and leaks between train and test.

    Ends with status 1 when there is an error, 0 when there are only warnings (1 with `--strict`). Statistics of
    the images are kept next to the manifest, so a second check reads only those that have changed.

    Examples: `medprobe manifest check brain.parquet`;
    `medprobe manifest check brain.parquet --fix group-duplicates --out brain-grouped.parquet`;
    `medprobe manifest check --explain near-duplicate`
    """
    from ...evaluate.metrics.registry import primary_metric
    from ...manifests import Manifest, check_manifest

    allowed = allow or []
    _require_codes("--allow", allowed)
    _refuse_impossible_fix(manifest, fix, out, overwrite=overwrite)
    # A fix needs a table without errors; a check reports them.
    given = Manifest.load(manifest, strict=fix is not None)
    if given.card.task:
        primary_metric(given.card)
    loaded = _fixed(given, fix, out) if fix and out else given
    findings = check_manifest(loaded, embeddings=_embeddings(loaded, given, cache))
    if as_json:
        typer.echo(_as_json(findings))
    else:
        _print(loaded, findings, most)
    failing = [found for found in findings if (strict or found.severity == "error") and found.code not in allowed]
    if failing:
        codes = " ".join(f"--allow {code}" for code in dict.fromkeys(found.code for found in failing))
        remark(wrapped(f"to accept these: {codes}; in a study file, `allow` of the data set"))
        raise typer.Exit(1)
    if save is not None:
        with atomic_path(save) as temporary:
            temporary.write_text(_as_json(findings), encoding="utf-8")


def _require_codes(option: str, given: Sequence[str]) -> None:
    from ...manifests import CODES

    for code in given:
        if code not in CODES:
            raise ManifestError(f"{option}: {no_such('code', code, CODES)}")


def _refuse_impossible_fix(manifest: Path, fix: str | None, out: Path | None, *, overwrite: bool) -> None:
    """Makes sure, before anything is read, that there is such a fix and a place where it may go."""
    from ...manifests.checks.fix_duplicates import FIXES
    from ...manifests.output_path import require_place

    if fix is not None and fix not in FIXES:
        raise ManifestError(f"--fix: {no_such('word', fix, FIXES)}")
    if (fix is None) != (out is None):
        raise OutputError("--fix and --out go together: the old manifest is never changed, so name the new one.")
    if out is None:
        return
    inputs = [("the manifest itself", file) for file in (manifest, manifest.with_suffix(".yaml"))]
    require_place(out, inputs, overwrite=overwrite)


def _fixed(manifest: Manifest, fix: str, out: Path) -> Manifest:
    """The new manifest, saved under the old name; the old one if it needs no fix."""
    from ...cache import default_store
    from ...manifests import manifest_image_stats
    from ...manifests.checks.fix_duplicates import FIXES

    done = FIXES[fix](manifest, manifest_image_stats(manifest))
    if not done.changes:
        remark(wrapped(f"{fix}: there is nothing to do, so {out} was not written; {manifest.path} is checked."))
        return manifest
    saved = done.manifest.save(out)
    for sentence in done.changes:
        remark(wrapped(f"{fix}: {sentence}."))
    store = default_store(manifest.path or ".")
    if default_store(out).resolve() != store.resolve() and store.is_dir():
        remark(wrapped(f"note: the embeddings are in {store}; add --cache {store} to use them for {out}"))
    remark(wrapped(f"Wrote {out} and {out.with_suffix('.yaml').name}; the results below are about it."))
    return saved


def _embeddings(loaded: Manifest, given: Manifest, folder: Path | None) -> dict[str, np.ndarray]:
    """A matrix per cache, (N, D) in the order of rows of `loaded`, NaN where a sample is not in it, by what made it.

    By default those next to the manifest that was `given`, whose caches are those of a fixed one too.
    """
    from ...cache import default_store, find_caches

    store = folder or default_store(given.path or ".")
    try:
        caches = find_caches(store, loaded.name)
    except CacheError:
        if folder:
            raise
        return {}
    if not folder and len(loaded) > _COMPARED_BY_DEFAULT:
        images = counted(len(loaded), "image")
        remark(wrapped(f"note: comparing embeddings of {images} takes long; add --cache {store} to do it"))
        return {}
    backbones = [one.spec.backbone for one in caches]
    matrices = {}
    for one in caches:
        # Of a backbone at two sizes, say, there are two caches.
        which = f"@{one.spec.fingerprint}" if backbones.count(one.spec.backbone) > 1 else ""
        matrices[f"{one.spec.backbone}{which}, {one.poolings[0]}"] = _in_row_order(one, loaded)
    names = "; ".join(matrices)
    remark(wrapped(f"note: embeddings are compared by {counted(len(matrices), 'cache')} of {store}: {names}"))
    return matrices


def _in_row_order(cache: EmbeddingCache, manifest: Manifest) -> np.ndarray:
    """The first pooling of a cache, (N, D) in the order of the manifest's rows, NaN where a sample is not in it."""
    import pandas as pd

    from ...cache.index import unique_index

    vectors = pd.DataFrame(cache.load(cache.poolings[0]), index=unique_index(cache.sample_ids))
    return vectors.reindex(manifest.sample_ids).to_numpy()


def _print(manifest: Manifest, findings: Sequence[Diagnostic], most: int) -> None:
    """A table of codes with the images they are about, then what was found under each."""
    from ...manifests import CODES

    by_code: dict[str, list[Diagnostic]] = {}
    for found in findings:
        by_code.setdefault(found.code, []).append(found)
    checked = f"{manifest.name}: {counted(len(manifest), 'image')} checked"
    if not findings:
        say(wrapped(f"{checked}, nothing found."))
        return
    images = {code: _distinct_rows(same) for code, same in by_code.items()}
    show_table(
        ["severity", "code", "images", "meaning"],
        # A dash where the table as a whole is concerned.
        [[CODES[code].severity, code, f"{n:,}" if n else NONE, CODES[code].meaning] for code, n in images.items()],
        right=["images"],
        whole=["severity", "code", "images"],
    )
    for code, same in by_code.items():
        things = counted(sum(found.count for found in same), *CODES[code].thing)
        say(wrapped(f"{code}, {things}. {CODES[code].remedy}"))
        for found in same[:most]:
            say(wrapped(_with_files(found), first="  ", rest="    "))
        if len(same) > most:
            left = sum(found.count for found in same[most:])
            say(wrapped(f"and {left:,} more; --most {len(same)} lists more, --json all", first="  "))
        say("")
    say(wrapped(f"{checked}; {_in_sum(findings)}."))
    remark(f"More: {command('manifest', 'check', '--explain', next(iter(by_code)))}")


def _distinct_rows(findings: Sequence[Diagnostic]) -> int:
    """The number of images concerned, each counted once."""
    import numpy as np

    return len(np.unique(np.concatenate([found.rows for found in findings]))) if findings else 0


def _in_sum(findings: Sequence[Diagnostic]) -> str:
    """`errors of 1 kind in 20 images, warnings of 2 kinds in 899 images`."""
    parts = []
    for severity in ("error", "warning"):
        of_it = [found for found in findings if found.severity == severity]
        kinds = counted(len({found.code for found in of_it}), "kind")
        images = _distinct_rows(of_it)
        where = f" in {counted(images, 'image')}" if images else ""
        parts.append(f"{severity}s of {kinds}{where}" if of_it else f"no {severity}s")
    return ", ".join(parts)


def _with_files(found: Diagnostic) -> str:
    """The message, and the files that it is about where it does not name them as samples."""
    files = [file for file in found.files if file and file not in found.message]
    return f"{found.message} ({' and '.join(files)})" if files else found.message


def _as_json(findings: Sequence[Diagnostic]) -> str:
    import json

    # The output may be passed on, so it has rows and sample ids instead of file names.
    records = [
        {
            "code": found.code,
            "severity": found.severity,
            "message": found.message,
            "samples": found.samples,
            "rows": found.rows.tolist(),
            "count": found.count,
        }
        for found in findings
    ]
    return json.dumps(records, indent=1)

"""The verb `manifest check`: what is wrong with a manifest, and a new one without its duplicates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .console import command, remark, say, show_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from ..manifests import Finding, Manifest

_COMPARED_UNASKED = 50_000
"""Samples up to which embeddings are compared without being asked for; the time grows with the square."""


def _explain(code: str | None) -> None:
    if code:
        from rich.markdown import Markdown

        from .checks_page import section_of
        from .console import out

        text = section_of(code)
        say(f"{code}\n")
        out().print(Markdown(text, hyperlinks=False), soft_wrap=False)
        raise typer.Exit


def check(
    manifest: Annotated[Path, typer.Argument(help="The table of a manifest (.parquet or .csv).", show_default=False)],
    most: Annotated[int, typer.Option(min=1, help="Findings of one kind to list.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print every finding as JSON, with its sample ids.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="End with status 1 on warnings too.")] = False,
    cache: Annotated[
        Path | None,
        typer.Option(
            help="Folder of caches whose embeddings are compared too.", show_default="embeddings beside the manifest"
        ),
    ] = None,
    fix: Annotated[
        Literal["drop-duplicates", "group-duplicates"] | None,
        typer.Option(
            metavar="HOW",
            help="Write a new manifest: drop-duplicates keeps one of identical images, group-duplicates ties them "
            "into one group. The new one is checked in place of the old one, which stays as it is.",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The new manifest of --fix.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a manifest that is at --out.")] = False,
    explain: Annotated[
        str | None,
        typer.Option(
            metavar="CODE", callback=_explain, is_eager=True, help="Say what a finding means and what to do, and exit."
        ),
    ] = None,
) -> None:
    """Looks for missing, damaged and repeated images, faulty labels, and leaks between splits.

    Ends with status 1 when there is an error, 0 when there are only warnings (1 with `--strict`). What was seen of the
    images is kept beside the manifest, so a second check reads only those that have changed.

    Examples: `medprobe manifest check brain.parquet`;
    `medprobe manifest check brain.parquet --fix group-duplicates --out brain-grouped.parquet`;
    `medprobe manifest check --explain near-duplicate`
    """
    from ..manifests import Manifest, check_manifest

    _refuse_half_a_fix(manifest, fix, out, overwrite=overwrite)
    # A fix needs a sound table; a check tells what is not sound.
    loaded = _fixed(Manifest.load(manifest), fix, out) if fix and out else Manifest.load(manifest, strict=False)
    findings = check_manifest(loaded, embeddings=_embeddings(loaded, manifest, cache))
    if as_json:
        _tell_as_json(findings)
    else:
        _tell(loaded, findings, most)
    if any(strict or found.severity == "error" for found in findings):
        raise typer.Exit(1)


def _refuse_half_a_fix(manifest: Path, fix: str | None, out: Path | None, *, overwrite: bool) -> None:
    """Makes sure, before anything is read, that a fix has a place to go that is not the manifest itself."""
    from ..base import OutputError
    from ..manifests import refuse_existing

    if (fix is None) != (out is None):
        raise OutputError("--fix and --out go together: the old manifest is never changed, so name the new one.")
    if out is None:
        return
    if out.suffix.lower() not in (".parquet", ".csv"):
        raise OutputError(f"{out}: --out must end in .parquet or .csv.")
    if out.resolve().with_suffix("") == manifest.resolve().with_suffix(""):
        raise OutputError(f"{out}: this is the manifest itself, which is never changed; give another name with --out.")
    if not overwrite:
        refuse_existing(out)


def _fixed(manifest: Manifest, fix: str, out: Path) -> Manifest:
    """The new manifest, saved, with what was seen of its images, and told of."""
    from ..manifests import FIXES, keep_survey, survey_manifest

    survey = survey_manifest(manifest)
    done = FIXES[fix](manifest, survey)
    saved = done.manifest.save(out)
    keep_survey(saved, survey.take(done.rows))
    for sentence in done.told:
        remark(f"{fix}: {sentence}")
    remark(f"Wrote {out} and {out.with_suffix('.yaml').name}; the findings below are about it.")
    return saved


def _embeddings(loaded: Manifest, manifest: Path, asked: Path | None) -> dict[str, np.ndarray]:
    """A matrix a cache, (N, D) in the order of rows, NaN where a sample is not in it."""
    import numpy as np

    from ..base import CacheError, counted
    from ..cache import default_store, find_caches

    store = asked or default_store(manifest)
    try:
        caches = find_caches(store, loaded.name)
    except CacheError:
        if asked:
            raise
        return {}
    if not asked and len(loaded) > _COMPARED_UNASKED:
        remark(f"note: embeddings of {counted(len(loaded), 'image')} take long to compare; --cache {store} does it")
        return {}
    matrices = {}
    for one in caches:
        vectors = one.load(one.poolings[0])
        rows = {sample: row for row, sample in enumerate(one.sample_ids)}
        place = np.array([rows.get(sample, -1) for sample in loaded.sample_ids], np.int64)
        matrix = vectors[place] if len(vectors) else np.empty((len(place), vectors.shape[1]), np.float32)
        matrix[place < 0] = np.nan
        matrices[one.spec.backbone] = matrix
    return matrices


def _tell(manifest: Manifest, findings: Sequence[Finding], most: int) -> None:
    """A table of codes with their numbers, then what was found under each."""
    from ..base import counted
    from ..manifests import CODES

    by_code: dict[str, list[Finding]] = {}
    for found in findings:
        by_code.setdefault(found.code, []).append(found)
    if not findings:
        say(f"{manifest.name}: {counted(len(manifest), 'image')} checked, nothing found.")
        return
    show_table(
        ["severity", "finding", "number", "meaning"],
        [[same[0].severity, code, f"{len(same):,}", CODES[code].meaning] for code, same in _errors_first(by_code)],
        right=["number"],
    )
    for code, same in _errors_first(by_code):
        say(f"{code}:")
        for found in same[:most]:
            say(_wrapped(found.message))
        if len(same) > most:
            say(f"  and {len(same) - most:,} more; --most {len(same)} or --json lists them")
        say("")
    errors = sum(found.severity == "error" for found in findings)
    said = f"{counted(errors, 'error')}, {counted(len(findings) - errors, 'warning')}"
    say(f"{manifest.name}: {counted(len(manifest), 'image')} checked, {said}.")
    first = command("manifest", "check", "--explain", _errors_first(by_code)[0][0])
    remark(f"What a finding means and what to do about it: {first}")


def _errors_first(by_code: dict[str, list[Finding]]) -> list[tuple[str, list[Finding]]]:
    return sorted(by_code.items(), key=lambda item: item[1][0].severity)


def _wrapped(text: str) -> str:
    """`text` indented, broken at blanks to 80 columns; a long path is not broken, so that it can be copied."""
    from textwrap import fill

    return fill(text, 80, initial_indent="  ", subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)


def _tell_as_json(findings: Sequence[Finding]) -> None:
    import json
    from dataclasses import asdict

    typer.echo(json.dumps([asdict(found) for found in findings], indent=1, ensure_ascii=False))

"""The verbs of `manifest`: build one from what there is, check it, show what is in it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .console import command, remark, say, show_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..manifests import Finding, Manifest

app = typer.Typer(
    help="Build, check and show manifests: tables of images with their labels.",
    epilog="Example: `medprobe manifest check brain.parquet`",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
build = typer.Typer(
    help="Build a manifest from class folders, a table, or an npz file.",
    epilog="Example: `medprobe manifest build folder images --out brain.parquet`",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
app.add_typer(build, name="build")

Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        help="The manifest: a .parquet or .csv file; its card goes beside it.",
        show_default="the source's name, .parquet",
    ),
]
Name = Annotated[str | None, typer.Option(help="Name of the data set.", show_default="stem of the manifest")]
TaskName = Annotated[
    str | None,
    typer.Option(
        "--task", help="binary, multiclass, ordinal or multilabel.", show_default="from the number of classes"
    ),
]
Classes = Annotated[
    str | None,
    typer.Option(
        help="Class names in order, separated by commas; for `binary` the second is positive.", show_default="sorted"
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a manifest that is there.")]
ManifestFile = Annotated[Path, typer.Argument(help="The table of a manifest (.parquet or .csv).", show_default=False)]


@build.command("folder")
def build_folder(
    src: Annotated[Path, typer.Argument(help="Folder of class folders, or of train/, val/, test/ that hold them.")],
    out: Out = None,
    name: Name = None,
    task: TaskName = None,
    classes: Classes = None,
    overwrite: Overwrite = False,
) -> None:
    """Makes a manifest of the images in class folders: `SRC/CLASS/*.jpg` or `SRC/train/CLASS/*.jpg`.

    Splits may also be called training, valid, validation, dev or testing. Files that are no images are counted and
    left out.

    Example: `medprobe manifest build folder images --out brain.parquet`
    """
    from ..manifests import build_folder

    place = _ready(out, src, overwrite)
    manifest = build_folder(src, name=name or place.stem, task=_task(task), classes=_names(classes), notice=_note)
    _finish(manifest, place)


@build.command("csv")
def build_csv(
    table: Annotated[Path, typer.Argument(help="Table with a row per image (.csv or .parquet); it is not changed.")],
    image_column: Annotated[str, typer.Option(help="Column of image paths.")],
    label_column: Annotated[
        list[str], typer.Option(help="Column of class names. Repeat it for several columns of 0 and 1 (multilabel).")
    ],
    out: Out = None,
    group_column: Annotated[
        str | None, typer.Option(help="Column of patients: what never stands on two sides of a split.")
    ] = None,
    unit_column: Annotated[
        str | None, typer.Option(help="Column of exams or lesions: what gets one prediction.", show_default="the image")
    ] = None,
    split_column: Annotated[str | None, typer.Option(help="Column of train, val, test.")] = None,
    id_column: Annotated[
        str | None, typer.Option(help="Column of ids, one per row.", show_default="the image path")
    ] = None,
    frame_column: Annotated[
        str | None, typer.Option(help="Column of frame numbers, from 0, for files of several images.")
    ] = None,
    modality_column: Annotated[
        str | None, typer.Option(help="Column of modalities, for units that have several.")
    ] = None,
    attribute: Annotated[
        list[str] | None, typer.Option(help="Column to score subgroups by, such as sex. Repeat it for more.")
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="Folder that image paths start from.", show_default="the table's folder")
    ] = None,
    name: Name = None,
    task: TaskName = None,
    classes: Classes = None,
    overwrite: Overwrite = False,
) -> None:
    """Makes a manifest of a table that lists images, labels and, at best, patients.

    Example: `medprobe manifest build csv labels.csv --image-column file --label-column dx --group-column patient
    --out skin.parquet`
    """
    from ..manifests import build_csv

    place = _ready(out, table, overwrite)
    manifest = build_csv(
        table,
        image_column=image_column,
        label_columns=label_column,
        id_column=id_column,
        unit_column=unit_column,
        group_column=group_column,
        split_column=split_column,
        frame_column=frame_column,
        modality_column=modality_column,
        attributes=attribute or (),
        root=root,
        name=name or place.stem,
        task=_task(task),
        classes=_names(classes),
        notice=_note,
    )
    _finish(manifest, place)


@build.command("npz")
def build_npz(
    file: Annotated[
        Path, typer.Argument(help="npz file with train_images, train_labels and so on; it stays in place.")
    ],
    out: Out = None,
    name: Name = None,
    task: TaskName = None,
    classes: Annotated[
        str | None, typer.Option(help="Names of classes 0, 1, ..., separated by commas.", show_default="0,1,...")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Makes a manifest of the images in an npz file in MedMNIST's layout, grey or RGB.

    Example: `medprobe manifest build npz pneumoniamnist.npz --classes normal,pneumonia --out pneumonia.parquet`
    """
    from ..manifests import build_npz

    place = _ready(out, file, overwrite)
    manifest = build_npz(file, name=name or place.stem, task=_task(task), classes=_names(classes), notice=_note)
    _finish(manifest, place)


@app.command("check")
def check(
    manifest: ManifestFile,
    most: Annotated[int, typer.Option(min=1, help="Findings of one kind to list.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print every finding as JSON, with its sample ids.")] = False,
) -> None:
    """Looks for missing, damaged and repeated images, faulty labels, and leaks between splits.

    Ends with status 1 when there is an error, 0 when there are only warnings. docs/checks.md explains each code.

    Example: `medprobe manifest check brain.parquet`
    """
    from ..manifests import Manifest, check_manifest

    loaded = Manifest.load(manifest, strict=False)
    findings = check_manifest(loaded)
    if as_json:
        _tell_as_json(findings)
    else:
        _tell(loaded, findings, most)
    if any(found.severity == "error" for found in findings):
        raise typer.Exit(1)


@app.command("show")
def show(
    manifest: ManifestFile,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where the picture goes.", show_default="<manifest>-montage.png")
    ] = None,
    per_class: Annotated[int, typer.Option(min=1, max=40, help="Examples of each class.")] = 8,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
) -> None:
    """Counts what is in a manifest, and draws examples of each class.

    Example: `medprobe manifest show brain.parquet`
    """
    from ..base import OutputError
    from ..manifests import Manifest, draw_montage

    place = out or manifest.with_name(f"{manifest.stem}-montage.png")
    if place.suffix.lower() != ".png":
        raise OutputError(f"{place}: --out must end in .png.")
    if out is not None and out.exists() and not overwrite:
        raise OutputError(f"{out}: is there already; choose another --out, or add --overwrite to replace it.")
    loaded = Manifest.load(manifest)
    _counts(loaded)
    picture = draw_montage(loaded, place, per_class=per_class)
    say(f"Examples of each class: {picture}")


def _ready(asked: Path | None, source: Path, overwrite: bool) -> Path:
    """Where the manifest goes; refuses a place that would not do, before anything is read."""
    from ..base import OutputError
    from ..manifests import refuse_existing

    out = asked or Path(f"{source.absolute().name.removesuffix(source.suffix)}.parquet")
    if out.suffix.lower() not in (".parquet", ".csv"):
        raise OutputError(f"{out}: --out must end in .parquet or .csv.")
    if out.resolve() == source.resolve():
        raise OutputError(f"{out}: this is the table itself, which is never changed; give another name with --out.")
    if not overwrite:
        refuse_existing(out)
    return out


def _task(task: str | None) -> Any:
    from ..base import ManifestError, did_you_mean, one_of
    from ..manifests import TASKS

    if task is not None and task not in TASKS:
        raise ManifestError(f'--task "{task}" is not one of {one_of(TASKS)}.{did_you_mean(task, TASKS)}')
    return task


def _names(classes: str | None) -> list[str] | None:
    return None if classes is None else [name.strip() for name in classes.split(",")]


def _note(sentence: str) -> None:
    remark(f"note: {sentence}")


def _finish(manifest: Manifest, place: Path) -> None:
    _keep_what_people_wrote(manifest, place)
    manifest = manifest.save(place)
    _counts(manifest)
    say(f"Wrote {place} and {place.with_suffix('.yaml').name}.")
    remark(f"Next: {command('manifest', 'check', place)}")


def _keep_what_people_wrote(manifest: Manifest, place: Path) -> None:
    """Takes licence, citation and description over from a card that is about to be replaced."""
    from ..base import ManifestError
    from ..manifests import DatasetCard

    try:
        old = DatasetCard.load(place.with_suffix(".yaml"))
    except ManifestError:
        return  # there is none, or it says nothing that can be read
    for field in ("license", "citation", "description"):
        if not getattr(manifest.card, field):
            setattr(manifest.card, field, getattr(old, field))


def _counts(manifest: Manifest) -> None:
    from ..base import counted
    from ..manifests import class_counts

    units, table = manifest.units(), manifest.table
    said = [counted(len(manifest), "image")]
    said += [counted(len(units), "unit")] if "unit_id" in table else []
    said += [counted(len(units.group_id), "group")] if "group_id" in table else []
    said += [f"{len(manifest.card.classes)} {'labels' if manifest.card.task == 'multilabel' else 'classes'}"]
    say(f"{manifest.name} ({manifest.card.task}): {', '.join(said)}")
    counts = class_counts(manifest)
    columns = ["class", *counts.columns]
    rows = [[name, *(f"{count:,}" for count in row)] for name, row in zip(counts.index, counts.to_numpy(), strict=True)]
    if len(rows) > 1 and manifest.card.task != "multilabel":
        rows.append(["total", *(f"{count:,}" for count in counts.sum())])
    show_table(columns, rows, right=columns[1:])


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
    remark("docs/checks.md says what each finding means and what to do about it.")


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

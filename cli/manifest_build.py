"""`medprobe manifest build NAME`: a command for each builder, made from its signature and its docstring."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_type_hints

import typer
from typer.core import TyperGroup

from .console import command, remark, say
from .manifest_counts import tell_counts

if TYPE_CHECKING:
    from ..manifests import Builder, Manifest, Reading


class _Builders(TyperGroup):
    """Looks the builders up when they are asked for, so that other commands do not wait for pandas."""

    def list_commands(self, ctx: Any) -> list[str]:
        from ..manifests import BUILDERS

        return list(BUILDERS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        from ..manifests import BUILDERS

        return _command_of(cmd_name, BUILDERS[cmd_name]) if cmd_name in BUILDERS else None


app = typer.Typer(
    cls=_Builders,
    help="Build a manifest from folders, tables, arrays, or a published data set as it was downloaded.",
    epilog="Example: `medprobe manifest build folder images --out brain.parquet`",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


@app.callback()
def _builders() -> None:
    """Gives the group its own help, although its commands are found later."""


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
Task = Annotated[
    str | None, typer.Option(help="binary, multiclass, ordinal or multilabel.", show_default="from the classes")
]
Classes = Annotated[
    str | None,
    typer.Option(
        help="Class names in order, separated by commas; for `binary` the second is positive.", show_default="sorted"
    ),
]
Split = Annotated[
    str | None,
    typer.Option(
        help="Draw a split: `grouped:70/15/15` or `grouped:80/20`, stratified by class with no group torn, `@SEED` "
        "after it for another one{own}.",
        show_default="the data set's own, if any",
    ),
]
KeepIds = Annotated[
    bool,
    typer.Option(
        "--keep-ids",
        help="Keep ids of patients and units as they are. Else they become keyed hashes; the key is put beside the "
        "manifest (.key) and never in it.",
    ),
]
Window = Annotated[
    str | None,
    typer.Option(
        help="Stored values that become 0 to 255: stored, percentiles, percentiles:LOW,HIGH, or CENTRE,WIDTH in the "
        "file's own units.",
        show_default="stored, else percentiles:0.5,99.5",
    ),
]
PerSlice = Annotated[
    bool, typer.Option("--per-slice", help="Take percentiles over each slice instead of the whole volume.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a manifest that is there.")]

_COMMON: dict[str, tuple[Any, Any]] = {
    "split": (Split, None),
    "window": (Window, None),
    "per_slice": (PerSlice, False),
    "keep_ids": (KeepIds, False),
    "overwrite": (Overwrite, False),
}
"""Options of every builder, which are no business of the builders themselves."""
_SHARED = {"name": Name, "task": Task, "classes": Classes}
"""Options that many builders have, and how they are typed."""


def _command_of(name: str, builder: Builder) -> Any:
    """The command that asks for what `builder` takes."""
    function = builder.build
    helps = dict(_argument_helps(function))
    hints = get_type_hints(function)
    parameters = list(inspect.signature(function).parameters.values())
    source, options = parameters[0], [one for one in parameters[1:] if one.name != "notice"]

    def run(**given: Any) -> None:
        common = {key: given.pop(key) for key in _COMMON}
        _build(builder, given.pop(source.name), given.pop("out"), common, given)

    typed = [
        (source.name, Annotated[Path, typer.Argument(help=helps.get(source.name), show_default=False)], source.empty),
        ("out", Out, None),
        *(_option(one, hints[one.name], helps.get(one.name, "")) for one in options),
        *((key, _with_own_splits(kind, builder), default) for key, (kind, default) in _COMMON.items()),
    ]
    keyword = inspect.Parameter.KEYWORD_ONLY
    signed = [inspect.Parameter(key, keyword, default=default, annotation=kind) for key, kind, default in typed]
    run.__signature__ = inspect.Signature(signed)  # pyright: ignore[reportFunctionMemberAccess]
    run.__annotations__ = {key: kind for key, kind, _ in typed}
    run.__doc__ = _help_of(name, builder)
    alone = typer.Typer(
        add_completion=False, rich_markup_mode="markdown", context_settings={"help_option_names": ["-h", "--help"]}
    )
    alone.command(name, short_help=builder.summary)(run)
    return typer.main.get_command(alone)


def _option(parameter: inspect.Parameter, hint: Any, text: str) -> tuple[str, Any, Any]:
    """Name, type and default of the option for one keyword of a builder."""
    default = parameter.default
    if parameter.name in _SHARED:
        return parameter.name, _SHARED[parameter.name], None
    switch = f"--{parameter.name.replace('_', '-')}"
    kinds = [kind for kind in (get_args(hint) or (hint,)) if kind is not type(None)]
    if hint is bool:
        return parameter.name, Annotated[bool, typer.Option(switch, help=text)], default
    if _is_many(hint) or any(_is_many(kind) for kind in kinds):
        many = Annotated[list[str], typer.Option(_singular(switch), help=f"{text} Repeat it for several.")]
        return parameter.name, many, inspect.Parameter.empty if default is inspect.Parameter.empty else []
    kind: Any = Path if Path in kinds else int if int in kinds else float if float in kinds else str
    if all(isinstance(choice, str) for choice in kinds):
        text += f" One of {', '.join(kinds)}."
    kept = default if default is inspect.Parameter.empty or not isinstance(default, Path) else str(default)
    return parameter.name, Annotated[kind | None if default is None else kind, typer.Option(switch, help=text)], kept


def _is_many(hint: Any) -> bool:
    return getattr(hint, "__origin__", None) is Sequence


def _singular(switch: str) -> str:
    return switch.removesuffix("s")


def _with_own_splits(kind: Any, builder: Builder) -> Any:
    if kind is not Split:
        return kind
    own = "".join(f"; or `{name}`, {preset.summary}" for name, preset in builder.splits.items())
    option = get_args(Split)[1]
    return Annotated[str | None, typer.Option(help=option.help.format(own=own), show_default=option.show_default)]


def _argument_helps(function: Callable[..., Any]) -> Iterator[tuple[str, str]]:
    """The lines of a docstring's `Args:`, as sentences."""
    text = inspect.getdoc(function) or ""
    section = re.search(r"^Args:\n((?: +.*\n|\n)*)", text + "\n", re.MULTILINE)
    for match in re.finditer(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", section[1] if section else "", re.MULTILINE):
        words = " ".join(match[2].split())
        yield match[1], words[0].upper() + words[1:]


def _help_of(name: str, builder: Builder) -> str:
    """What the builder's docstring says before its arguments, and an example."""
    text = (inspect.getdoc(builder.build) or "").split("\nArgs:")[0].strip()
    return f"{text}\n\nExample: `medprobe manifest build {name} {builder.example}`"


def _build(builder: Builder, source: Path, asked: Path | None, common: dict[str, Any], options: dict[str, Any]) -> None:
    from ..manifests import Pseudonyms, identifying, read_split, resplit

    place = _ready(asked, source, common["overwrite"])
    reading = _reading(common["window"], per_slice=common["per_slice"])
    if common["split"]:
        read_split(common["split"], builder.splits)  # refuses an unknown one before anything is read
    takes = inspect.signature(builder.build).parameters
    if "name" in takes:
        options["name"] = options.get("name") or place.stem
    if "task" in takes:
        options["task"] = _task(options.get("task"))
    if "classes" in takes:
        options["classes"] = _names(options.get("classes"))
    manifest = builder.build(source, **options, notice=_note)
    manifest.card.reading = reading
    if common["split"]:
        manifest = resplit(manifest, common["split"], builder.splits)
    if not common["keep_ids"] and (hidden := identifying(manifest)):
        key = place.with_suffix(".key")
        manifest = Pseudonyms.at(key).hide_ids(manifest, hidden)
        kinds = ", ".join(f"{name.removesuffix('_id')}s" for name in hidden)
        _note(f"ids of {kinds} are keyed hashes; who has {key.name} can link them, so keep it apart.")
    _finish(manifest, place)


def _ready(asked: Path | None, source: Path, overwrite: bool) -> Path:
    """Where the manifest goes; refuses a place that would not do, before anything is read."""
    from ..base import OutputError
    from ..manifests import refuse_existing

    out = asked or Path(f"{source.absolute().name.removesuffix(source.suffix)}.parquet")
    if out.suffix.lower() not in (".parquet", ".csv"):
        raise OutputError(f"{out}: --out must end in .parquet or .csv.")
    if out.resolve() == source.resolve():
        raise OutputError(f"{out}: this is the table itself, which is never changed; give another name with --out.")
    if not out.absolute().parent.is_dir():
        raise OutputError(f"{out}: the folder {out.parent} does not exist; make it, or choose another --out.")
    if not overwrite:
        refuse_existing(out)
    return out


def _task(task: str | None) -> Any:
    from ..base import ManifestError, no_such
    from ..manifests import TASKS

    if task is not None and task not in TASKS:
        raise ManifestError(f"--task: {no_such('task', task, TASKS)}")
    return task


def _names(classes: str | None) -> list[str] | None:
    return None if classes is None else [name.strip() for name in classes.split(",")]


def _reading(window: str | None, *, per_slice: bool) -> Reading:
    """The reading that `--window` and `--per-slice` ask for."""
    from pydantic import ValidationError

    from ..base import ManifestError
    from ..manifests import Reading

    fields: dict[str, Any] = {"scope": "slice"} if per_slice else {}
    kind, _, numbers = (window or "stored").partition(":")
    try:
        if kind == "percentiles" and numbers:
            fields |= {"window": kind, "percentiles": tuple(float(number) for number in numbers.split(","))}
        elif kind in ("stored", "percentiles") and not numbers:
            fields |= {"window": kind} if window else {}
        else:
            centre, width = (float(number) for number in (window or "").split(","))
            fields |= {"window": (centre, width)}
        return Reading(**fields)
    except ValidationError as error:
        raise ManifestError(f"--window {window}: {error.errors()[0]['msg'].removeprefix('Value error, ')}.") from error
    except ValueError as error:
        raise ManifestError(
            f"--window {window}: write stored, percentiles, percentiles:LOW,HIGH or CENTRE,WIDTH, such as 40,400."
        ) from error


def _note(sentence: str) -> None:
    remark(f"note: {sentence}")


def _finish(manifest: Manifest, place: Path) -> None:
    _keep_what_people_wrote(manifest, place)
    manifest = manifest.save(place)
    tell_counts(manifest)
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

"""`medprobe manifest build NAME`: a command for each builder, made from its signature and its docstring.

Keywords of a builder that are not options: `notice` receives its messages, `reading` the intensity policy of `--window`
and `--per-slice`, and `kind` belongs to presets.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer
from typer.core import TyperGroup

from ...base import ManifestError, one_of
from ...base.text import listed
from ..terminal.console import command, remark, say, wrapped
from .build_options import SHARED, Out, common_options
from .counts import tell_counts

if TYPE_CHECKING:
    import pandas as pd

    from ...manifests import Manifest
    from ...manifests.build_options import BuildOptions
    from ...manifests.registry import Builder


_HELP = {"help_option_names": ["-h", "--help"]}


class _Builders(TyperGroup):
    """Imports the builders only when needed, so that other commands do not wait for pandas."""

    def list_commands(self, ctx: Any) -> list[str]:
        self._find()
        return list(self.commands)  # in the order of `BUILDERS`

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        self._find()
        if cmd_name.endswith(".toml"):
            ctx.fail(f"For a data set that a file describes, write: {command('manifest', 'build', 'table', cmd_name)}")
        return super().get_command(ctx, cmd_name)

    def _find(self) -> None:
        """Makes the commands once."""
        if not self.commands:
            from ...manifests import BUILDERS

            for name, builder in BUILDERS.items():
                self.commands[name] = _command_of(name, builder)
                if name == "csv":
                    self.commands["table"] = typer.main.get_command(_tables)


class _Tables(TyperGroup):
    """Has a command for any TOML file of a data set, with the options that the file gives it."""

    def format_usage(self, ctx: Any, formatter: Any) -> None:
        formatter.write_usage(ctx.command_path, "MY_SET.toml DATA_ROOT [OPTIONS]")

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        from ...manifests.registry import table_builder

        return _command_of(f"table {cmd_name}", table_builder(Path(cmd_name)))


def _print_template(wanted: bool) -> None:
    if wanted:
        from ...manifests.registry import TABLE_TEMPLATE

        typer.echo(TABLE_TEMPLATE.read_text(encoding="utf-8"), nl=False)
        raise typer.Exit


_tables = typer.Typer(
    name="table",
    cls=_Tables,
    short_help="a data set of your own that a TOML file describes",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    context_settings=_HELP,
)


@_tables.callback()
def _table(
    template: Annotated[
        bool,
        typer.Option("--template", callback=_print_template, is_eager=True, help="Print a file to start from."),
    ] = False,
) -> None:
    """A data set of your own, described by a TOML file: which columns are the images, labels, patients.

    A whole file, for `labels.csv` with the columns image_id, diagnosis and patient_id and `images/{image_id}.png`:

    ```
    name = "my-set"
    task = "binary"
    classes = ["benign", "malignant"]

    [rows]
    files = ["labels.csv"]
    key = "image_id"

    [labels]
    column = "diagnosis"

    [columns]
    group_id = "patient_id"

    [images]
    folders = ["images"]
    suffix = ".png"
    ```

    Several tables, several rows per image, patients in file names, lists of labels and splits are possible too:
    docs/tables.md explains every key. The published data sets of this command are such files.

    Example: `medprobe manifest build table --template > my_set.toml`, then
    `medprobe manifest build table my_set.toml DATA_ROOT --out my-set.parquet`
    (`medprobe manifest build table my_set.toml --help` lists its options)
    """


app = typer.Typer(
    cls=_Builders,
    help="Builds a manifest from folders, tables, arrays, DICOM or NIfTI files, or a published data set.",
    epilog="Example: `medprobe manifest build folder images --out brain.parquet`",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


@app.callback()
def _builders() -> None:
    """Gives the group its own help, although its commands are added later."""


_NO_OPTIONS = ("notice", "reading", "kind")
_ID_COLUMNS = {"group_id": "patients (groups)", "unit_id": "units", "sample_id": "images"}


def _command_of(name: str, builder: Builder) -> Any:
    """The command with the options of `builder`."""
    hints, helps = get_type_hints(builder.build), _argument_helps(builder.build)
    parameters = inspect.signature(builder.build).parameters
    source, *options = [one for name, one in parameters.items() if name not in _NO_OPTIONS]
    common = common_options(builder)

    def run(**given: Any) -> None:
        of_all = {key: given.pop(key) for key in common}
        _build(builder, given.pop(source.name), given.pop("out"), of_all, given)

    typed = {
        source.name: (Annotated[Path, typer.Argument(help=helps.get(source.name), show_default=False)], source.empty),
        "out": (Out, None),
        **{one.name: _option(one, hints[one.name], helps.get(one.name, "")) for one in options},
        **common,
    }
    keyword = inspect.Parameter.KEYWORD_ONLY
    signed = [
        inspect.Parameter(key, keyword, default=default, annotation=kind) for key, (kind, default) in typed.items()
    ]
    run.__dict__["__signature__"] = inspect.Signature(signed)
    run.__annotations__ = {key: kind for key, (kind, _) in typed.items()}
    run.__doc__ = _help_of(name, builder)
    alone = typer.Typer(add_completion=False, rich_markup_mode="markdown", context_settings=_HELP)
    alone.command(name, short_help=builder.summary)(run)
    return typer.main.get_command(alone)


def _option(parameter: inspect.Parameter, hint: Any, text: str) -> tuple[Any, Any]:
    """Type and default of the option for one keyword of a builder."""
    default = parameter.default
    if parameter.name in SHARED:
        return SHARED[parameter.name], None
    switch = f"--{parameter.name.replace('_', '-')}"
    if hint is bool:
        return Annotated[bool, typer.Option(switch, help=text)], default
    if get_origin(hint) is Sequence:
        many = typer.Option(switch.removesuffix("s"), help=f"{text} Repeat the option for several.")
        return Annotated[list[str], many], default if default is parameter.empty else []
    kind: Any = Path if Path in get_args(hint) else str
    if get_origin(hint) is Literal:
        text += f" One of {', '.join(get_args(hint))}."
    return Annotated[kind | None if default is None else kind, typer.Option(switch, help=text)], default


def _argument_helps(function: Callable[..., Any]) -> dict[str, str]:
    """The lines of a docstring's `Args:`, as sentences."""
    section = (inspect.getdoc(function) or "").partition("\nArgs:\n")[2].partition("\n\n")[0]
    found = re.findall(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", section, re.MULTILINE)
    return {name: text[0].upper() + " ".join(text.split())[1:] for name, text in found}


def _help_of(name: str, builder: Builder) -> str:
    """The builder's docstring up to its arguments, and an example."""
    text = (inspect.getdoc(builder.build) or "").split("\nArgs:")[0].strip()
    return f"{text}\n\nExample: `medprobe manifest build {name} {builder.example}`"


def _build(builder: Builder, source: Path, out: Path | None, common: dict[str, Any], options: dict[str, Any]) -> None:
    from ...manifests import CODES
    from ...manifests.build_options import check_build_options
    from ...manifests.checks.spelling import spelling_warnings

    settled = check_build_options(builder, source, out, common, options)
    given = settled.options | {"notice": _note}
    if "reading" in inspect.signature(builder.build).parameters:
        given["reading"] = settled.reading
    manifest = builder.build(source, **given)
    manifest.card.reading = settled.reading
    for problem in spelling_warnings(manifest):
        _note(f"{problem}. {CODES[problem.code].remedy}")
    if settled.split:
        manifest = _with_split(manifest, settled.split, builder)
    manifest, place = _with_hidden_ids(manifest, settled), settled.place
    _keep_what_people_wrote(manifest, place)
    tell_counts(manifest.save(place))
    say(wrapped(f"Wrote {place} and {place.with_suffix('.yaml').name}."))
    remark(f"Next: {command('manifest', 'check', place)}")


def _with_split(manifest: Manifest, text: str, builder: Builder) -> Manifest:
    from ...manifests import resplit
    from ...manifests.summary.counts import split_in_words

    drawn = resplit(manifest, text, builder.splits)
    if "split" in manifest.table and not manifest.table["split"].equals(drawn.table["split"]):
        _note(f"--split {text} replaces the split of the data set ({split_in_words(manifest)}).")
    return drawn


def _with_hidden_ids(manifest: Manifest, settled: BuildOptions) -> Manifest:
    """The manifest with ids that identify patients replaced by keyed hashes, unless they are kept."""
    from ...manifests.pseudonyms import Pseudonyms, columns_with_ids

    key, own = settled.key, settled.place.with_suffix(".key")
    hidden = columns_with_ids(manifest) if key else []
    if key and hidden:
        _refuse_ids_as_attributes(manifest, hidden)
        manifest = Pseudonyms.at(key).hide_ids(manifest, hidden)
        if key.stat().st_mode & 0o077:
            _note(f"other users can read {key.name}; run `chmod 600 {key}`.")
        kinds = [word for column, word in _ID_COLUMNS.items() if column in hidden]
        _note(
            f"ids of {listed(kinds)} were replaced by keyed hashes. Anyone who has {key.name} can link the hashes to "
            "the ids, so do not share it with the manifest."
        )
    elif key and key != own:
        _note(f"there are no ids to hash, so {key} is not used.")
    if own.exists() and not (hidden and key and key.resolve() == own.resolve()):
        _note(
            f"{own.name} exists but is not the key of this manifest. It was kept, as another manifest may use it; "
            "delete it if none does."
        )
    return manifest


def _refuse_ids_as_attributes(manifest: Manifest, hidden: list[str]) -> None:
    """Refuses attributes that repeat the ids: an attribute keeps its values, and would reveal what the hashes hide."""
    from ...manifests.schema.table_io import as_numbers

    def is_the_same(values: pd.Series, ids: pd.Series) -> bool:
        # `3.0` and `003` reveal the id 3.
        return values.astype("string").equals(ids) or bool((as_numbers(values) == as_numbers(ids)).all())

    for name in manifest.card.attributes:
        values = manifest.table[name]
        repeated = next((ids for ids in hidden if is_the_same(values, manifest.table[ids])), None)
        if repeated:
            raise ManifestError(
                f'attribute "{name}" repeats the column "{repeated}", whose ids become keyed hashes; drop the '
                "attribute, or keep all ids with --keep-ids."
            )


def _note(sentence: str) -> None:
    remark(wrapped(f"note: {sentence}"))


def _keep_what_people_wrote(manifest: Manifest, place: Path) -> None:
    """Keeps licence, citation and description of a replaced card of the same data."""
    from ...manifests import DatasetCard

    file = place.with_suffix(".yaml")
    try:
        old = DatasetCard.load(file)
    except ManifestError:
        return  # no card, or not readable
    fields = ("license", "citation", "description")
    wanted = [field for field in fields if getattr(old, field) and not getattr(manifest.card, field)]
    if (place.parent / old.root).resolve() == manifest.root.resolve():
        for field in wanted:
            setattr(manifest.card, field, getattr(old, field))
    elif wanted:
        _note(f"{one_of(wanted)} of the replaced {file.name} were not kept: its images were in another folder.")

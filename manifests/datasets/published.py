"""The function, with documented options, that builds the manifest of a data set described by a TOML file."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, cast, get_args

from ..builders.common import Notice, choose_word, silent
from ..manifest import Manifest
from .from_folders import build_from_folders
from .from_tables import build_from_tables
from .merge_rows import AGREEMENTS
from .read_labels import UNCERTAIN
from .set_file import read_set
from .set_format import FolderSet, TableSet

_RAISES = "ManifestError: a file or a column is not there, rows are wrong (all are listed), or there are no images."


def builder_of(spec: TableSet | FolderSet) -> Callable[..., Manifest]:
    """The function that builds the manifest of a data set from a folder and keyword options."""
    others = map(read_set, spec.alternatives) if isinstance(spec, TableSet) else ()
    layouts = [layout for layout in others if isinstance(layout, TableSet)]
    options = list(options_of(spec))
    source = inspect.Parameter("src", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=Path | str)
    keywords = (
        inspect.Parameter(option, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)
        for option, hint, default, _ in options
    )
    signature = inspect.Signature([source, *keywords])

    def build(*args: Any, **given: Any) -> Manifest:
        bound = signature.bind(*args, **given)
        bound.apply_defaults()
        chosen = bound.arguments
        for option, hint, _, _ in options:
            if words := [word for word in get_args(hint) if isinstance(word, str)]:
                choose_word(option, chosen[option], words)
        src, notice = Path(chosen.pop("src")), chosen.pop("notice")
        if isinstance(spec, TableSet):
            return build_from_tables(spec, src, chosen, notice, layouts)
        return build_from_folders(spec, src, chosen, notice)

    helps = "".join(f"\n    {option}: {text}" for option, _, _, text in [("src", None, None, spec.source), *options])
    build.__doc__ = f"{spec.description}\n\nArgs:{helps}\n\nRaises:\n    {_RAISES}"
    build.__annotations__ = {one.name: one.annotation for one in signature.parameters.values()}
    build.__dict__["__signature__"] = signature
    return build


def options_of(spec: TableSet | FolderSet) -> Iterator[tuple[str, Any, Any, str]]:
    """Name, type, default and description of each keyword option."""
    if isinstance(spec, TableSet):
        if spec.task == "multilabel":
            yield "labels", Sequence[str], (), f"one of the {len(spec.classes)} labels. By default all of them."
        if spec.kinds:
            yield "kinds", Sequence[str], (), spec.kinds_help
        if spec.labels.uncertain:
            text = "value of uncertain labels (-1): zeros (0), ones (1), or ignore (skip rows where a chosen label is "
            yield "uncertain", _words(UNCERTAIN), UNCERTAIN[0], f"{text}uncertain)."
        if spec.labels.merge == "votes":
            text = "how many readers of an image must agree on a label: majority (more than half), any (one), or all."
            yield "agreement", _words(AGREEMENTS), AGREEMENTS[0], text
        for name, only in spec.filters.items():
            if only.help:
                yield name, bool, False, only.help
        for name, choice in spec.options.items():
            yield name, _words(choice.words), choice.words[0], choice.help
        if spec.images.root_option:
            place = f"folder that holds {spec.images.root_option}; by default the folder of the tables."
            yield "root", Path | None, None, place
    yield "name", str | None, None, f"name of the data set; by default {spec.name}."
    yield "notice", Notice, silent, "called with messages: what was skipped, which images are missing."


def _words(words: Sequence[str]) -> Any:
    return cast(Any, Literal)[tuple(words)]

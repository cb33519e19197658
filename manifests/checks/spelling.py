"""Names that differ only in spelling, such as `Benign` and `benign `, or patients `007`, `7` and `7.0`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...base import counted, one_of
from ..manifest import Manifest
from ..schema.groups import codes_of, first_rows, row_groups
from ..schema.labels import has_class, label_codes
from ..schema.table_io import column_of
from ..validation.diagnostics import Diagnostic, diagnostic, one_by_one, rows_in_words
from .context import CheckContext

_WRITTEN = 'in capitals, blanks, Unicode form, leading zeros or a trailing ".0"'


def same_spelling(names: Iterable[str]) -> list[np.ndarray]:
    """Sets of names that are the same up to capitals, blanks, invisible characters, Unicode form or zeros around them.

    Those are zeros in front of a number, and behind the point of a whole number (`3.0`).

    Args:
        names: N distinct ones.

    Returns:
        The positions (K,) int64 in `names` of each set of two or more, in the order of their first ones.
    """
    folded = pc.call_function("utf8_normalize", [pa.array(list(names), pa.string())], pc.Utf8NormalizeOptions("NFKC"))
    folded = pc.call_function("utf8_lower", [folded])
    blanks = ((r"\p{Cf}", ""), (r"\s+", " "), (r"^ | $", ""))
    for pattern, instead in (*blanks, (r"(^|[^0-9.])0+([0-9])", r"\1\2"), (r"^([0-9]+)\.0+$", r"\1")):
        options = pc.ReplaceSubstringOptions(pattern, instead)
        folded = pc.call_function("replace_substring_regex", [folded], options)
    codes = folded.dictionary_encode().indices.to_numpy()
    return [same for same in row_groups(codes, most=len(codes)) if len(same) > 1]


def alike_names(context: CheckContext) -> Iterator[Diagnostic]:
    """Classes, and groups, that differ only in spelling."""
    yield from spelling_warnings(context.manifest, show_groups=True)


def spelling_warnings(manifest: Manifest, *, show_groups: bool = False) -> Iterator[Diagnostic]:
    """Classes and groups that differ only in spelling; of use only while ids are not hashed.

    Groups are named with `show_groups`; by default only the first row of each.
    """
    classes, ids = manifest.card.classes, column_of(manifest.table, "sample_id")
    labels = label_codes(manifest.table, manifest.card)
    for same in same_spelling(classes):
        rows = np.flatnonzero(np.any([has_class(labels, int(number)) for number in same], axis=0))
        yield diagnostic("alike-names", f"classes {_alike(classes[number] for number in same)}", ids, rows)
    codes, groups = codes_of(manifest.group_ids)
    sets = same_spelling(groups) if manifest.names_patients else []
    if sets and show_groups:
        set_of = np.full(len(groups), -1)
        set_of[np.concatenate(sets)] = np.repeat(np.arange(len(sets)), list(map(len, sets)))
        rows = np.flatnonzero(set_of[codes] >= 0)

        def message(at: np.ndarray) -> str:
            return f"groups {_alike(groups[np.unique(codes[at])])}"

        yield from one_by_one("alike-names", rows, set_of[codes[rows]], ids, message)
    elif sets:
        rows = first_rows(codes, len(groups))[np.concatenate(sets)]
        what = f"{counted(len(sets), 'set')} of groups (patients) differ only {_WRITTEN}"
        yield diagnostic("alike-names", f"{rows_in_words(rows, most=6)}: {what}", rows=rows, things=len(sets))


def _alike(names: Iterable[str]) -> str:
    quoted = [f'"{name}"' for name in names]
    return f"{one_of(quoted, most=3)} differ only {_WRITTEN}"

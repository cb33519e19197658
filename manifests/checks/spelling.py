"""Names that differ only in spelling, such as `Benign` and `benign `, or patients `007` and `7`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...base import counted, one_of
from ..manifest import Manifest
from ..schema.row_keys import codes_of, first_rows
from ..validation.diagnostics import Diagnostic, diagnostic, rows_in_words

WRITTEN = "in capitals, blanks, Unicode form or leading zeros"
"""How such names differ, for messages."""
_LISTED = 3
"""Sets of ids whose rows are named."""


def same_spelling(names: Iterable[str]) -> list[np.ndarray]:
    """Sets of names that are the same up to capitals, blanks, invisible characters, Unicode form or leading zeros.

    Args:
        names: N distinct ones.

    Returns:
        The positions (K,) int64 in `names` of each set of two or more, in the order of their first ones.
    """
    folded = pc.call_function("utf8_normalize", [pa.array(list(names), pa.string())], pc.Utf8NormalizeOptions("NFKC"))
    folded = pc.call_function("utf8_lower", [folded])
    for pattern, instead in ((r"\p{Cf}", ""), (r"\s+", " "), (r"^ | $", ""), (r"(^|[^0-9.])0+([0-9])", r"\1\2")):
        options = pc.ReplaceSubstringOptions(pattern, instead)
        folded = pc.call_function("replace_substring_regex", [folded], options)
    codes = folded.dictionary_encode().indices.to_numpy()
    order = np.argsort(codes, kind="stable")
    sets = np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)
    return [same for same in sets if len(same) > 1]


def spelling_warnings(manifest: Manifest) -> Iterator[Diagnostic]:
    """Classes and groups that differ only in spelling; groups are named by rows alone.

    Works only before ids are hashed.
    """
    for same in same_spelling(manifest.card.classes):
        names = one_of(f'"{manifest.card.classes[place]}"' for place in same)
        message = f"the classes {names} differ only {WRITTEN}; if they are the same, use one spelling and build again"
        yield diagnostic("alike-names", message)
    if not manifest.names_patients:
        return
    codes, groups = codes_of(manifest.group_ids)
    sets = same_spelling(groups)
    if sets:
        first = first_rows(codes, len(groups))
        rows = "; ".join(rows_in_words(np.sort(first[same])) for same in sets[:_LISTED])
        more = f" and {len(sets) - _LISTED:,} more" if len(sets) > _LISTED else ""
        message = (
            f"{counted(len(sets), 'set')} of groups (patients) differ only {WRITTEN}: {rows}{more}; if they are the "
            "same patients, use one spelling and build again, else one may be in both train and test"
        )
        yield diagnostic("alike-names", message, rows=np.sort(first[np.concatenate(sets)]), things=len(sets))

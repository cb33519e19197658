"""The labels of a published table, in whichever form its TOML file says; what is wrong with rows is noted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from ...base import counted, no_such, one_of
from ..builders.common import Notice
from ..builders.label_tables import PublishedTable, whole_numbers
from ..schema.table_io import as_words
from .set_format import Labels, TableSet

UNCERTAIN = ("zeros", "ones", "ignore")
"""What becomes of labels that a report left open; the words are those of Irvin et al. 2019 (arXiv 1901.07031)."""
SKIPPED = "_skipped"
"""The column of why a row is skipped; "" where it is kept."""


def read_labels(
    spec: TableSet, table: PublishedTable, chosen: Sequence[str], uncertain: str, notice: Notice
) -> pd.DataFrame:
    """The labels of each row: a column `label` of classes, or for `multilabel` one of int8 per label; and `SKIPPED`.

    `table` receives the errors, `notice` the labels that are no classes and ignored; `chosen` are the classes, or the
    chosen labels of `multilabel`, and `uncertain` is one of `UNCERTAIN`.
    """
    labels = spec.labels
    if labels.one_hot:
        classes = dict(zip(labels.one_hot, spec.classes, strict=True))
        made = pd.DataFrame({"label": _one_hot(table, labels).map(classes)})
        return made.assign(**{SKIPPED: ""})
    if not labels.column:
        return _columns(table, labels, spec.classes, chosen, uncertain)
    if "" not in labels.skipped and labels.column not in spec.label_table.parts:
        table.need_filled(labels.column)
    if labels.separator:
        return _listed(table, labels, spec.classes, chosen, notice)
    words = whole_numbers(table[labels.column])
    values = labels.values or {name: name for name in spec.classes}
    skipped = words.isin(labels.skipped)
    remedy = "if the TOML file is your own, give it a class in `values` of [labels], or put it into `skipped`"
    table.blame_unknown(words.mask(skipped, ""), labels.column, values, remedy)
    reasons = _reasons(word if skip else None for word, skip in zip(as_words(words), skipped, strict=True))
    return pd.DataFrame({"label": words.map(values), SKIPPED: reasons})


def _reasons(words: Iterable[str | None]) -> list[str]:
    """Why rows are skipped whose label is one of `words`; "" where it is None, for rows that are kept."""
    return ["" if word is None else f'the label is "{word}"' if word else "there is no label" for word in words]


def _one_hot(table: PublishedTable, labels: Labels) -> pd.Series:
    """The column that holds 1; blank where the row is wrong: no 1, several, not a number, or a 1 in `refused`."""
    names = labels.one_hot
    ones = np.stack([table.numbers(name, (0, 1)) for name in names], axis=1) == 1
    outside = np.zeros(len(table), bool)
    for name in labels.refused:
        if name in table.rows:
            outside |= table.numbers(name, (0, 1), blank=True) == 1
    count = ones.sum(axis=1)
    table.blame(outside, f"the label is {' or '.join(labels.refused)}, which is not a class; remove the row")
    table.blame((count == 0) & ~outside, f"no class is 1 ({names[0]} to {names[-1]}); write one or remove the row")
    table.blame(count > 1, "several classes are 1, but an image has one")
    return pd.Series(np.where(count == 1, np.array(names, object)[ones.argmax(axis=1)], ""))


def _listed(
    table: PublishedTable, labels: Labels, classes: Sequence[str], chosen: Sequence[str], notice: Notice
) -> pd.DataFrame:
    """A column of 0 and 1 for each chosen class, from `Effusion|Mass` or `['Effusion', 'Mass']`; `nothing` is alone."""
    codes, texts = pd.factorize(as_words(table[labels.column]))
    # The brackets and quotes are those of a list as Python or JSON write it.
    parts = [[part.strip(" []'\"") for part in text.split(labels.separator)] for text in texts]
    parts = [[part for part in found if part] for found in parts]
    known = (*classes, *filter(None, [labels.nothing, *labels.skipped]))
    others = sorted({part for found in parts for part in found} - {*known})
    if others and labels.ignore_others:
        which = f"{counted(len(others), 'label is', 'labels are')} no class: {one_of(others)}"
        notice(f'Ignored in column "{labels.column}": {which}.')
    remedy = "If the TOML file is your own, put it into `skipped` of [labels], or set `ignore_others`."
    for distinct in () if labels.ignore_others else others:
        has = np.array([distinct in found for found in parts])[codes]
        table.blame(has, f'column "{labels.column}" holds {no_such("label", distinct, known)} {remedy}')
    if not labels.ignore_others:
        alone = np.array([labels.nothing not in found or len(found) == 1 for found in parts])
        table.blame(~alone[codes], f'"{labels.nothing}" together with another label')
    first = [next((word for word in labels.skipped if word in (found or [""])), None) for found in parts]
    made = {name: np.array([name in found for found in parts], np.int8)[codes] for name in chosen}
    return pd.DataFrame({**made, SKIPPED: np.array(_reasons(first), object)[codes]})


def _columns(
    table: PublishedTable, labels: Labels, classes: Sequence[str], chosen: Sequence[str], uncertain: str
) -> pd.DataFrame:
    """Columns of 1 and 0; where an automatic labeller wrote them also -1 (uncertain) or nothing (not mentioned, 0).

    Uncertain is 0 under `zeros` and 1 under `ones`. Under `ignore` a row is skipped if one of the chosen labels is
    uncertain: a multilabel set has a 0 or a 1 for every label of every row, so a single label cannot be skipped. Where
    then none of the classes is 1, `nothing` is, as in Palés Huix et al. 2024; under `ignore` only if none was
    uncertain, and a row where that is unknown is skipped too.
    """
    allowed = (0, 1, -1) if labels.uncertain else (0, 1)
    stored = np.stack([table.numbers(name, allowed, blank=labels.uncertain) for name in classes], axis=1)
    unsure = stored == -1
    ones = (stored == 1) | (unsure if uncertain == "ones" else False)
    if labels.nothing:
        nothing, column = ~ones.any(axis=1), classes.index(labels.nothing)
        unsure[:, column] |= nothing & unsure.any(axis=1)
        ones[:, column] |= nothing
    made = pd.DataFrame(ones.astype(np.int8), columns=list(classes))[list(chosen)]
    skipped = unsure[:, [classes.index(name) for name in chosen]].any(axis=1) & (uncertain == "ignore")
    return made.assign(**{SKIPPED: np.where(skipped, "a chosen label is uncertain", "")})

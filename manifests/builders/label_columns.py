"""Labels as data sets publish them, as labels of a manifest: one-hot columns, 0, 1 and uncertain, lists of findings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, get_args

import numpy as np
import pandas as pd

from ...base import ManifestError, no_such
from ..schema.columns import TEXT, as_words
from .label_table import PublishedTable

Uncertain = Literal["zeros", "ones", "ignore"]
"""What becomes of labels that a report left open; the words are those of Irvin et al. 2019 (arXiv 1901.07031)."""

CHEXPERT_LABELS = (
    "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema", "Consolidation",
    "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture", "Support Devices",
)  # fmt: skip
"""What the CheXpert and NegBio labellers look for, in the order of CheXpert's train.csv."""


def choose_word(option: str, given: str, known: Iterable[str]) -> None:
    """Makes sure that an option is one of the words that it may be.

    Raises:
        ManifestError: it is not; the near ones are named.
    """
    if given not in (words := tuple(known)):
        raise ManifestError(f"--{option}: {no_such('word', given, words)}")


def choose_labels(asked: Sequence[str], known: Sequence[str]) -> list[str]:
    """The labels that were asked for, or all of them.

    Raises:
        ManifestError: there is no such label; the near ones are named.
    """
    for name in asked:
        if name not in known:
            raise ManifestError(f"--label: {no_such('label', name, known)}")
    return list(dict.fromkeys(asked or known))


def read_one_hot(table: PublishedTable, classes: Sequence[str], *, refused: Sequence[str] = ()) -> pd.Series:
    """The class whose column holds 1; blank where the row is at fault, which is noted: no 1, several, or no number.

    Args:
        table: has a column of 0 and 1 for each class.
        classes: columns.
        refused: further columns, where there are such, in which a 1 is a fault: they say that there is no class.
    """
    ones = np.stack([table.numbers(name, (0, 1)) for name in classes], axis=1) == 1
    others = [(table.get(name) != "") & (table.numbers(name, (0, 1), blank=True) == 1) for name in refused
              if name in table.rows]  # fmt: skip
    outside = np.logical_or.reduce(others) if others else np.zeros(len(table), bool)
    count = ones.sum(axis=1)
    table.blame(outside, f"the label is {' or '.join(refused)}, which is no class to learn; leave the row out")
    table.blame(
        (count == 0) & ~outside, f"no class is 1 ({classes[0]} to {classes[-1]}); write one or leave the row out"
    )
    table.blame(count > 1, "several classes are 1, and an image has one")
    names = np.array(classes, object)[ones.argmax(axis=1)]
    return pd.Series(np.where(count == 1, names, ""), dtype=TEXT)


def read_uncertain(
    table: PublishedTable, labels: Sequence[str], uncertain: Uncertain
) -> tuple[pd.DataFrame, np.ndarray]:
    """The labels that an automatic labeller read in reports, as 0 and 1.

    Blank (not mentioned) is 0. Uncertain (-1) is 0 under `zeros` and 1 under `ones`. Under `ignore` a row is left out
    if one of the chosen labels is uncertain: a multilabel set has a 0 or a 1 for every label of every row, so a single
    label cannot be passed over. Where then none of the fourteen is 1, "No Finding" is, as in Palés Huix et al. 2024;
    under `ignore` only if none was uncertain, and a row of which that cannot be said is left out with the others.

    Args:
        table: has the fourteen columns of `CHEXPERT_LABELS`.
        labels: the chosen ones.
        uncertain: the policy.

    Returns:
        A column of int8 a chosen label, and which rows stay, (N,) bool.

    Raises:
        ManifestError: there is no such policy.
    """
    choose_word("uncertain", uncertain, get_args(Uncertain))
    stored = np.stack([table.numbers(name, (0, 1, -1), blank=True) for name in CHEXPERT_LABELS], axis=1)
    unsure = stored == -1
    ones = (stored == 1) | (unsure if uncertain == "ones" else False)
    nothing = ~ones.any(axis=1)
    kept = np.ones(len(table), bool)
    if uncertain == "ignore":
        chosen = [CHEXPERT_LABELS.index(name) for name in labels]
        unsure[:, 0] |= nothing & unsure.any(axis=1)
        kept = ~unsure[:, chosen].any(axis=1)
    ones[:, 0] |= nothing
    return pd.DataFrame({name: ones[:, CHEXPERT_LABELS.index(name)].astype(np.int8) for name in labels}), kept


def load_report_data(table: PublishedTable, column: str, labels: Sequence[str], none: str) -> pd.DataFrame:
    """A column of findings separated by bars, as a column of int8 a label.

    Args:
        table: notes unknown findings, and `none` beside others.
        column: such as `Effusion|Mass`.
        labels: all that are known.
        none: the word for no finding, which is 0 in every column.
    """
    codes, texts = pd.factorize(as_words(table[column]))
    parts = [[part.strip() for part in text.split("|")] for text in texts]
    known = {*labels, none}
    for distinct in sorted({part for found in parts for part in found if part not in known and part}):
        has = np.array([distinct in found for found in parts])[codes]
        table.blame(has, f'column "{column}" holds {no_such("finding", distinct, (*labels, none))}')
    table.blame(np.array([none in found and len(found) > 1 for found in parts])[codes], f'"{none}" beside a finding')
    return pd.DataFrame({name: np.array([name in found for found in parts], np.int8)[codes] for name in labels})

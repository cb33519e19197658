"""Groups (patients), units and samples: what may not be in both train and test, what gets one prediction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow.compute as pc

from .card import DatasetCard
from .labels import label_codes
from .table_io import as_arrow, as_words, column_of


@dataclass(frozen=True, eq=False)
class Units:
    """The units of a manifest, sorted by `unit_id`, so that they do not depend on the order of the table's rows.

    U units, N samples, C classes.

    Examples:
        >>> units = manifest.units()
        >>> len(units), len(units.group_id), units.y.shape
        (60, 30, (60,))
    """

    unit_id: np.ndarray
    """(U,) object array of str, sorted by code point."""
    group: np.ndarray
    """(U,) int64: the group (patient), by its position in `group_id`."""
    group_id: np.ndarray
    """(G,) object array of str, sorted by code point. Stays in memory: group ids are written to no result."""
    split: np.ndarray | None
    """(U,) of `train`, `val`, `test`; None when the manifest has no such column."""
    y: np.ndarray
    """(U,) int64: position in the card's classes, -1 without labels; for `multilabel` (U, C) int8 of 0 and 1."""
    sample_unit: np.ndarray
    """(N,) int64: the unit of each row of the manifest. The only field that follows the order of rows."""
    attributes: pd.DataFrame
    """U rows, one column per attribute of the card; missing where the samples of a unit disagree."""
    modality: np.ndarray | None
    """(N,) object array of str: the modality of each row; None when the manifest has no such column."""

    def __len__(self) -> int:
        return len(self.unit_id)

    def classes_by_group(self, chosen: np.ndarray, classes: int) -> np.ndarray:
        """Units of each class (multilabel: positives of each label) in each group, among the chosen, (U,) bool.

        Returns:
            (G, C) int64, with C the number of `classes`.
        """
        counts = np.zeros((len(self.group_id), classes), np.int64)
        y = self.y[chosen]
        np.add.at(counts, self.group[chosen], y if y.ndim == 2 else y[:, None] == np.arange(classes))
        return counts

    @classmethod
    def of(cls, table: pd.DataFrame, card: DatasetCard) -> Units:
        """The units of a table without structural errors: the samples of a unit agree in label, group and split."""
        sample_unit, unit_id = codes_of(unit_ids(table))
        first = first_rows(sample_unit, len(unit_id))
        group, group_id = codes_of(group_ids(table).iloc[first])
        part, parts = codes_of(column_of(table, "split").iloc[first]) if "split" in table else (None, None)
        return cls(
            unit_id=unit_id,
            group=group,
            group_id=group_id,
            split=None if parts is None else parts.astype("<U5")[part],
            y=label_codes(table, card)[first],
            sample_unit=sample_unit,
            attributes=_attributes(table, card.attributes, sample_unit, first),
            modality=as_words(column_of(table, "modality")) if "modality" in table else None,
        )


def unit_ids(table: pd.DataFrame) -> pd.Series:
    """The unit of each row; the sample's own id without a column `unit_id`."""
    return column_of(table, "unit_id" if "unit_id" in table else "sample_id")


def group_ids(table: pd.DataFrame) -> pd.Series:
    """The group of each row; the unit's id without a column `group_id`."""
    return column_of(table, "group_id") if "group_id" in table else unit_ids(table)


def names_patients(table: pd.DataFrame, card: DatasetCard) -> bool:
    """Whether the groups are patients (or lesions, or cases), and not copies of an image and nothing more."""
    return "group_id" in table and card.groups == "patients"


def inconsistent_units(column: pd.Series, codes: np.ndarray, count: int) -> np.ndarray:
    """Which units have samples that disagree in `column`: bool (count,)."""
    return disagreeing(codes, count, pd.factorize(column, use_na_sentinel=False)[0])


def _attributes(table: pd.DataFrame, names: list[str], sample_unit: np.ndarray, first: np.ndarray) -> pd.DataFrame:
    columns = {}
    for name in names:
        column = column_of(table, name)
        # One sample's value would depend on which row came first, so a unit with several values has none.
        torn = inconsistent_units(column, sample_unit, len(first))
        columns[name] = column.iloc[first].reset_index(drop=True).mask(torn)
    return pd.DataFrame(columns, index=pd.RangeIndex(len(first)))


def codes_of(keys: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Codes (N,) int64 into the sorted distinct texts of `keys`, and those texts as an object array.

    Both follow from the texts alone: sorted by code point, and a missing key counts as "".
    """
    # Arrow sorts text several times faster than pandas sorts objects, which tells at ten million rows.
    encoded = as_arrow(keys).dictionary_encode()
    order = pc.call_function("sort_indices", [encoded.dictionary]).to_numpy()
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return rank[encoded.indices.to_numpy()], encoded.dictionary.to_numpy(zero_copy_only=False)[order]


def first_rows(codes: np.ndarray, count: int) -> np.ndarray:
    """The first row of each code: (count,) int64."""
    first = np.empty(count, np.int64)
    # Written last to first, so that the first row is the one that stays.
    first[codes[::-1]] = np.arange(len(codes), dtype=np.int64)[::-1]
    return first


def disagreeing(codes: np.ndarray, count: int, values: np.ndarray) -> np.ndarray:
    """Which codes have rows with different `values` (N,) or (N, C): bool (count,)."""
    differs = values != values[first_rows(codes, count)[codes]]
    if differs.ndim == 2:
        differs = differs.any(axis=1)
    found = np.zeros(count, bool)
    found[codes[differs]] = True
    return found


def row_groups(codes: np.ndarray, *, most: int) -> list[np.ndarray]:
    """The positions of each code, in code order; after the first `most` codes, those of all others together."""
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order])) + 1
    return np.split(order, starts[:most]) if len(order) else []

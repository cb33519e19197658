"""Arrays and data frames as a user has them, checked: features, labels, and what belongs to each row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ...base import ProbeError, counted, one_of
from ...base.text import first_line
from ...manifests.schema.card import Task
from ..estimators._prediction import LARGEST
from .features import is_constant


def feature_matrix(X: Any, name: str) -> np.ndarray:
    """Features as (N, D) float32; `name` is what messages call them.

    Raises:
        ProbeError: they are not a table of finite numbers with at least one row and one column that varies.
    """
    if hasattr(X, "toarray"):
        raise ProbeError(f"{name}: is a sparse matrix; pass {name}.toarray().")
    if isinstance(X, pd.DataFrame):
        other = [str(column) for column, dtype in X.dtypes.items() if not pd.api.types.is_numeric_dtype(dtype)]
        if other:
            raise ProbeError(
                f"{name}: {counted(len(other), 'column')} not numeric: {one_of(other)}. Pass the features alone, or"
                " encode such columns (pandas.get_dummies)."
            )
        X = X.to_numpy(np.float64, na_value=np.nan)
    values = _array(X, name)
    if values.dtype.kind not in "biuf":
        raise ProbeError(f"{name}: holds {values.dtype.name} and not numbers; pass an array of floats.")
    if values.ndim != 2 or not values.size:
        raise ProbeError(f"{name}: has the shape {values.shape}; a row per sample and a column per feature is needed.")
    with np.errstate(over="ignore"):
        rows = values.astype(np.float32, order="C")
    usable = np.asarray((np.abs(rows) <= np.float32(LARGEST)).all(axis=1))  # False where a value is NaN
    if not usable.all():
        raise ProbeError(
            f"{name}: {counted(int((~usable).sum()), 'row')} of {len(rows):,} with NaN, infinite values or values"
            f" beyond {LARGEST:g}: {_positions(~usable)} (from 0). Remove these rows everywhere, or impute them."
        )
    if len(rows) > 1 and is_constant(rows).all():
        raise ProbeError(f"{name}: all {len(rows):,} rows are the same, so there is nothing to learn from.")
    return rows


def labels(y: Any, classes: Sequence[Any] | None, task: Task | None) -> tuple[Task, list[str], dict[str, Any]]:
    """Labels as a dataset card and a manifest's table have them.

    Returns:
        The task, the names of the classes, and the columns of labels.

    Raises:
        ProbeError: they are not labels of two classes or more, or do not fit `classes` or `task`.
    """
    if isinstance(y, pd.DataFrame) and classes is None and (task == "multilabel" or y.shape[1] > 1):
        classes = list(y.columns)
    values = _array(y, "y")
    if values.ndim == 2 and (task == "multilabel" or values.shape[1] > 1):
        return _multilabel(values, classes, task)
    if values.ndim == 2:
        values = values.ravel()
    if values.ndim != 1 or task == "multilabel":
        what = " 0/1 column per class" if task == "multilabel" else " label per row"
        raise ProbeError(f"y: has the shape {values.shape}; one{what} is needed.")
    values = _whole(_known(values, "y"))
    if classes is None and isinstance(dtype := getattr(y, "dtype", None), pd.CategoricalDtype):
        classes = [category for category in dtype.categories if (values == category).any()]
    elif classes is None:
        if task == "ordinal" and values.dtype.kind not in "iub":
            raise ProbeError(
                'y: the order of the classes is not known; give them in order, as classes=["low", "high"].'
            )
        classes = pd.unique(pd.Series(values)).tolist()
        classes.sort(key=None if values.dtype.kind in "iub" else str)
    names = [str(one) for one in classes]
    found = _names(values, names)
    unknown = sorted(set(found) - set(names))
    if unknown:
        raise ProbeError(f"y: {one_of(unknown)} not among the classes ({one_of(names)}).")
    if len(set(found)) < 2:
        raise ProbeError(f"y: holds one class ({one_of(set(found)) or 'none'}); there must be two or more.")
    return task or ("binary" if len(names) == 2 else "multiclass"), names, {"label": found}


def _names(values: np.ndarray, names: list[str]) -> list[str]:
    """The class of each row: as it is, or by its position where labels are whole numbers and classes have names."""
    found = [str(value) for value in values.tolist()]
    if values.dtype.kind in "iu" and not set(found) <= set(names) and 0 <= values.min() <= values.max() < len(names):
        return [names[value] for value in values]
    return found


def _multilabel(
    values: np.ndarray, classes: Sequence[Any] | None, task: Task | None
) -> tuple[Task, list[str], dict[str, Any]]:
    names = [str(one) for one in (range(values.shape[1]) if classes is None else classes)]
    if task not in (None, "multilabel"):
        raise ProbeError(f"y: has {values.shape[1]} columns, which is a multilabel task and not {task}.")
    if len(names) != values.shape[1]:
        raise ProbeError(f"y: has {values.shape[1]} columns, and there are {counted(len(names), 'class', 'classes')}.")
    known = _known(values, "y")
    if not np.isin(known, (0, 1)).all():
        raise ProbeError("y: a multilabel table holds 0 and 1 alone; one column per class.")
    return "multilabel", names, dict(zip(names, known.astype(np.int8).T, strict=True))


def _whole(values: np.ndarray) -> np.ndarray:
    """Floats that are whole numbers as integers.

    Raises:
        ProbeError: they are other numbers.
    """
    floats = [one for one in values.tolist() if isinstance(one, float)] if values.dtype.kind in "fO" else []
    broken = sorted({value for value in floats if not value.is_integer()})
    if broken:
        raise ProbeError(
            f"y: holds numbers such as {one_of(map(str, broken), most=3)}, which are no classes. Probes classify: make"
            " them classes first, as pandas.cut does."
        )
    return values.astype(np.int64) if values.dtype.kind == "f" else values


def column(values: Any, name: str) -> np.ndarray:
    """One value per row, (N,).

    Raises:
        ProbeError: it is of another shape, or some are missing.
    """
    found = _array(values, name)
    if found.ndim != 1:
        raise ProbeError(f"{name}: has the shape {found.shape}; one value per row is needed.")
    return _known(found, name)


def require_same_rows(tables: dict[str, Any]) -> None:
    """Makes sure that what is given about the rows has the same number of them, and pandas' labels in the same order.

    Raises:
        ProbeError: names the two that do not.
    """
    for name, table in tables.items():
        if isinstance(table, str):
            raise ProbeError(f'{name}: is the text "{table}"; give a value for each row, such as a column of a table.')
    counts = {name: len(table) if hasattr(table, "__len__") else 0 for name, table in tables.items()}
    first = next(iter(counts))
    for name, count in counts.items():
        if count != counts[first]:
            raise ProbeError(f"{first} has {counted(counts[first], 'row')} and {name} {count:,}: give the same rows.")
    labelled = {name: table for name, table in tables.items() if isinstance(table, (pd.DataFrame, pd.Series))}
    first = next(iter(labelled), "")
    for name, table in labelled.items():
        if not table.index.equals(labelled[first].index):
            raise ProbeError(
                f"{first} and {name} have other row labels (their index), so rows may not match: give"
                f" {name}.loc[{first}.index], or reset both."
            )


def _array(values: Any, name: str) -> np.ndarray:
    try:
        return np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:  # ragged lists; a tensor on a GPU
        raise ProbeError(f"{name}: cannot be made an array: {first_line(error)}.") from error


def _known(values: np.ndarray, name: str) -> np.ndarray:
    missing = np.asarray(pd.DataFrame(values).isna().any(axis=1))
    if missing.any():
        raise ProbeError(
            f"{name}: missing in {counted(int(missing.sum()), 'row')} of {len(values):,}: {_positions(missing)}"
            " (from 0). Fill them, or remove these rows everywhere."
        )
    return values


def _positions(wrong: np.ndarray) -> str:
    return one_of(map(str, np.flatnonzero(wrong)), most=5)

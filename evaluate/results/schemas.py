"""The columns of the result tables, their types, and their one order of rows."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ...base import ReportError
from ..resampling.train_size import FULL_TRAIN


class SystemKey(NamedTuple):
    """The identity of a result: which system a row of a table is about.

    Examples:
        >>> from medprobe.evaluate import predictions_by_system
        >>> system = next(iter(predictions_by_system(run)))
        >>> system.backbone, system.pooling, system.probe, system.budget
        ('timm:resnet18', 'mean', 'centroid', 'all')
    """

    dataset: str
    backbone: str
    fingerprint: str
    pooling: str
    probe: str
    budget: str = FULL_TRAIN
    """How much of the training part it was fitted on."""

    @classmethod
    def of_rows(cls, table: pd.DataFrame) -> list[SystemKey]:
        """The system of each row of a table that has the columns."""
        return [cls(*map(str, row)) for row in table[list(cls._fields)].itertuples(index=False)]


SYSTEM = SystemKey._fields
"""The columns of a `SystemKey`."""
RESAMPLE = ("seed", "fold")
"""The columns that say which resample a row is about."""

_ROW_GROUP = 2**20
"""Rows that are compressed together."""
_NAMES = [(name, pa.string()) for name in SYSTEM]
_DRAWN = [("seed", pa.int32()), ("fold", pa.int16())]

SCORES = pa.schema(
    [
        *_NAMES,
        ("protocol", pa.string()),
        *_DRAWN,
        ("split", pa.string()),
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("reason", pa.string()),
        ("params", pa.string()),
        ("n_train", pa.int32()),
        ("n_val", pa.int32()),
        ("n_test", pa.int32()),
        ("converged", pa.bool_()),
        ("gradient", pa.float64()),
        ("note", pa.string()),
    ]
)
UNITS = pa.schema([("unit", pa.int32()), ("group", pa.int32()), ("attribute", pa.string()), ("value", pa.string())])
TIMINGS = pa.schema(
    [*_NAMES, *_DRAWN, ("fit_s", pa.float64()), ("predict_s", pa.float64()), ("peak_bytes", pa.int64())]
)
_LEARNT = [("epoch", pa.int32()), *((name, pa.float64()) for name in ("train_loss", "val_loss", "val_metric", "lr"))]
EPOCHS = pa.schema([*_NAMES, *_DRAWN, *_LEARNT, ("chosen", pa.bool_())])
RETRIEVED = pa.schema(
    [
        *_NAMES,
        *_DRAWN,
        ("unit", pa.int32()),
        ("relevant", pa.int32()),
        ("found", pa.list_(pa.int32())),
        ("label", pa.list_(pa.int16())),
    ]
)
CURVE = tuple(EPOCHS.names[-6:])
"""The keys of `FitResult.curves`."""


def predictions_schema(task: str) -> pa.Schema:
    """Columns of the predictions; a label is one number, or for multilabel a list of 0 and 1."""
    return pa.schema(
        [
            *_NAMES,
            *_DRAWN,
            ("split", pa.string()),
            ("unit", pa.int32()),
            ("group", pa.int32()),
            ("y", pa.list_(pa.int8()) if task == "multilabel" else pa.int16()),
            ("proba", pa.list_(pa.float32())),
        ]
    )


def by_table(task: str) -> dict[str, pa.Schema]:
    """The schema of every table that a run may have."""
    return {
        "scores": SCORES,
        "predictions": predictions_schema(task),
        "timings": TIMINGS,
        "units": UNITS,
        "scores_as_published": SCORES,
        "epochs": EPOCHS,
        "retrieved": RETRIEVED,
    }


def write(table: pd.DataFrame, schema: pa.Schema, path: Path) -> None:
    """Writes a table so that equal tables are equal bytes: typed columns, no index, nothing of pandas' own."""
    arrow = as_arrow(table, schema)
    with pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True) as writer:
        for start in range(0, max(1, len(arrow)), _ROW_GROUP):
            # In one piece, since pages end where pieces do: a run that was read or merged has others.
            writer.write_table(arrow.slice(start, _ROW_GROUP).combine_chunks())


def as_arrow(table: pd.DataFrame, schema: pa.Schema) -> pa.Table:
    """The columns of a table as they are stored; what is not a number is null."""
    return pa.Table.from_arrays([_array(table[field.name], field.type) for field in schema], schema=schema)


def read(path: Path, schema: pa.Schema) -> pd.DataFrame:
    """Reads what `write` wrote.

    Raises:
        ReportError: the file is missing, damaged, or lacks columns.
    """
    if not path.is_file():
        raise ReportError(f"{path}: is missing; the run is incomplete. Make the run again.")
    try:
        table = pq.read_table(path, page_checksum_verification=True)
        absent = [field.name for field in schema if field.name not in table.column_names]
        if not absent:
            return as_frame(table.select(schema.names).cast(schema))
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ReportError(f"{path}: is damaged or not a Parquet file. Make the run again.") from error
    raise ReportError(f"{path}: lacks the columns {', '.join(absent)}; it was not written by `medprobe probe`.")


def as_frame(table: pa.Table) -> pd.DataFrame:
    """A table for pandas, in which a column of lists stays what it is in Arrow: an object a row takes minutes."""
    return table.to_pandas(types_mapper=lambda kind: pd.ArrowDtype(kind) if pa.types.is_list(kind) else None)


def _array(column: pd.Series, kind: pa.DataType) -> pa.Array | pa.ChunkedArray:
    array = pa.array(column, type=None if isinstance(column.dtype, pd.ArrowDtype) else kind, from_pandas=True)
    return array if array.type == kind else array.cast(kind)

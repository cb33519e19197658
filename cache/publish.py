"""Finalising: the segments and the older cache become one verified file under the published name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from .guard import new_file
from .layout import SCHEMA, put_attributes
from .ledger import Ledger
from .matrices import DoesNotFitError, write_matrix
from .plan import Plan
from .segments import Index, put_index
from .sources import identity
from .spec import EmbeddingSpec
from .store import EmbeddingCache, content_of
from .verify import check_against


class OvertakenError(Exception):
    """Another process has published this cache meanwhile; what it wrote has to be taken in first."""


@dataclass(frozen=True)
class Description:
    """What a cache says of itself besides its rows."""

    dataset: str
    spec: EmbeddingSpec
    device: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    throughput: Mapping[str, Any] = field(default_factory=dict)

    def attributes(self, plan: Plan) -> dict[str, Any]:
        """The attributes of the file."""
        return {
            "schema": SCHEMA,
            "kind": "embeddings",
            "dataset": self.dataset,
            "spec": self.spec.to_json(),
            "fingerprint": self.spec.fingerprint,
            "content": content_of(plan.sample_id, plan.digest, plan.stamp),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "device": self.device,
            "versions": {**_own_versions(), **self.versions},
            "throughput": dict(self.throughput),
            "quarantined": len(plan.bad_id),
        }


def write_published(
    path: Path, plan: Plan, ledger: Ledger, about: Description, *, base: tuple[int, int, int] | None
) -> None:
    """Writes the published file: block by block under another name, fsynced, read back, renamed.

    Args:
        path: the published name.
        plan: the rows.
        ledger: where their vectors are.
        about: the attributes.
        base: `identity(path)` when `ledger` was read.

    Raises:
        OvertakenError: `path` is no longer `base`.
        DamagedError: a source is damaged.
        OutputError: the file cannot be written.
    """
    dtypes = _first_dtypes(path, about.spec, ledger.dims)
    while True:
        try:
            _write(path, plan, ledger, about, dtypes, base)
        except DoesNotFitError as error:
            dtypes[error.pooling] = np.dtype(np.float32)
        else:
            return


def _write(
    path: Path,
    plan: Plan,
    ledger: Ledger,
    about: Description,
    dtypes: Mapping[str, np.dtype],
    base: tuple[int, int, int] | None,
) -> None:
    crcs: dict[str, int] = {}
    attributes = about.attributes(plan)
    index = Index(
        path, plan.sample_id, plan.digest, plan.stamp, plan.digest, plan.bad_id, plan.bad_stamp, plan.bad_reason
    )

    def check(temporary: Path) -> None:
        check_against(temporary, about.spec, index, crcs)
        if identity(path) != base:
            raise OvertakenError

    with new_file(path, before_rename=check) as file:
        put_attributes(file, attributes)
        put_index(file, index)
        for pooling, dtype in dtypes.items():
            crcs[pooling] = write_matrix(file, pooling, dtype, ledger, plan.digest)


def _first_dtypes(path: Path, spec: EmbeddingSpec, dims: Mapping[str, int]) -> dict[str, np.dtype]:
    """float16 for what was computed in bf16, unless the published matrix of it already needed float32."""
    wanted = np.dtype(np.float16 if spec.precision == "bf16" else np.float32)
    dtypes = dict.fromkeys(dims, wanted)
    if path.exists():
        needed = EmbeddingCache.open(path).info["dtypes"]
        dtypes.update({pooling: np.dtype(np.float32) for pooling, dtype in needed.items() if dtype == "float32"})
    return dtypes


def _own_versions() -> dict[str, str]:
    return {
        "medprobe": version("medprobe"),
        "numpy": np.__version__,
        "h5py": h5py.__version__,
        "hdf5": h5py.version.hdf5_version,
    }

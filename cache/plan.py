"""What a published file will hold, decided before a byte of it is written."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..base import CacheError, one_of
from .ledger import NOWHERE, Ledger, positions_in, unique_index
from .segments import Index


@dataclass(frozen=True)
class Plan:
    """The rows of a published file and its quarantine, in order."""

    sample_id: np.ndarray
    digest: np.ndarray
    stamp: np.ndarray
    bad_id: np.ndarray
    bad_stamp: np.ndarray
    bad_reason: np.ndarray
    own: int
    """How many rows, the first ones, are samples of the manifest; the rest are other samples of the same name."""

    def is_published_as(self, index: Index) -> bool:
        """True when `index` says the same: same samples, pixels and stamps, same quarantine.

        The order of rows counts too, unless the file has samples besides ours: then two manifests share it, and neither
        may make it be written anew each time the other has been used.
        """
        rows = positions_in(unique_index(index.sample_id), self.sample_id)
        if len(rows) != len(index.sample_id) or (rows == NOWHERE).any():
            return False
        if self.own == len(rows) and not np.array_equal(rows, np.arange(len(rows))):
            return False
        same = np.array_equal(index.digest[rows], self.digest) and np.array_equal(index.stamp[rows], self.stamp)
        bad = dict(zip(index.bad_id, zip(index.bad_stamp, index.bad_reason, strict=True), strict=True))
        return same and bad == dict(zip(self.bad_id, zip(self.bad_stamp, self.bad_reason, strict=True), strict=True))


def uncovered(ledger: Ledger, sample_ids: np.ndarray, stamps: np.ndarray | None) -> np.ndarray:
    """The samples that are neither embedded nor quarantined: (k,) object array of str."""
    found = ledger.find(sample_ids, stamps)
    bad = ledger.find_bad(sample_ids, stamps, found)
    return sample_ids[(found == NOWHERE) & (bad == NOWHERE)]


def make_plan(ledger: Ledger, sample_ids: np.ndarray, stamps: np.ndarray | None, *, prune: bool) -> Plan:
    """Rows for the embedded of `sample_ids` in their order, then (unless `prune`) for all other known samples.

    Raises:
        CacheError: samples are neither embedded nor quarantined, an id stands twice, or nothing is embedded at all.
    """
    left = uncovered(ledger, sample_ids, stamps)
    if len(left):
        raise CacheError(
            f"{len(left):,} of {len(sample_ids):,} samples are not embedded (e.g. {one_of(map(repr, left), most=3)});"
            " run `medprobe extract` again (every shard of it), it does only what is missing."
        )
    ids = sample_ids if prune else np.concatenate([sample_ids, ledger.others(sample_ids)])
    # The stamps speak of the manifest's samples; of any other the newest entry counts.
    entry = ledger.find(sample_ids, stamps)
    bad = ledger.find_bad(sample_ids, stamps, entry)
    if len(ids) > len(sample_ids):
        others = ids[len(sample_ids) :]
        other_entry = ledger.find(others, None)
        entry = np.concatenate([entry, other_entry])
        bad = np.concatenate([bad, ledger.find_bad(others, None, other_entry)])
    is_row = (entry != NOWHERE) & (bad == NOWHERE)
    is_bad = bad != NOWHERE
    if not is_row.any():
        reasons = [f"{ids[i]!r}: {ledger.bad_reason[bad[i]]}" for i in np.flatnonzero(is_bad)[:3]]
        raise CacheError(
            f"none of the {len(ids):,} samples could be embedded ({'; '.join(reasons)}); nothing is published."
        )
    return Plan(
        sample_id=ids[is_row],
        digest=ledger.digest[entry[is_row]],
        stamp=ledger.stamp[entry[is_row]],
        bad_id=ids[is_bad],
        bad_stamp=ledger.bad_stamp[bad[is_bad]],
        bad_reason=ledger.bad_reason[bad[is_bad]],
        own=int(is_row[: len(sample_ids)].sum()),
    )

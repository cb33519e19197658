"""Giving groups to the parts of a split so that every class is spread as asked and no group is torn."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np

_MASK = (1 << 64) - 1


def shuffle_keys(group_id: np.ndarray) -> np.ndarray:
    """(G,) uint64: a stable number for each group's name, to be mixed with a seed by `shuffled`."""
    digests = b"".join(blake2b(str(name).encode(), digest_size=8).digest() for name in group_id)
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def shuffled(keys: np.ndarray, seed: int, *, stream: int = 0) -> np.ndarray:
    """The order in which `seed` visits the groups: (G,) int64 positions.

    Each `stream` is an order of its own: 0 draws the parts (or the folds), 1 + 2 f the val of fold f, 2 + 2 f what a
    budget leaves of its train.

    A hash of name and seed rather than a generator's stream: the order is the same under every version of numpy
    (whose streams may change), and a patient who joins or leaves the cohort does not reshuffle the others.
    """
    mixed = _splitmix64(keys ^ _splitmix64(np.array([(seed + (stream << 32)) & _MASK], dtype=np.uint64)))
    return np.argsort(mixed, kind="stable")


def _splitmix64(values: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014, doi 10.1145/2714064.2660195), a bijection of 64 bits."""
    z = values + np.uint64(0x9E3779B97F4A7C15)  # array arithmetic wraps, which is meant
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def allocate(counts: np.ndarray, order: np.ndarray, fractions: np.ndarray, needed: np.ndarray) -> np.ndarray:
    """Assigns each group to one part.

    Args:
        counts: (G, C) int64, units of each class in each group (for multilabel: positives of each label).
        order: (G,) the random order in which equal groups are taken.
        fractions: (P,) float64 shares of the parts, summing to one.
        needed: (P,) bool, parts in which every class should occur.

    Returns:
        (G,) int64: the part of each group. A class that occurs in as many groups as there are needed parts occurs in
        each of them, unless groups of several classes stand in each other's way; it always occurs in the first part
        if that is needed.
    """
    if (counts.sum(axis=1) == 1).all():
        return _exact(counts.argmax(axis=1), order, fractions, needed)
    part = _iterative(counts, order, fractions, needed)
    return _mended(part, counts > 0, order, needed)


def deal(counts: np.ndarray, order: np.ndarray, folds: int) -> np.ndarray:
    """Assigns each group to one of `folds` equal folds, (G,) int64; arguments as for `allocate`.

    Where every group has one unit, folds differ by at most one unit, and so does each class between them.
    """
    if (counts.sum(axis=1) == 1).all():
        # Dealt like cards, class after class without starting anew: else all that is left over would go to one fold.
        fold = np.empty(len(counts), np.int64)
        fold[order[np.argsort(counts[order].argmax(axis=1), kind="stable")]] = np.arange(len(counts)) % folds
        return fold
    return allocate(counts, order, np.full(folds, 1 / folds), np.ones(folds, bool))


def _exact(label: np.ndarray, order: np.ndarray, fractions: np.ndarray, needed: np.ndarray) -> np.ndarray:
    """Stratification of groups of one unit: within each class the shares are met to less than one unit."""
    part = np.empty(len(label), np.int64)
    for c in np.unique(label):
        members = order[label[order] == c]
        part[members] = np.repeat(np.arange(len(fractions)), _shares(len(members), fractions, needed))
    return part


def _shares(count: int, fractions: np.ndarray, needed: np.ndarray) -> np.ndarray:
    """`count` in whole numbers by largest remainder, each needed part at least one where there are enough."""
    wanted = count * fractions
    shares = np.floor(wanted + 1e-9).astype(np.int64)
    # Of equal remainders the later part (test) takes the unit: it is the smaller one.
    for p in sorted(range(len(fractions)), key=lambda p: (shares[p] - wanted[p], -p))[: count - shares.sum()]:
        shares[p] += 1
    for p in np.flatnonzero(needed & (shares == 0)):
        richest = int(np.argmax(shares))
        if shares[richest] > 1:
            shares[richest] -= 1
            shares[p] += 1
    return shares


def _iterative(counts: np.ndarray, order: np.ndarray, fractions: np.ndarray, needed: np.ndarray) -> np.ndarray:
    """Iterative stratification (Sechidis et al. 2011, doi 10.1007/978-3-642-23808-6_10), over groups.

    The class with the fewest units left goes first; its groups, the largest first, go one by one to the part that
    lacks most of that class, then most units in all. Added here: when as few groups of the class are left as there are
    needed parts without it, only those parts are served.
    """
    sizes = np.maximum(counts.sum(axis=1), 1)
    lacking = np.outer(fractions, counts.sum(axis=0)).astype(np.float64)
    lacking_units = fractions * sizes.sum()
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    part = np.full(len(counts), -1, np.int64)
    has = np.zeros((len(fractions), counts.shape[1]), bool)

    def give(group: int, allowed: np.ndarray, want: np.ndarray) -> None:
        p = max(allowed, key=lambda p: (round(float(want[p]), 9), round(float(lacking_units[p]), 9), p))
        part[group] = p
        lacking[p] -= counts[group]
        lacking_units[p] -= sizes[group]
        has[p] |= counts[group] > 0

    everywhere = np.arange(len(fractions))
    left = counts.sum(axis=0)
    while left.any():
        c = int(np.argmin(np.where(left > 0, left, np.iinfo(np.int64).max)))
        groups = np.flatnonzero((part < 0) & (counts[:, c] > 0))
        groups = groups[np.lexsort((rank[groups], -counts[groups, c]))]
        for i, group in enumerate(groups):
            without = np.flatnonzero(needed & ~has[:, c])
            short = len(without) > 0 and len(groups) - i <= len(without)
            give(int(group), without if short else everywhere, lacking[:, c])
        left = counts[part < 0].sum(axis=0)
    for group in order[part[order] < 0]:  # units without any label
        give(int(group), everywhere, lacking_units)
    return part


def _mended(part: np.ndarray, has: np.ndarray, order: np.ndarray, needed: np.ndarray) -> np.ndarray:
    """Moves single groups to needed parts that got none of a class.

    A group of several classes goes where its rarest one sends it, and may leave a part without another. A move takes
    no class away from a needed part, but for the last resort of the first one: without a class it cannot be trained.
    """
    part = part.copy()
    parts = np.flatnonzero(needed)
    while any(_fetch(part, has, order, needed, int(p)) for p in parts):
        pass
    if needed[0]:
        while _fetch(part, has, order, needed, 0, at_any_cost=True):
            pass
    return part


def _fetch(
    part: np.ndarray, has: np.ndarray, order: np.ndarray, needed: np.ndarray, to: int, *, at_any_cost: bool = False
) -> bool:
    """Moves a group that brings part `to` a class it lacks, one of few other classes; False if there is none."""
    lacks = ~has[part == to].any(axis=0)
    for c in np.flatnonzero(lacks & has.any(axis=0)):
        groups = order[has[order, c]]
        alone = np.array([_only_one(part, has, g) if needed[part[g]] else 0 for g in groups])
        allowed = np.ones(len(groups), bool) if at_any_cost else alone == 0
        if allowed.any():
            best = np.lexsort((has[groups].sum(axis=1), alone, ~allowed))[0]
            part[groups[best]] = to
            return True
    return False


def _only_one(part: np.ndarray, has: np.ndarray, group: int) -> int:
    """How many classes the group's part has from this group alone."""
    return int((has[group] & (has[part == part[group]].sum(axis=0) == 1)).sum())

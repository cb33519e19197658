"""Stratified splits of groups: every class is divided by the given shares, and every group is in one part."""

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


def stratified_group_split(
    counts: np.ndarray, order: np.ndarray, fractions: np.ndarray, needed: np.ndarray
) -> np.ndarray:
    """Assigns each group to one part.

    Args:
        counts: (G, C) int64, units of each class in each group (for multilabel: positives of each label).
        order: (G,) the random order in which equal groups are taken.
        fractions: (P,) float64 shares of the parts, summing to one.
        needed: (P,) int64, minimum number of groups of each class in each part; 0 for no minimum.

    Returns:
        (G,) int64: the part of each group. A class that occurs in as many groups as are needed in all occurs in each
        part as often as is needed, unless groups of several classes prevent it; it always occurs in the
        first part if it is needed there.

    Examples:
        >>> counts = np.array([[1, 0], [1, 0], [0, 1], [0, 1]])  # four patients with one image each, of two classes
        >>> stratified_group_split(counts, np.arange(4), np.array([0.5, 0.5]), np.array([1, 1])).tolist()
        [0, 1, 0, 1]
    """
    if (counts.sum(axis=1) == 1).all():
        return _exact(counts.argmax(axis=1), order, fractions, needed)
    has = counts > 0
    part = _repaired(_iterative(counts, order, fractions, needed), has, order, needed)
    if needed[0]:
        while _fetch(part, has, order, np.minimum(needed, 1), 0, at_any_cost=True):
            pass
    return part


def assign_folds(counts: np.ndarray, order: np.ndarray, folds: int, *, needed: int) -> np.ndarray:
    """Assigns each group to one of `folds` equal folds, (G,) int64; arguments as for `stratified_group_split`.

    Where every group has one unit, folds differ by at most one unit, and so does each class between them. Where every
    group has one class, each fold has `needed` groups of every class that has so many for each. A class of n groups is
    in two folds at least, so that whichever is tested it can be trained on, if there are at most n (folds - 1) classes;
    beyond that only if groups of several classes do not prevent it.

    Examples:
        >>> counts = np.array([[1, 0], [1, 0], [0, 1], [0, 1]])  # four patients with one image each, of two classes
        >>> assign_folds(counts, np.arange(4), 2, needed=1).tolist()
        [0, 1, 0, 1]
    """
    if (counts.sum(axis=1) == 1).all():
        # Round robin through all classes: restarting at each class would give all remainders to one fold.
        fold = np.empty(len(counts), np.int64)
        fold[order[np.argsort(counts[order].argmax(axis=1), kind="stable")]] = np.arange(len(counts)) % folds
        return fold
    of_each, has = np.full(folds, needed), counts > 0
    fold = _repaired(_iterative(counts, order, np.full(folds, 1 / folds), of_each), has, order, of_each)
    return _in_two_at_least(fold, has, order, folds)


def _exact(label: np.ndarray, order: np.ndarray, fractions: np.ndarray, needed: np.ndarray) -> np.ndarray:
    """Stratification of groups of one unit: within each class the shares are met to less than one unit."""
    part = np.empty(len(label), np.int64)
    for c in np.unique(label):
        members = order[label[order] == c]
        part[members] = np.repeat(np.arange(len(fractions)), _shares(len(members), fractions, needed))
    return part


def _shares(count: int, fractions: np.ndarray, needed: np.ndarray) -> np.ndarray:
    """`count` in whole numbers by largest remainder, each part what it needs where there are enough."""
    wanted = count * fractions
    shares = np.floor(wanted + 1e-9).astype(np.int64)
    # Of equal remainders the later part (test) takes the unit: it is the smaller one.
    for p in sorted(range(len(fractions)), key=lambda p: (shares[p] - wanted[p], -p))[: count - shares.sum()]:
        shares[p] += 1
    for p in np.repeat(np.arange(len(shares)), np.maximum(needed - shares, 0)):
        richest = int(np.argmax(shares - needed))
        if shares[richest] > needed[richest]:
            shares[richest] -= 1
            shares[p] += 1
    return shares


def _iterative(counts: np.ndarray, order: np.ndarray, fractions: np.ndarray, needed: np.ndarray) -> np.ndarray:
    """Iterative stratification (Sechidis et al. 2011, doi 10.1007/978-3-642-23808-6_10), over groups.

    The class with the fewest units left goes first; its groups, the largest first, go one by one to the part that
    lacks most of that class, then most units in all. Added here: when as few groups of the class are left as are still
    needed somewhere, only parts in need are served.
    """
    sizes = np.maximum(counts.sum(axis=1), 1)
    lacking = np.outer(fractions, counts.sum(axis=0)).astype(np.float64)
    lacking_units = fractions * sizes.sum()
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    part = np.full(len(counts), -1, np.int64)
    owned = np.zeros((len(fractions), counts.shape[1]), np.int64)

    def give(group: int, allowed: np.ndarray, want: np.ndarray) -> None:
        p = max(allowed, key=lambda p: (round(float(want[p]), 9), round(float(lacking_units[p]), 9), p))
        part[group] = p
        lacking[p] -= counts[group]
        lacking_units[p] -= sizes[group]
        owned[p] += counts[group] > 0

    everywhere = np.arange(len(fractions))
    left = counts.sum(axis=0)
    while left.any():
        c = int(np.argmin(np.where(left > 0, left, np.iinfo(np.int64).max)))
        groups = np.flatnonzero((part < 0) & (counts[:, c] > 0))
        groups = groups[np.lexsort((rank[groups], -counts[groups, c]))]
        for i, group in enumerate(groups):
            wants = np.maximum(needed - owned[:, c], 0)
            short = 0 < wants.sum() >= len(groups) - i
            give(int(group), np.flatnonzero(wants) if short else everywhere, lacking[:, c])
        left = counts[part < 0].sum(axis=0)
    for group in order[part[order] < 0]:  # units without any label
        give(int(group), everywhere, lacking_units)
    return part


def _repaired(part: np.ndarray, has: np.ndarray, order: np.ndarray, needed: np.ndarray) -> np.ndarray:
    """Moves single groups to parts that need more of a class; no move leaves another part in need.

    A group of several classes goes where its rarest one sends it, and may leave a part without another. One group of
    every class in every part comes first, for a second one is worth less.
    """
    part = part.copy()
    for least in range(1, int(needed.max()) + 1):
        floor = np.minimum(needed, least)
        while any(_fetch(part, has, order, floor, int(p)) for p in np.flatnonzero(floor)):
            pass
    return part


def _fetch(
    part: np.ndarray, has: np.ndarray, order: np.ndarray, floor: np.ndarray, to: int, *, at_any_cost: bool = False
) -> bool:
    """Moves a group that brings part `to` a class of which it has too few; False if there is none that may be moved.

    Of several the one whose own part is left in need of the fewest classes, then the one of the fewest classes. `floor`
    (P,) is how many groups of each class a part needs; none leaves its part in need but `at_any_cost`.
    """
    owned = _owned(part, has, len(floor))
    for c in np.flatnonzero((owned[to] < floor[to]) & has.any(axis=0)):
        groups = order[has[order, c] & (part[order] != to)]
        cost = (has[groups] & (owned[part[groups]] <= floor[part[groups], None])).sum(axis=1)
        if len(groups) and (at_any_cost or cost.min() == 0):
            part[groups[np.lexsort((has[groups].sum(axis=1), cost))[0]]] = to
            return True
    return False


def _in_two_at_least(fold: np.ndarray, has: np.ndarray, order: np.ndarray, folds: int) -> np.ndarray:
    """Moves single groups, whatever it costs their folds, until no class is in one fold alone or no move helps."""

    def alone(fold: np.ndarray) -> np.ndarray:
        return np.flatnonzero((_owned(fold, has, folds) > 0).sum(axis=0) == 1)

    groups = np.arange(len(fold))
    while len(lone := alone(fold)):
        moves = [(g, to) for g in order[has[order][:, lone].any(axis=1)] for to in range(folds) if to != fold[g]]
        best = min((np.where(groups == g, to, fold) for g, to in moves), key=lambda moved: len(alone(moved)))
        if len(alone(best)) >= len(lone):
            break
        fold = best
    return fold


def _owned(part: np.ndarray, has: np.ndarray, parts: int) -> np.ndarray:
    """How many groups of each class each part has, (P, C)."""
    return np.stack([has[part == p].sum(axis=0) for p in range(parts)])

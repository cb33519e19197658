"""Ranks of backbones (or probes, or systems) over several runs, one a data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from ...base import ProbeError, one_of
from ..metrics.registry import Metric
from ..results.run import Run
from ..results.schemas import SYSTEM, SystemKey
from .friedman import Friedman, cliques, friedman_test, nemenyi_test, ranks_of
from .p_values import ALPHA, wilcoxon_test
from .pairing import COMPARISON_AXES, sides_of
from .summary import require_metric

_FEW_SETS = 6
"""Below so many data sets Wilcoxon's test cannot reach 0.05, and Friedman's distribution is rough."""


@dataclass(frozen=True, eq=False)
class Ranking:
    """How k backbones under one probe (or probes on one backbone) rank over N data sets."""

    between: str
    within: str
    """The probe, or the backbone, that all have; of systems nothing."""
    budget: str
    names: tuple[str, ...]
    """The best first."""
    datasets: tuple[str, ...]
    metrics: tuple[str, ...]
    """What each data set was judged by."""
    scores: np.ndarray
    """(N, k) mean over seeds, in the order of `datasets` and `names`."""
    mean_ranks: np.ndarray
    """(k,), rising; 1 would be the best of every data set."""
    friedman: Friedman | None
    """None for two, which need no test before the one of the pair."""
    test: str
    """Of pairs: `nemenyi`, or `wilcoxon` for two."""
    critical_difference: float
    """Mean ranks further apart than this differ significantly; NaN for two."""
    p: np.ndarray
    """(k, k) of pairs."""
    alpha: float
    notes: tuple[str, ...]

    @property
    def significant(self) -> np.ndarray:
        """(k, k) bool: which pairs differ significantly. None are unless Friedman's test finds that any differ."""
        any_differ = self.friedman is None or self.friedman.p < self.alpha
        return (self.p < self.alpha) & any_differ & ~np.eye(len(self.names), dtype=bool)

    def tied_with(self, place: int) -> list[str]:
        """The other names from which the one at `place` does not differ significantly."""
        apart = self.significant[place]
        return [name for at, name in enumerate(self.names) if at != place and not apart[at]]

    @property
    def cliques(self) -> list[tuple[int, int]]:
        """First and last place of each run of neighbours that do not differ significantly."""
        return cliques(self.mean_ranks, self.significant)

    def plot(self) -> Any:
        """The critical-difference diagram, a `matplotlib.figure.Figure`, drawn by `report` as those of runs are."""
        return import_module("...report.plots.critical_difference", __package__).draw_ranking(self).figure()


def rank_over_datasets(
    runs: Sequence[Run], *, between: str = "backbones", metric: str | None = None, alpha: float = ALPHA
) -> list[Ranking]:
    """Ranks backbones within each probe, probes on each backbone, or systems, over the data sets of several runs.

    Args:
        runs: one a data set.
        between: as for `compare`.
        metric: its name; each run's own by default, since ranks may mix metrics.
        alpha: chance of an error that the tests are held to.

    Returns:
        One ranking per probe (or backbone) and budget under which at least two are in every run.

    Raises:
        ProbeError: fewer than two runs, two of one data set, no such metric, or nothing that all runs share.

    Examples:
        >>> from medprobe.evaluate import rank_over_datasets
        >>> for ranking in rank_over_datasets(runs):
        ...     print(ranking.within, ranking.names, ranking.datasets)
        centroid ('timm:resnet50', 'timm:resnet18') ('lesions', 'moles')
        knn ('timm:resnet50', 'timm:resnet18') ('lesions', 'moles')
    """
    names = [str(run.info["dataset"]["name"]) for run in runs]
    if len(names) < 2:
        raise ProbeError(f"ranks need runs of at least two data sets, here is {one_of(names) or 'none'}; name more.")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ProbeError(
            f"ranks need one run a data set, there are several of {one_of(twice)}; leave one of each, or"
            " give others their own name, of arrays by `name=`."
        )
    metrics = [require_metric(run, metric) for run in runs]
    scores = pd.concat([_means(*one, between) for one in zip(runs, metrics, strict=True)], ignore_index=True)
    found = []
    for (within, budget), rows in scores.groupby(["within", "budget"], sort=True):
        wide = rows.pivot_table(index="dataset", columns="name", values="score", dropna=False).reindex(names)
        ranked = [str(name) for name in wide.columns[wide.notna().all(axis=0)]]
        if len(ranked) >= 2:
            notes = _notes(rows, wide, ranked, between)
            found.append(_ranking(wide[ranked], between, str(within), str(budget), metrics, alpha, notes))
    if not found:
        same = "".join(f" under the same {axis}" for axis in COMPARISON_AXES[between])
        raise ProbeError(
            f"no two {between} have a score{same} in all of {one_of(names)}, so nothing can be ranked. Probe the same"
            " ones on each data set."
        )
    return found


def _means(run: Run, metric: Metric, between: str) -> pd.DataFrame:
    """`within`, `name`, and of `SYSTEM`; with `score`, in which more is better, of every system."""
    scores = run.scores[(run.scores["split"] == "test") & (run.scores["metric"] == metric.name)]
    means = scores.groupby(list(SYSTEM), sort=True)["value"].mean().reset_index()
    sides = pd.DataFrame(sides_of(_of_any_spec(SystemKey.of_rows(means)), between), columns=["within", "name"])
    return pd.concat([sides, means], axis=1).assign(score=metric.sign * means["value"].astype("float64"))


def _of_any_spec(systems: Iterable[SystemKey]) -> list[SystemKey]:
    """The systems with the plain name of their backbone, where no other system of the run has that name.

    `NAME@FINGERPRINT` tells two specs of one run apart. Where images are normalised by the data set, or their size is
    its own, the fingerprint is another one in every data set, and no two of them would be ranked.
    """
    systems = list(systems)
    plain = [one._replace(backbone=one.backbone.removesuffix(f"@{one.fingerprint}"), fingerprint="") for one in systems]
    times = Counter(plain)
    return [short if times[short] == 1 else one for one, short in zip(systems, plain, strict=True)]


def _ranking(
    wide: pd.DataFrame,
    between: str,
    within: str,
    budget: str,
    metrics: Sequence[Metric],
    alpha: float,
    notes: Iterable[str],
) -> Ranking:
    """Of scores in which more is better: a row a data set, a column a name, none missing."""
    scores = wide.to_numpy(np.float64)
    means = ranks_of(scores).mean(axis=0)
    order = np.argsort(means, kind="stable")
    scores, means = scores[:, order], means[order]
    if len(order) == 2:
        p = wilcoxon_test(scores[:, 0] - scores[:, 1])
        friedman, test, critical, table = None, "wilcoxon", np.nan, np.array([[1.0, p], [p, 1.0]])
    else:
        friedman, test = friedman_test(scores), "nemenyi"
        critical, table = nemenyi_test(means, len(scores), alpha)
    return Ranking(
        between=between,
        within=within,
        budget=budget,
        names=tuple(wide.columns[order]),
        datasets=tuple(wide.index),
        metrics=tuple(metric.name for metric in metrics),
        scores=scores * np.array([[metric.sign] for metric in metrics]),
        mean_ranks=means,
        friedman=friedman,
        test=test,
        critical_difference=critical,
        p=table,
        alpha=alpha,
        notes=tuple(notes),
    )


def _notes(rows: pd.DataFrame, wide: pd.DataFrame, ranked: list[str], between: str) -> Iterator[str]:
    lacking = [str(name) for name in wide.columns if name not in ranked]
    if lacking:
        yield f"skipped, without a score in some data set: {one_of(lacking)}"
    if len(wide) < _FEW_SETS:
        yield f"{len(wide)} data sets: too few to find much"
    if between == "backbones":
        specs = rows[rows["name"].isin(ranked)].groupby("name")["fingerprint"].nunique()
        mixed = [str(name) for name in specs.index[specs > 1]]
        if mixed:
            yield f"embedded under several specs, not the same in each data set: {one_of(mixed)}"


def rankings_table(rankings: Sequence[Ranking]) -> pd.DataFrame:
    """The rankings as one table, a row per ranked name.

    Returns:
        `probe` or `backbone` (what all have; under the name `within` with `between`), `budget`, `rank` (place),
        `name`, `mean_rank`, `n_datasets`, and of the whole ranking `chi_square`, `p_chi_square`, `f`, `p_f`, `p`
        (Friedman; missing for two), `critical_difference`, `alpha`, `not_apart`: the names from which it does not
        differ significantly, and `note`, on the whole ranking.
    """
    rows = []
    for ranking in rankings:
        two = [] if ranking.friedman else ["of two: Wilcoxon's signed ranks, no Friedman and no critical difference"]
        tested = ranking.friedman._asdict() if ranking.friedman else dict.fromkeys(Friedman._fields, np.nan)
        for place, name in enumerate(ranking.names):
            rows.append({
                **_names_of(ranking), "rank": place + 1, "name": name, "mean_rank": ranking.mean_ranks[place],
                "n_datasets": len(ranking.datasets), **tested, "critical_difference": ranking.critical_difference,
                "alpha": ranking.alpha, "not_apart": "; ".join(ranking.tied_with(place)),
                "note": "; ".join([*two, *ranking.notes]),
            })  # fmt: skip
    return pd.DataFrame(rows)


def rank_pairs_table(rankings: Sequence[Ranking]) -> pd.DataFrame:
    """Every pair of every ranking: `a` and `b`, their mean ranks, the `test`, its `p`, and whether `told_apart`."""
    rows = [
        {
            **_names_of(ranking),
            "a": ranking.names[first],
            "b": ranking.names[second],
            "rank_a": ranking.mean_ranks[first],
            "rank_b": ranking.mean_ranks[second],
            "test": ranking.test,
            "p": ranking.p[first, second],
            "told_apart": bool(ranking.significant[first, second]),
        }
        for ranking in rankings
        for first, second in combinations(range(len(ranking.names)), 2)
    ]
    return pd.DataFrame(rows)


def _names_of(ranking: Ranking) -> dict[str, object]:
    return {"between": ranking.between, "within": ranking.within, "budget": ranking.budget}

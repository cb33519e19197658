"""Which backbone is better, and whether the data can tell."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import stdtr

from ...base import look_up
from ..resampling.protocols import FIXED_TEST
from ..resampling.train_size import FULL_TRAIN
from ..results.run import Run
from ..results.schemas import RESAMPLE
from .bootstrap import N_BOOTSTRAP
from .intervals import FEWEST_GROUPS, INTERVAL, Estimate, check_interval, interval_of_difference, jackknife_variance
from .p_values import CORRECTIONS, with_correction
from .pairing import COMPARISON_AXES, pairs
from .summary import MetricSamples, metric_samples, require_metric, seed_means

VERDICT_TESTS = {
    "corrected-t": "corrected resampled t-test",
    "jackknife": "paired jackknife over groups and seeds",
    "none": "no test",
}
"""What the verdict may rest on, by its name in the tables, in words."""


def compare(
    run: Run,
    between: str = "backbones",
    *,
    metric: str | None = None,
    confidence: float = 0.95,
    draws: int = N_BOOTSTRAP,
    interval: str = INTERVAL,
    correction: str = "holm",
) -> pd.DataFrame:
    """Compares every two backbones (and poolings) within each probe and budget, or others that `between` names.

    Both sides are paired on the same resamples and units.

    Args:
        run: the results.
        between: `backbones`, `probes` (on each backbone) or `systems` (of any backbone and probe).
        metric: its name; the run's own by default.
        confidence: of the interval.
        draws: of the bootstrap.
        interval: of `INTERVALS`.
        correction: of `CORRECTIONS`, for the number of rows.

    Returns:
        One row per probe (between probes: per backbone), budget and pair. `dataset`, `probe` or `backbone` (between
        systems neither), `budget`, `metric`, `a`, `b` (backbones, with `/pooling` where a backbone has several, probes,
        or both, as `vit with knn`); `mean_a`, `mean_b`;
        `difference` = a - b; `low`, `high`, its interval, paired by groups; `test` (`corrected-t` under holdout and
        kfold, `jackknife` where the test is fixed, `none`), `p`; `p_adjusted` over all rows by
        `correction`; `significant` (`p_adjusted` < 0.05); `n_seeds`; `note`, why there is no p-value or no interval,
        or why it is of another kind. docs/statistics.md says what the p-values mean.

    Raises:
        ProbeError: no such metric, interval, correction or kind of comparison.
        ReportError: the run's predictions do not fit its facts.

    Examples:
        >>> from medprobe.evaluate import compare
        >>> compare(run, draws=200)[["probe", "a", "b", "test"]]
              probe              a              b         test
        0  centroid  timm:resnet18  timm:resnet50  corrected-t
        1       knn  timm:resnet18  timm:resnet50  corrected-t
        >>> compare(run, "probes", draws=200)[["backbone", "a", "b"]]
                backbone         a    b
        0  timm:resnet18  centroid  knn
        1  timm:resnet50  centroid  knn
    """
    chosen = require_metric(run, metric)
    check_interval(interval, confidence, draws)
    look_up("correction", correction, CORRECTIONS)
    known = metric_samples(run, chosen, draws)
    sizes = _sizes(run)
    rows = [
        names | _compare(run, sizes, known[first], known[second], confidence, interval)
        for names, first, second in pairs([samples.system for samples in known], between)
    ]
    table = pd.DataFrame(rows, columns=["dataset", *COMPARISON_AXES[between], *_COLUMNS])
    return with_correction(table, correction)


_COLUMNS = [
    *("budget", "metric", "a", "b", "mean_a", "mean_b", "difference", "low", "high"),
    *("test", "p", "p_adjusted", "correction", "significant", "n_seeds", "note"),
]


def _compare(
    run: Run, sizes: pd.DataFrame, a: MetricSamples, b: MetricSamples, confidence: float, interval: str
) -> dict[str, object]:
    both = np.isfinite(a.values) & np.isfinite(b.values)
    differences = (a.values - b.values)[both]
    of_a, of_b = a.estimate(both), b.estimate(both)
    bounds = interval_of_difference(interval, of_a, of_b, confidence)
    test, p, note = _test(run, sizes, differences, (of_a, of_b), (a, b))
    return {
        "metric": a.metric.name,
        "mean_a": of_a.value,
        "mean_b": of_b.value,
        "difference": differences.mean() if both.any() else np.nan,
        "low": bounds.low,
        "high": bounds.high,
        "test": test,
        "p": p,
        "n_seeds": len(seed_means(a.values - b.values, a.seeds)),
        "note": "; ".join(part for part in (note, bounds.note) if part),
    }


def _test(
    run: Run,
    sizes: pd.DataFrame,
    differences: np.ndarray,
    estimates: tuple[Estimate, Estimate],
    sides: tuple[MetricSamples, MetricSamples],
) -> tuple[str, float, str]:
    """The test that the verdict rests on, its p-value, and a remark.

    Under holdout and kfold each resample has its own test units, and the corrected t speaks for both training and
    testing. Under official and external all seeds share one test: how they differ says nothing of other patients, so
    leaving out groups must.
    """
    if len(differences) == 0:
        return "none", np.nan, "not defined in any seed"
    a, b = estimates
    if run.info["protocol"] in FIXED_TEST:
        trained = run.retrieved is None
        left_out = a.left_out() - b.left_out()
        return "jackknife", *jackknife_test(differences, left_out, groups=a.effective_groups, trained=trained)
    # Of the side that was fitted on fewer units, where one was fitted again on train and val.
    ratio = max(_test_to_train(run, sizes, side) for side in sides)
    p = corrected_t_test(differences, ratio)
    if np.isnan(p):
        what = "fold" if run.info["protocol"] == "kfold" else "seed"
        why = f"one {what}" if len(differences) == 1 else f"all {what}s differ by the same"
        p, note = jackknife_test(differences, a.left_out() - b.left_out(), groups=a.effective_groups)
        return "jackknife", p, "; ".join(part for part in (f"{why}: no corrected t", note) if part)
    return "corrected-t", p, ""


def corrected_t_test(differences: np.ndarray, test_to_train: float) -> float:
    """Two-sided p-value of the corrected resampled t-test (Nadeau and Bengio 2003, doi 10.1023/A:1024068626366).

    Args:
        differences: (J,) paired differences, one a resample.
        test_to_train: units tested over units trained on.

    Returns:
        The p-value; 1 where all differences are zero; NaN where there is one, or they are all equal and not zero: then
        there is no variance to test against.
    """
    count = len(differences)
    if count and not differences.any():
        return 1.0
    if count < 2 or np.ptp(differences) <= 1e-12 * np.abs(differences).max():
        return np.nan
    error = np.sqrt((1 / count + test_to_train) * differences.var(ddof=1))
    return float(2 * stdtr(count - 1, -abs(differences.mean()) / error))


def jackknife_test(
    differences: np.ndarray, left_out: np.ndarray, *, groups: float, trained: bool = True
) -> tuple[float, str]:
    """Two-sided p-value of the mean difference over seeds, against both its sources of error.

    The error of testing on these groups is the jackknife's; that of training on these subsets is the variance of one
    seed's difference, undivided, since the subsets of all seeds are mostly the same. The ratio is held against t.

    Args:
        differences: (J,) one a seed.
        left_out: (B,) the mean difference with one block of groups left out at a time.
        groups: the effective number in the test; one less is the degrees of freedom.
        trained: whether something was fitted, so that one seed leaves an error out.

    Returns:
        The p-value, NaN where fewer than ten groups or undefined values leave too little to go by; and a remark.
    """
    if not differences.any() and not np.nan_to_num(left_out).any():
        return 1.0, ""
    if round(groups) < FEWEST_GROUPS:
        return np.nan, f"no test: as good as {groups:.0f} test groups, fewer than {FEWEST_GROUPS}"
    if not np.isfinite(left_out).all():
        return np.nan, "no test: not defined without one of the groups"
    training = differences.var(ddof=1) if len(differences) > 1 else 0.0
    error = np.sqrt(jackknife_variance(left_out) + training)
    alone = trained and len(differences) == 1
    note = "one seed: the error of training is not in the p-value" if alone else ""
    if error <= 1e-12 * abs(differences.mean()):
        # Every group gives the same difference: all signs agree, and no more is known.
        return float(2.0 ** (1 - groups)), note
    return float(2 * stdtr(groups - 1, -abs(differences.mean()) / error)), note


def _sizes(run: Run) -> pd.DataFrame:
    """A row of the scores for each resample that was fitted on all of train, by seed and fold."""
    scores = run.scores
    return scores[scores["budget"] == FULL_TRAIN].drop_duplicates(list(RESAMPLE)).set_index(list(RESAMPLE))


def _test_to_train(run: Run, sizes: pd.DataFrame, side: MetricSamples) -> float:
    """Units tested over units that the tested model was fitted on, mean over resamples; 1/(k - 1) for k folds.

    The ratio stands for how much two resamples have in common. What a budget leaves to train on says nothing of that:
    there it is taken from the share of the data that a resample tests.
    """
    settings = run.info["protocol_settings"]
    if side.system.budget != FULL_TRAIN:
        share = 1 / settings["folds"] if run.info["protocol"] == "kfold" else settings["test"]
        return share / (1 - share)
    drawn = {(p.seed, p.fold) for p in side.predicted}
    sizes = sizes[sizes.index.isin(drawn)]
    fitted = sizes["n_train"] + (sizes["n_val"] if run.info["probes"][side.system.probe]["refit"] else 0)
    return float((sizes["n_test"] / fitted).mean())

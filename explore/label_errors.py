"""Which labels may be wrong, by confident learning (Northcutt et al. 2021, JAIR 70; arXiv 1911.00068) of cleanlab."""

from __future__ import annotations

import warnings

import numpy as np

from ..base import MedprobeWarning
from ..base.text import install_command
from .judged import Judged


def suspected_labels(judged: Judged) -> np.ndarray | None:
    """Which of n labels are suspected to be wrong: (n,) bool; None, with a warning, where cleanlab is not installed.

    cleanlab's own defaults: off the diagonal of the confident joint, pruned by the noise rate of each pair of classes.
    Its probabilities must be out of sample, which those of `Judged` are.
    """
    try:
        from cleanlab.filter import find_label_issues
    except ImportError:
        warnings.warn(
            f"label errors were not looked for: cleanlab is not installed. {install_command('errors')}",
            MedprobeWarning,
            stacklevel=2,
        )
        return None
    if len(np.unique(judged.y)) < 2:
        return np.zeros(len(judged.y), bool)  # with one class there is nothing to be mistaken for
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of rare classes, in which it flags none
        return np.asarray(find_label_issues(judged.y, judged.proba, n_jobs=1), bool)

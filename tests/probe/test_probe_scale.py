"""Embeddings as large as memory: read in place, never copied."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

_CODE = """
import json, resource, sys
import numpy as np
from medprobe.probe import PROBES, Block, Resample, find_metric
from medprobe.probe.workers import JoblibWorkers

rows, width = map(int, sys.argv[1:])
rng = np.random.default_rng(0)
X = np.empty((rows, width), np.float32)
truth = rng.standard_normal(width).astype(np.float32)
y = np.empty(rows, np.int64)
for start in range(0, rows, 10_000):
    part = slice(start, start + 10_000)
    rng.standard_normal(out=X[part], dtype=np.float32)
    y[part] = X[part] @ truth + 10 * rng.standard_normal(min(10_000, rows - start)) > 0
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
cuts = np.array_split(np.arange(rows), [int(0.7 * rows), int(0.8 * rows)])
block = Block(X, y, (Resample(0, *cuts),), "binary", ("a", "b"), find_metric("roc_auc"), refit=True)
kind = PROBES["logreg"].configured(C=[1e-6, 1e-5, 1e-4])
(outcome,) = kind.solve(block, JoblibWorkers(1))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
right = float(((outcome.test_proba[:, 1] > 0.5) == y[cuts[2]]).mean())
print(json.dumps({"matrix": X.nbytes, "peak": peak * 1024, "right": right, "converged": outcome.converged}))
"""


@pytest.mark.slow
def test_a_million_embeddings_are_probed_in_little_more_than_their_own_memory() -> None:
    words = [sys.executable, "-c", _CODE, "1000000", "768"]
    told = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    assert told["converged"]
    assert told["right"] > 0.85
    assert told["peak"] <= 1.6 * told["matrix"], told

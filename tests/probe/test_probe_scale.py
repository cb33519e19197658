"""Embeddings as large as memory: read in place, never copied."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from medprobe.cache import CacheDraft, EmbeddingCache, EmbeddingSpec
from medprobe.manifests import DatasetCard, Manifest

_NIGHTLY = os.environ.get("CI_NIGHTLY") == "1"
_WIDTH = 768

_PEAK = """
from medprobe.probe.logistic_solver import rows

rows._HELD = 0  # fewer rows than a gigabyte would be copied, since that is little beside a matrix as large as memory

def peak():
    \"\"\"Bytes; of this program alone, where `ru_maxrss` begins with what its parent had.\"\"\"
    with open("/proc/self/status") as status:
        return next(1024 * int(line.split()[1]) for line in status if line.startswith("VmHWM"))
"""
"""Before the code of a test, whose imports take memory too."""

_CODE = """
import json, sys
import numpy as np
from medprobe.evaluate import Resample, find_metric
from medprobe.probe import PROBES, ProbeTask
from medprobe.probe.engines.parallel import Workers

before, (rows, width) = peak(), map(int, sys.argv[1:])
rng = np.random.default_rng(0)
X = np.empty((rows, width), np.float32)
truth = rng.standard_normal(width).astype(np.float32)
y = np.empty(rows, np.int64)
for start in range(0, rows, 10_000):
    part = slice(start, start + 10_000)
    rng.standard_normal(out=X[part], dtype=np.float32)
    y[part] = X[part] @ truth + 10 * rng.standard_normal(min(10_000, rows - start)) > 0
cuts = np.array_split(np.arange(rows), [int(0.7 * rows), int(0.8 * rows)])
block = ProbeTask(X, y, (Resample(0, *cuts),), "binary", ("a", "b"), find_metric("roc_auc"), refit=True)
kind = PROBES["logreg"].configured(C=[1e-6, 1e-5, 1e-4])
(outcome,) = kind.solve(block, Workers(1))
right = float(((outcome.test_proba[:, 1] > 0.5) == y[cuts[2]]).mean())
print(json.dumps({"matrix": X.nbytes, "peak": peak() - before, "right": right, "converged": outcome.converged}))
"""


_WHOLE = """
import json, sys
from medprobe.cache import EmbeddingCache
from medprobe.manifests import Manifest
from medprobe.probe import run_probes

before, manifest = peak(), Manifest.load(sys.argv[1])
caches = [EmbeddingCache.open(path) for path in sys.argv[2:]]
run = run_probes(manifest, caches, probes=["logreg:C=[1e-6,1e-5]"], seeds=[0], n_jobs=2, progress=False)
scores = run.scores.query("split == 'test' and metric == 'accuracy'")["value"]
print(json.dumps({"peak": peak() - before, "right": scores.tolist(), "converged": bool(run.scores["converged"].all())}))
"""

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak is read from /proc")


def _measured(code: str, *words: object) -> dict:
    ran = subprocess.run([sys.executable, "-c", _PEAK + code, *map(str, words)], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@pytest.mark.slow
def test_embeddings_are_probed_in_little_more_than_their_own_memory() -> None:
    message = _measured(_CODE, 1_000_000 if _NIGHTLY else 200_000, _WIDTH)
    assert message["converged"]
    assert message["right"] > 0.85
    assert message["peak"] <= 1.6 * message["matrix"], message


@pytest.mark.slow
def test_a_run_reads_its_caches_one_after_another_without_copying_any(
    tmp_path: Path, spec_of: Callable[..., EmbeddingSpec]
) -> None:
    """Two backbones, so that a matrix kept while the next is read would show; rows in another order than the ids."""
    rng, rows = np.random.default_rng(0), 500_000 if _NIGHTLY else 200_000
    ids = np.array([f"{i:07d}" for i in rng.permutation(rows)], dtype=object)
    truth = rng.standard_normal(_WIDTH).astype(np.float32)
    labels = np.empty(rows, bool)
    specs = [spec_of(("cls",), backbone=f"net-{p}", precision=p) for p in ("fp32", "bf16")]
    caches = [_published(tmp_path, ids, truth, labels, spec) for spec in specs]
    assert [cache.info["dtypes"]["cls"] for cache in caches] == ["float32", "float16"]
    table = pd.DataFrame({"sample_id": ids, "path": "x.png", "label": np.where(labels, "ill", "healthy")})
    card = DatasetCard(name="large", task="binary", classes=["healthy", "ill"])
    manifest = Manifest(table.sort_values("sample_id"), card).save(tmp_path / "large.parquet")
    message = _measured(_WHOLE, manifest.path, *(cache.path for cache in caches))
    assert message["converged"]
    assert min(message["right"]) > 0.85
    assert message["peak"] <= 1.6 * 4 * rows * _WIDTH, message


def _published(
    store: Path, ids: np.ndarray, truth: np.ndarray, labels: np.ndarray, spec: EmbeddingSpec
) -> EmbeddingCache:
    """The same vectors for every spec; fills in the `labels` that follow from them."""
    rng = np.random.default_rng(1)
    with CacheDraft.open(store, "large", spec, segment_rows=50_000) as draft:
        for start in range(0, len(ids), 10_000):
            part = slice(start, start + 10_000)
            X = rng.standard_normal((10_000, len(truth)), dtype=np.float32)
            labels[part] = X @ truth + 10 * rng.standard_normal(10_000) > 0
            number = np.arange(start, start + 10_000)
            draft.append(ids[part], np.array([f"{n:032x}" for n in number]), number, {"cls": X})
        return draft.publish(ids, stamps=np.arange(len(ids)), device="cpu")

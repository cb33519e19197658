"""A small made-up cohort whose vectors follow from its pixels, as a deterministic network's would."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from medprobe.cache import CacheDraft, EmbeddingCache, EmbeddingSpec, TransformSpec

DIMS = {"cls": 24, "mean": 7}


@dataclass
class ProbeData:
    """Samples with an id, the number of their pixels, and a source stamp; batches of them go through a fake network."""

    ids: list[str]
    content: list[int]
    stamps: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.stamps = self.stamps or [1000 + number for number in self.content]

    @classmethod
    def of(cls, count: int, start: int = 0) -> ProbeData:
        return cls([f"images/é {i:04d}.png" for i in range(start, start + count)], list(range(start, start + count)))

    @property
    def digests(self) -> list[str]:
        return [self.digest(row) for row in range(len(self.ids))]

    def digest(self, row: int) -> str:
        return f"{self.content[row] + 1:032x}"

    def vectors(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        made = [np.random.default_rng(self.content[row]).standard_normal(sum(DIMS.values())) for row in rows]
        both = np.array(made, dtype=np.float32).reshape(len(rows), sum(DIMS.values()))
        return {"cls": both[:, : DIMS["cls"]], "mean": both[:, DIMS["cls"] :]}

    def embed(self, draft: CacheDraft, rows: Any = None, batch: int = 16) -> int:
        """Does what the extractor does for `rows` (all): decodes what is missing, embeds what is new. Counts both."""
        rows = np.arange(len(self.ids)) if rows is None else np.asarray(rows)
        todo = rows[draft.missing([self.ids[r] for r in rows], [self.stamps[r] for r in rows])]
        embedded = 0
        for start in range(0, len(todo), batch):
            part = todo[start : start + batch]
            known = draft.has_content([self.digest(r) for r in part])
            old, new = part[known], part[~known]
            draft.append_known(*self.columns(old))
            draft.append(*self.columns(new), self.vectors(new))
            embedded += len(new)
        return embedded

    def columns(self, rows: np.ndarray) -> tuple[list[str], list[str], list[int]]:
        return [self.ids[r] for r in rows], [self.digest(r) for r in rows], [self.stamps[r] for r in rows]

    def publish(self, store: Path, spec: EmbeddingSpec, **options: Any) -> EmbeddingCache:
        with CacheDraft.open(store, "cohort", spec, segment_rows=max(20, len(self.ids) // 5)) as draft:
            self.embed(draft)
            return draft.publish(self.ids, stamps=self.stamps, **options)


def _spec(**changes: Any) -> EmbeddingSpec:
    transform = {
        "size": (224, 224),
        "resize": "short-side",
        "resize_to": 256,
        "interpolation": "bicubic",
        "mean": (0.5, 0.5, 0.5),
        "std": (0.25, 0.25, 0.25),
    }
    transform |= {name: changes.pop(name) for name in list(changes) if name in transform or name == "colour"}
    fields = {
        "backbone": "hf:facebook/dinov2-base",
        "model": "hf:facebook/dinov2-base",
        "weights_digest": "0" * 64,
        "poolings": ("cls", "mean"),
        "precision": "fp32",
    }
    return EmbeddingSpec(transform=TransformSpec(**transform), **(fields | changes))


@pytest.fixture(scope="session")
def make_spec() -> Callable[..., EmbeddingSpec]:
    """Makes a spec with some fields changed."""
    return _spec


@pytest.fixture(scope="session")
def cohort_of() -> Callable[..., ProbeData]:
    """`cohort_of(count, start)`."""
    return ProbeData.of


@pytest.fixture(scope="session")
def cohort_type() -> type[ProbeData]:
    return ProbeData


@pytest.fixture
def spec() -> EmbeddingSpec:
    return _spec()

"""What runs a network: torch anywhere, OpenVINO on CPUs.

In: a network with its adapter, and the spec that says how to run it. Out: an `Embedder`, which turns uint8 batches into
vectors, and the spec as it came true. A further runtime is one file and one case in `make_embedder.py`.
"""

from __future__ import annotations

from .interface import Embedder
from .make_embedder import make_embedder

__all__ = ["Embedder", "make_embedder"]

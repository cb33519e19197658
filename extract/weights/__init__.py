"""Weights: where they are, how they are fetched and pinned, and how their tensors are read without running anything.

In: an `Entry`'s weights. Out: a mapping of tensor names to tensors, in the architecture's own names.
"""

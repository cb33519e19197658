"""Which units each seed trains, validates and tests on.

In: the units of a manifest. Out: one `Resample` per seed and fold.
"""

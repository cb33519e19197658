"""How each probe solves all resamples of one feature matrix at once.

In: a task (features, labels, resamples). Out: one fit result per resample.
"""

"""Results on disk: scores, predictions, timings and `run.json`.

In: what was predicted for each resample. Out: a `Run`, saved and loaded as a folder.
"""

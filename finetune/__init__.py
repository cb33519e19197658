"""Images to results with the backbone partly or wholly unfrozen, on the resamples and scores of the frozen probes.

In: a manifest, a backbone and a mode such as `partial:2`. Out: a `Run`, as a probe gives it.
Torch is imported when a name that needs it is first requested.
"""

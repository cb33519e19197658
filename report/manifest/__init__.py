"""The page of a manifest: examples, counts, sizes, intensities.

In: a manifest and the statistics of its images. Out: `manifest.html`, a montage.
"""

"""Statistics of each image: size, brightness, a small picture; kept between runs.

In: a manifest. Out: one row of numbers per image.
"""

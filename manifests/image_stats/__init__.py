"""Statistics of each image: size, brightness, hashes; kept between runs.

In: a manifest. Out: one row of numbers per image.
"""

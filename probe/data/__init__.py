"""Caches and a manifest to one matrix of features per backbone and pooling.

In: a manifest and its caches. Out: units, features, subgroups and warnings about the data.
"""

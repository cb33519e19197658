"""Embeddings that other programs computed, and caches for other programs.

In: files and folders of vectors, in common formats and the layouts of other tools. Out: a published cache whose spec
says that it was imported; from any cache, the same formats.
"""

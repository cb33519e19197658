"""Figures drawn with matplotlib.

In: tables and curves. Out: matplotlib figures.
"""

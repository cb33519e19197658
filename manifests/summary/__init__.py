"""Counts of classes, groups and attributes, and what to warn of.

In: a manifest. Out: tables and sentences.
"""

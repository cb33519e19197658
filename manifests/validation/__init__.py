"""Findings about a manifest: their type, their codes, and the structural checks.

In: a table and a card. Out: findings with a code, a severity and rows.
"""

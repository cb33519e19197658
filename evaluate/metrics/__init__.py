"""Metrics of predictions: scores, per-class scores, calibration.

In: labels and predicted probabilities. Out: numbers, with the reason where there is none.
"""

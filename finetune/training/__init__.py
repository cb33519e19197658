"""Recipes, losses and the loop that trains one network on one resample.

In: a network, its inputs and a resample. Out: probabilities of val and test, and curves.
"""

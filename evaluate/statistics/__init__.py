"""Statistics of a run: summaries, intervals, comparisons, ranks, subgroups.

In: a `Run` with its stored predictions. Out: tables; nothing is fitted again.
"""

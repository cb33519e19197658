"""The report of a run: verdict, figures, tables, methods, one page.

In: a run folder. Out: `report.html`, `figures/`, `tables/`.
"""

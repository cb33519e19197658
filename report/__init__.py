"""Results to something one can read and cite: a verdict in plain words, figures, tables, one page.

In: the folder of a run. Out: `report.html`, which loads and runs nothing, `figures/` and `tables/` beside it; of
several runs, the diagram of their ranks.
Nothing is fitted here and no score is computed otherwise than in the probe room, so report and results cannot disagree.
"""

from .making import Report, make_report, write_report
from .ranks import draw_ranking
from .verdict import Conclusion

__all__ = ["Conclusion", "Report", "draw_ranking", "make_report", "write_report"]

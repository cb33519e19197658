"""Results to something one can read and cite: a verdict in plain words, figures, tables, one page.

In: the folder of a run, or a manifest. Out: `report.html`, which loads and runs nothing, `figures/` and `tables/`
beside it; of several runs, the diagram of their ranks; of a manifest, the page of what is in it.
Nothing is fitted here and no score is computed otherwise than in the probe room, so report and results cannot disagree.
"""

from .making import Report, make_report, write_report
from .manifest_page import write_manifest_page
from .ranks import draw_ranking
from .verdict import Conclusion

__all__ = ["Conclusion", "Report", "draw_ranking", "make_report", "write_manifest_page", "write_report"]

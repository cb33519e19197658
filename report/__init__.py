"""Results to something one can read and cite: a verdict in plain words, figures, tables, one page.

In: the folder of a run, or a manifest. Out: `report.html`, which loads and runs nothing, `figures/` and `tables/`
beside it; of several runs, the diagram of their ranks; of a manifest, the page of what is in it.
Nothing is fitted here and no score is computed otherwise than in the probe room, so report and results cannot disagree.
"""

from .manifest.montage import draw_montage
from .manifest.page import write_manifest_page
from .plots.critical_difference import draw_ranking
from .run.build import Report, make_report
from .run.verdict import Conclusion
from .run.views import RunPlots

__all__ = [
    "Conclusion",
    "Report",
    "RunPlots",
    "draw_montage",
    "draw_ranking",
    "make_report",
    "write_manifest_page",
]

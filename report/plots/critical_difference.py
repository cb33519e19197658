"""The critical-difference diagram: mean ranks on a line, and bars over those that do not differ significantly."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...base.text import shortened
from ...evaluate.statistics.ranking import Ranking
from ..elements.figure import ReportFigure
from ..elements.theme import LIGHT, new_figure
from .scores import WIDTH

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LINE = 0.24
"""Inches between names."""
_BAR = 0.11
"""Inches between bars."""
_MIDDLE = (0.36, 0.64)
"""Where the line of ranks is, as shares of the width; names are on both sides."""
_LONGEST = 25
"""Letters of a name that fit next to it."""


def draw_ranking(ranking: Ranking) -> ReportFigure:
    """The critical-difference diagram of a ranking (Demsar 2006); equal rankings, equal bytes.

    Examples:
        >>> from medprobe.evaluate import rank_over_datasets
        >>> from medprobe.report import draw_ranking
        >>> drawn = draw_ranking(rank_over_datasets(runs)[0])
        >>> drawn.svg[:5], drawn.png[1:4]
        (b'<?xml', b'PNG')
    """
    return ReportFigure("ranks", "", "", "", lambda: ranking_figure(ranking))


def ranking_figure(ranking: Ranking) -> Figure:
    """Mean ranks, the best on the left, with the critical difference to scale and a bar over each run of equals."""
    count, bars = len(ranking.names), ranking.cliques
    on_left = (count + 1) // 2
    below = 0.16 + _BAR * len(bars)
    top, depth = 0.85, below + _LINE * on_left + 0.1
    figure = new_figure(WIDTH, top + depth)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 1), ylim=(-depth, top))
    axes.axis("off")
    _rule(axes, ranking)
    for place, (first, last) in enumerate(bars):
        ends = [_across(ranking, ranking.mean_ranks[at]) for at in (first, last)]
        height = -0.12 - _BAR * place
        axes.plot([ends[0] - 0.006, ends[1] + 0.006], [height, height], color=LIGHT.accent(0), linewidth=3.2, zorder=3)
    for place in range(count):
        left = place < on_left
        line = place if left else count - 1 - place
        _name(axes, ranking, place, -(below + _LINE * (line + 0.5)), left=left)
    return figure


def _across(ranking: Ranking, rank: float) -> float:
    """Where a rank stands, as a share of the figure's width."""
    low, high = _MIDDLE
    return low + (high - low) * (rank - 1) / (len(ranking.names) - 1)


def _rule(axes: Axes, ranking: Ranking) -> None:
    count = len(ranking.names)
    axes.plot(_MIDDLE, [0, 0], color=LIGHT.ink, linewidth=1.0)
    step = max(1, count // 10)
    for rank in range(1, count + 1):
        x, named = _across(ranking, rank), (rank - 1) % step == 0
        axes.plot([x, x], [0, 0.07 if named else 0.04], color=LIGHT.ink, linewidth=0.8)
        if named:
            axes.text(x, 0.1, str(rank), ha="center", va="bottom", fontsize=8)
    judged = f"mean rank over {len(ranking.datasets)} data sets,\n1 is best"
    axes.text(0.985, 0.42, judged, ha="right", va="center", fontsize=8, color=LIGHT.quiet)
    # A difference beyond the whole line separates nothing, and is not drawn over the words.
    if ranking.critical_difference <= count - 1:
        start, end = _MIDDLE[0], _across(ranking, 1 + ranking.critical_difference)
        axes.plot([start, end], [0.42, 0.42], color=LIGHT.ink, linewidth=1.0)
        for x in (start, end):
            axes.plot([x, x], [0.38, 0.46], color=LIGHT.ink, linewidth=1.0)
        label = f"critical difference {ranking.critical_difference:.2f}"
        axes.text((start + end) / 2, 0.49, label, ha="center", va="bottom", fontsize=8)


def _name(axes: Axes, ranking: Ranking, place: int, y: float, *, left: bool) -> None:
    rank = float(ranking.mean_ranks[place])
    x, edge = _across(ranking, rank), _MIDDLE[0] - 0.02 if left else _MIDDLE[1] + 0.02
    axes.plot([x, x, edge], [0, y, y], color=LIGHT.quiet, linewidth=0.8, zorder=1)
    name = shortened(ranking.names[place], _LONGEST)
    text = f"{name}  {rank:.2f}" if left else f"{rank:.2f}  {name}"
    start = edge - 0.006 if left else edge + 0.006
    axes.text(start, y, text, ha="right" if left else "left", va="center", fontsize=7.5)

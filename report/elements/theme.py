"""How figures look, the colours of pages, and how figures become the same bytes every time."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from ...base import MedprobeWarning

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PNG_DPI = 200
_OTHER_SCRIPTS = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans CJK KR", "Source Han Sans SC", "WenQuanYi Zen Hei"),
    *("Microsoft YaHei", "Yu Gothic", "Malgun Gothic", "PingFang SC", "Hiragino Sans", "Apple SD Gothic Neo"),
)
"""Fonts for Chinese, Japanese and Korean, as Linux, Windows and macOS have them."""
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.5)), (0, (5, 1.5, 1.5, 1.5)))


@dataclass(frozen=True)
class Theme:
    """Colours of a figure. `accents` stay apart for colour-blind readers."""

    paper: str
    ink: str
    quiet: str
    """Secondary text, per-seed marks."""
    faint: str
    """Grid lines, references."""
    accents: tuple[str, ...]

    def accent(self, place: int) -> str:
        """The colour of the `place`-th backbone; beyond the palette it begins again (`dash` tells them apart)."""
        return self.accents[place % len(self.accents)]

    def dash(self, place: int) -> Any:
        """The line style of the `place`-th backbone: no two backbones differ by colour alone."""
        return _DASHES[place % len(_DASHES)]


# Okabe and Ito 2008, "Color universal design"; its yellow is left out on white, where it cannot be seen.
LIGHT = Theme(
    paper="#ffffff",
    ink="#1a1d21",
    quiet="#565d66",
    faint="#d9dde2",
    accents=("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#4d4d4d"),
)
DARK = Theme(
    paper="#171a1f",
    ink="#e8eaed",
    quiet="#a9b0b9",
    faint="#3a4048",
    accents=("#56B4E9", "#F08A3C", "#2CC295", "#DE93BD", "#F0E442", "#8FA8FF", "#c8c8c8"),
)

MARKERS = ("o", "s", "D", "^", "v", "P")
"""One shape a probe, in the order of the run."""


@contextmanager
def drawing(theme: Theme) -> Iterator[None]:
    """Sets matplotlib's defaults for the block and puts the caller's back; no figure manager, no window, no backend."""
    import matplotlib as mpl

    with mpl.rc_context():
        # A reader's own matplotlibrc must not change what the same run looks like.
        mpl.rcdefaults()
        mpl.rcParams.update(cast(Any, _settings(theme)))
        yield


def _settings(theme: Theme) -> dict[str, Any]:
    from matplotlib.font_manager import fontManager

    installed = set(fontManager.get_font_names())
    return {
        # The first comes with matplotlib, so the same glyphs everywhere.
        "font.family": ["DejaVu Sans", *(name for name in _OTHER_SCRIPTS if name in installed)],
        "font.size": 8.5,
        "axes.titlesize": 9,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.labelsize": 8.5,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": theme.quiet,
        "axes.linewidth": 0.7,
        "axes.facecolor": theme.paper,
        "axes.labelcolor": theme.ink,
        "axes.axisbelow": True,
        "figure.facecolor": theme.paper,
        "savefig.facecolor": theme.paper,
        "text.color": theme.ink,
        "text.parse_math": False,  # a dollar in the name of a class is a dollar
        "xtick.color": theme.quiet,
        "ytick.color": theme.quiet,
        "xtick.labelcolor": theme.ink,
        "ytick.labelcolor": theme.ink,
        "xtick.labelsize": 8,
        "ytick.labelsize": 8,
        "grid.color": theme.faint,
        "grid.linewidth": 0.6,
        "legend.frameon": False,
        "legend.fontsize": 8,
        "lines.solid_capstyle": "round",
        "svg.fonttype": "path",
        "svg.hashsalt": "medprobe",
        "path.simplify": False,
    }


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of `width` x `height` inches that lays itself out."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def figure_bytes(figure: Figure, kind: str) -> bytes:
    """The figure as `svg` or `png`; equal figures give equal bytes (no date, no program name, fixed ids).

    Characters that DejaVu Sans lacks are drawn with the first of `_OTHER_SCRIPTS` that is installed and has them. Where
    none has, a `MedprobeWarning` says so, and they are boxes; the tables have them right.
    """
    drawn, missing = _saved(figure, kind)
    if missing:
        characters = "".join(map(chr, sorted(missing)[:10]))
        warnings.warn(
            f'no font for figures has "{characters}", so they show boxes in their place; install one that has them, '
            "Noto Sans CJK for Chinese, Japanese and Korean, and draw them again",
            MedprobeWarning,
            stacklevel=2,
        )
    return drawn


def _saved(figure: Figure, kind: str) -> tuple[bytes, set[int]]:
    """The file, and the code points of the characters that are boxes in it."""
    stamps = dict.fromkeys(("Date", "Creator", "Format", "Type") if kind == "svg" else ("Software",))
    buffer = io.BytesIO()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        figure.savefig(buffer, format=kind, dpi=PNG_DPI, metadata=stamps)
    missing = set()
    for warning in caught:
        if number := re.match(r"Glyph (\d+) .*missing from font", str(warning.message)):
            missing.add(int(number[1]))
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return buffer.getvalue(), missing


def place_rows(axes: Axes, places: Sequence[float], names: Sequence[str], *, top: float, bottom: float) -> None:
    """Makes the y axis a list of names, read from the top, without ticks."""
    axes.set_yticks(list(places), list(names))
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_ylim(bottom, top)

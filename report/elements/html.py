"""Templates and figures to HTML: one file that loads and runs nothing, in which all that is of the data is escaped."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from ...base.text import printable
from .figure import ReportFigure
from .theme import DARK, LIGHT, Theme

_PERCENT = re.compile(r"(\d) %")
"""A number and its sign, which no line break shall part."""


def render(template: str, content: Mapping[str, Any]) -> str:
    """The HTML of a template of this room under `content`, with the style sheet and the colours of all pages."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup

    # Every name comes from data, so everything is escaped but what is marked as ours.
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FunctionLoader(_resource),
    )
    # Safe: our own style sheet and our own colours.
    ours = {"css": _resource("page.css"), "light": palette(LIGHT), "dark": palette(DARK)}
    marked = {name: Markup(text) for name, text in ours.items()}  # noqa: S704
    page = environment.get_template(template).render({"medprobe_version": version("medprobe"), **marked, **content})
    page = _PERCENT.sub("\\1\u00a0%", page)
    return printable(page).lstrip() + "\n"


def figure_on_page(drawn: ReportFigure, titled: bytes = b"") -> dict[str, Any]:
    """What the template needs of a figure, which is a picture; with `titled`, its SVG with titles, part of the page.

    Safe, for every letter of a drawing is a path, and the text of titles is escaped.
    """
    from markupsafe import Markup

    words = {"title": drawn.title, "caption": drawn.caption, "description": drawn.description}
    if titled:
        return {**words, "inline": Markup(inline(titled, drawn.name))}  # noqa: S704
    return {**words, "source": f"data:image/svg+xml;base64,{b64encode(drawn.svg).decode()}"}


def _resource(name: str) -> str:
    return files(__spec__.parent.rpartition(".")[0]).joinpath("templates", name).read_text(encoding="utf-8")


def inline(svg: bytes, prefix: str) -> str:
    """The `<svg>` element of an SVG file; `prefix` sets its ids apart from those of the page's other figures."""
    text = svg.decode("utf-8")
    # matplotlib's style sheet would reach the whole page.
    others = r'<metadata>.*?</metadata>|<style[^>]*>.*?</style>| xmlns(:xlink)?="[^"]*"'
    text = re.sub(others, "", text[text.index("<svg") :], flags=re.DOTALL)
    return re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{prefix}-", text)


def palette(theme: Theme) -> str:
    """The colours of a theme as CSS declarations."""
    accents = {f"accent-{place}": colour for place, colour in enumerate(theme.accents)}
    colours = {"paper": theme.paper, "ink": theme.ink, "quiet": theme.quiet, "faint": theme.faint, **accents}
    return " ".join(f"--{name}: {colour.lower()};" for name, colour in colours.items())

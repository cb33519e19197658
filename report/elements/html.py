"""Templates to HTML: one file that loads nothing and runs nothing, in which everything from the data is escaped."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.metadata import version
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from ...base.text import printable
from .figure import ReportFigure
from .svg import inline, palette
from .theme import DARK, LIGHT

if TYPE_CHECKING:
    from markupsafe import Markup

_PERCENT = re.compile(r"(\d) %")
"""A number and its sign, which no line break shall part."""
# The point of a number joins nothing.
_PIECES = re.compile(r"\s+|(?:[^\s_/:@.-]|\.(?=\d)){1,24}(?:[_/:@-]|\.(?!\d))*\s*|(?:[_/:@-]|\.(?!\d))+\s*")
"""Parts of a text between which a line may break: what joins the parts of names ends one, and so do 24 letters."""


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
    environment.filters["breakable"] = _breakable
    # Safe: our own style sheet and our own colours.
    ours = {"css": _resource("page.css"), "light": palette(LIGHT), "dark": palette(DARK)}
    marked = {name: Markup(text) for name, text in ours.items()}  # noqa: S704
    page = environment.get_template(template).render({"medprobe_version": version("medprobe"), **marked, **content})
    page = _PERCENT.sub("\\1\u00a0%", page)
    return printable(page).lstrip() + "\n"


def figure_on_page(drawn: ReportFigure, svg: bytes = b"") -> dict[str, Any]:
    """What the template needs of a figure; safe, for every letter of a drawing is a path.

    `svg` is in place of its own: the same with titles, whose text is escaped.
    """
    from markupsafe import Markup

    drawing = Markup(inline(svg or drawn.svg, drawn.name))  # noqa: S704
    return {"title": drawn.title, "caption": drawn.caption, "description": drawn.description, "inline": drawing}


def _breakable(text: str) -> Markup:
    """Escapes a text and lets a line break inside long names."""
    from markupsafe import Markup, escape

    parts = [escape(part) if part[-1].isspace() else escape(part) + Markup("<wbr>") for part in _PIECES.findall(text)]
    return Markup("").join(parts).removesuffix("<wbr>")


def _resource(name: str) -> str:
    return files(__spec__.parent.rpartition(".")[0]).joinpath("templates", name).read_text(encoding="utf-8")

"""Templates and figures to HTML: one file that loads and runs nothing, in which all that is of the data is escaped."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.metadata import version
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from ...base.text import printable
from .figure import ReportFigure
from .theme import DARK, LIGHT, Theme

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


_ID = re.compile(r'\bid="([^"]*)"')
_REFERENCE = re.compile(r'(url\(#|href="#)([^)"]*)')
_COLOUR = re.compile(r"\b(fill|stroke|stop-color): (#[0-9a-f]{6})\b")
_SIZE = re.compile(r'\bviewBox="0 0 ([0-9.]+) ([0-9.]+)"')


def inline(svg: bytes, prefix: str) -> str:
    """The `<svg>` element for a page, of what matplotlib wrote in the colours of `LIGHT`.

    It takes its colours from the variables of `palette`, so that one drawing serves light and dark; `prefix` sets its
    ids apart from those of the page's other figures.
    """
    text = svg.decode("utf-8")
    text = text[text.index("<svg") :]
    # The comments repeat names from the data; the style sheet would reach the whole page, whose own has the rule.
    for pattern in (r"<!--.*?-->", r"<metadata>.*?</metadata>", r"<style[^>]*>.*?</style>", r"<defs>\s*</defs>"):
        text = re.sub(pattern, "", text, flags=re.DOTALL)
    text = _REFERENCE.sub(rf"\1{prefix}-\2", text.replace("xlink:href=", "href="))
    used = {name for _, name in _REFERENCE.findall(text)}
    text = _ID.sub(lambda found: f'id="{prefix}-{found[1]}"' if f"{prefix}-{found[1]}" in used else "", text)
    text = _COLOUR.sub(lambda found: f"{found[1]}: {_VARIABLES.get(found[2], found[2])}", text)
    size = _SIZE.search(text)
    assert size is not None, "matplotlib writes a viewBox"
    width, height = size.groups()
    head = f'<svg viewBox="0 0 {width} {height}" style="max-width: {width}pt" aria-hidden="true" focusable="false">'
    text = re.sub(r">\s+<", "><", re.sub(r"^<svg[^>]*>", head, text).strip())
    return re.sub(r"\s*\n\s*", " ", re.sub(r"\s+>", ">", text))


def _named(theme: Theme) -> dict[str, str]:
    """The colours of a theme by the names of their variables."""
    accents = {f"accent-{place}": colour for place, colour in enumerate(theme.accents)}
    return {"paper": theme.paper, "ink": theme.ink, "quiet": theme.quiet, "faint": theme.faint, **accents}


def palette(theme: Theme) -> str:
    """The colours of a theme as CSS declarations, which `inline` figures and the page refer to."""
    return " ".join(f"--{name}: {colour.lower()};" for name, colour in _named(theme).items())


_VARIABLES = {colour.lower(): f"var(--{name})" for name, colour in _named(LIGHT).items()}
assert len(_VARIABLES) == len(_named(LIGHT)) == len(_named(DARK)), "a colour of two meanings cannot be exchanged"

"""A figure's SVG made fit to stand inside a page: ids of its own, the page's colours, nothing from outside."""

from __future__ import annotations

import re

from .theme import DARK, LIGHT, Theme

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

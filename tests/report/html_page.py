"""A page taken apart, to be asked what is in it."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

_VOID = {"meta", "br", "img", "link", "input", "hr"}


class HtmlPage(HTMLParser):
    """Elements, attributes and text of a page; faults in nesting are collected."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.faults: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        self.faults += [f"<{tag}> is never closed" for tag in self.open]
        ids = self.attributes("id")
        self.faults += [f"the id {name} is not one of a kind" for name, count in Counter(ids).items() if count > 1]
        referred = {link.removeprefix("#") for link in self.attributes("href")}
        referred |= {name for attribute in self.attributes("aria-labelledby") for name in attribute.split()}
        referred |= set(re.findall(r"url\(#([^)]+)\)", text))
        self.faults += [f"there is no {name}" for name in referred - set(ids)]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if len(attrs) != len(dict(attrs)):
            self.faults.append(f"an attribute of <{tag}> stands twice")
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> closes nothing")

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.text.append(data)

    def attributes(self, name: str) -> list[str]:
        return [attrs[name] or "" for _, attrs in self.elements if name in attrs]

    @property
    def policy(self) -> str:
        """What a browser may load."""
        [policy] = [a["content"] for _, a in self.elements if a.get("http-equiv") == "Content-Security-Policy"]
        return str(policy)

    @property
    def words(self) -> str:
        return " ".join("".join(self.text).split())


def in_a_browser(page: Path, *options: str) -> str:
    """What Chromium makes of a page."""
    call = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={page.parent / 'user'}"]
    done = subprocess.run(
        [*call, *options, "--dump-dom", page.as_uri()], capture_output=True, text=True, check=True, timeout=600
    )
    return done.stdout

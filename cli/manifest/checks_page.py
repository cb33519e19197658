"""The page on the checks, docs/checks.md, which is installed with the package: the section of one code."""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "checks.md"


def section_of(code: str) -> str:
    """What the page says of a code, as Markdown, its heading left out.

    Raises:
        ManifestError: there is no such code.
    """
    from ...base import ManifestError, no_such
    from ...manifests import CODES

    if code not in CODES:
        raise ManifestError(f"--explain: {no_such('code', code, CODES)}")
    text = PAGE.read_text(encoding="utf-8").split(f"\n### `{code}`\n")[1]
    return text.split("\n#")[0].strip()

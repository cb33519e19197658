"""The examples in the docstrings of public names give what they say.

Not by `--doctest-modules`: the folders of the repository are `medprobe.x` only once installed.
"""

from __future__ import annotations

import doctest
import sys
from importlib import import_module

import pytest

_FINDER = doctest.DocTestFinder(recurse=False)


def _examples() -> list[doctest.DocTest]:
    found = []
    for package in ("base", "manifests", "cache", "evaluate", "probe", "report"):
        face = import_module(f"medprobe.{package}")
        for name in face.__all__:
            public = getattr(face, name)
            if callable(public):
                names = vars(sys.modules[public.__module__])
                found += _FINDER.find(public, f"{package}.{name}", globs=dict(names))
    return [example for example in found if example.examples]


@pytest.mark.parametrize("example", _examples(), ids=lambda example: example.name)
def test_an_example_gives_what_it_says(example: doctest.DocTest) -> None:
    messages: list[str] = []
    failed, tried = doctest.DocTestRunner(verbose=False).run(example, out=messages.append)
    assert tried
    assert not failed, "".join(messages)

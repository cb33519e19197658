from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from medprobe.base import canonical_json, did_you_mean, fingerprint, one_of
from medprobe.base.text import install_command

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), _JSON, max_size=6), st.randoms())
def test_a_fingerprint_does_not_depend_on_the_order_of_keys(value: dict, random) -> None:
    items = list(value.items())
    random.shuffle(items)
    assert fingerprint(dict(items)) == fingerprint(value)


def test_a_fingerprint_is_the_same_today_and_tomorrow() -> None:
    # Pinned: a change of this text would orphan every cache on every disk.
    assert canonical_json({"b": [1, 2.5, None], "a": "ü"}) == '{"a":"\\u00fc","b":[1,2.5,null]}'
    assert len(fingerprint({"a": 1})) == 12


def test_nan_has_no_canonical_text() -> None:
    with pytest.raises(ValueError):
        canonical_json({"a": float("nan")})


def test_near_names_are_offered_whatever_their_case() -> None:
    assert did_you_mean("Glioma", ["glioma", "notumor"]) == ' Did you mean "glioma"?'
    assert did_you_mean("qqq", ["glioma"]) == ""


def test_a_long_list_is_cut_with_a_count() -> None:
    assert one_of("abcdef", most=2) == "a, b and 4 more"
    assert one_of("ab") == "a, b"


@pytest.mark.parametrize(
    ("extra", "needs"),
    [("openvino", "openvino"), ("medical", "zarr"), ("extract", "torchvision"), ("finetune", "torchvision")],
)
def test_advice_to_install_an_extra_names_its_requirements_and_no_unreleased_package(extra: str, needs: str) -> None:
    command = install_command(extra)
    assert command.startswith("pip install ")
    assert needs in command
    assert "medprobe" not in command


def test_no_message_advises_to_install_medprobe_from_an_index() -> None:
    root = Path(__file__).resolve().parents[2]
    code = [
        p
        for folder in ("base", "manifests", "cache", "extract", "evaluate", "probe", "report", "cli")
        for p in (root / folder).rglob("*.py")
    ]
    for page in (*code, root / "README.md", *(root / "docs").glob("*.md")):
        text = page.read_text(encoding="utf-8")
        assert page.name == "text.py" or not re.search(r"pip install \W*medprobe", text), page

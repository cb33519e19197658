from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from medprobe.base import canonical_json, did_you_mean, fingerprint, one_of

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

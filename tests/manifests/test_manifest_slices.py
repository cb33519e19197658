from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from medprobe.base import ManifestError
from medprobe.manifests import SliceChoice


@pytest.mark.parametrize(
    ("text", "count", "frames"),
    [
        ("axial:all", 4, [0, 1, 2, 3]),
        ("coronal:middle:3", 7, [2, 3, 4]),
        ("sagittal:middle:2", 7, [2, 3]),
        ("middle:5", 3, [0, 1, 2]),
        ("axial:every:3", 8, [0, 3, 6]),
    ],
)
def test_a_choice_names_its_slices(text: str, count: int, frames: list[int]) -> None:
    assert SliceChoice.parse(text).frames(count) == frames
    assert SliceChoice.parse(text).axis == (text.split(":")[0] if text.count(":") == 2 or "all" in text else None)


@given(st.sampled_from(["all", "middle:{}", "every:{}"]), st.integers(1, 50), st.integers(1, 300))
def test_chosen_slices_exist_and_ascend(text: str, number: int, count: int) -> None:
    frames = SliceChoice.parse(text.format(number)).frames(count)
    assert frames
    assert frames == sorted(set(frames))
    assert 0 <= frames[0] <= frames[-1] < count
    if text.startswith("middle"):
        assert len(frames) == min(number, count)
        assert abs(frames[0] - (count - 1 - frames[-1])) <= 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("axail:all", 'unknown choice "axail".*Did you mean "axial"'),
        ("axial:midle:5", 'unknown choice "midle"'),
        ("axial", "axial:middle:5"),
        ("axial:every", "a number of 1 or more"),
        ("axial:every:0", "a number of 1 or more"),
        ("axial:all:3", "and no other"),
        ("", "unknown choice"),
    ],
)
def test_another_text_is_refused_with_what_may_be_written(text: str, words: str) -> None:
    with pytest.raises(ManifestError, match=words):
        SliceChoice.parse(text)


@pytest.mark.parametrize(("areas", "words"), [(None, "there is none"), ([0, 0, 0], "empty"), ([1, 2], "do not match")])
def test_a_mask_that_does_not_fit_is_refused(areas: list[int] | None, words: str) -> None:
    with pytest.raises(ManifestError, match=words):
        SliceChoice.parse("axial:largest-mask").frames(3, areas)


def test_the_first_of_equally_large_slices_is_chosen() -> None:
    assert SliceChoice.parse("largest-mask").frames(4, np.array([1, 5, 5, 0])) == [1]

"""The spec names itself: equal specs one name, different specs different names."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from medprobe.base import CacheError
from medprobe.cache import EmbeddingSpec, ImportedSpec, TransformSpec
from medprobe.cache.spec import spec_from_json

_NAMES = st.text(st.characters(categories=["L", "N", "P"], exclude_characters="/~:@\\"), min_size=1, max_size=20)
_POOLINGS = _NAMES.filter(lambda name: not name.startswith("."))
_PIXELS = st.integers(1, 2000)
_SIZES = st.tuples(_PIXELS, _PIXELS)
_NUMBERS = st.floats(-10, 10, allow_nan=False)
_POSITIVE = st.floats(1e-6, 10)


@st.composite
def _transforms(draw: st.DrawFn) -> TransformSpec:
    resize = draw(st.sampled_from(["short-side", "squash"]))
    colour, channels = draw(st.sampled_from([("rgb", 3), ("grey", 1), ("red-filters", 1)]))
    return TransformSpec(
        size=draw(_SIZES),
        resize=resize,
        resize_to=draw(_PIXELS if resize == "short-side" else _SIZES),
        interpolation=draw(st.sampled_from(["nearest", "bilinear", "bicubic", "lanczos"])),
        mean=tuple(draw(st.lists(_NUMBERS, min_size=channels, max_size=channels))),
        std=tuple(draw(st.lists(_POSITIVE, min_size=channels, max_size=channels))),
        colour=colour,
    )


_SPECS = st.builds(
    EmbeddingSpec,
    backbone=_NAMES,
    model=_NAMES,
    weights_digest=_NAMES,
    transform=_transforms(),
    poolings=st.lists(_POOLINGS, min_size=1, max_size=4, unique=True).map(tuple),
    precision=st.sampled_from(["fp32", "bf16"]),
    runtime=st.sampled_from(["torch", "openvino"]),
    config_digest=st.sampled_from(["", "0a", "ff"]),
    positions=st.sampled_from(["", "bicubic", "bicubic-antialias", "bicubic-offset-0.1"]),
)


@given(_SPECS)
def test_a_spec_comes_back_from_its_json(spec: EmbeddingSpec) -> None:
    back = EmbeddingSpec.from_json(spec.to_json())
    assert back == spec
    assert back.fingerprint == spec.fingerprint
    assert back.to_json() == spec.to_json()


@given(_SPECS, _SPECS)
def test_fingerprints_are_equal_exactly_when_specs_are(one: EmbeddingSpec, other: EmbeddingSpec) -> None:
    assert (one.fingerprint == other.fingerprint) == (one == other)


@given(_SPECS, _SPECS)
def test_any_one_field_changes_the_fingerprint(spec: EmbeddingSpec, other: EmbeddingSpec) -> None:
    for field in fields(EmbeddingSpec):
        changed = replace(spec, **{field.name: getattr(other, field.name)})
        assert (changed.fingerprint != spec.fingerprint) == (changed != spec)
    for field in ("size", "interpolation", "mean"):
        try:
            transform = replace(spec.transform, **{field: getattr(other.transform, field)})
        except ValueError:  # another number of channels
            continue
        changed = replace(spec, transform=transform)
        assert (changed.fingerprint != spec.fingerprint) == (transform != spec.transform)


def test_a_fingerprint_stays_what_it_was_in_earlier_releases(make_spec) -> None:
    # When this fails, published caches are orphaned: raise SPEC_VERSION knowingly or mend the change.
    assert make_spec().fingerprint == "5d020081572c"


def test_numbers_are_one_whatever_type_they_came_in(make_spec) -> None:
    import numpy as np

    same = make_spec(size=[np.int64(224), (224.0).__int__()], mean=[np.float64(0.5)] * 3, std=(0.25,) * 3)
    assert same == make_spec()
    assert same.fingerprint == make_spec().fingerprint
    assert make_spec(mean=(-0.0, 0, 0)).fingerprint == make_spec(mean=(0.0, 0.0, 0.0)).fingerprint


@pytest.mark.parametrize(
    "changes",
    [
        {"size": (0, 224)},
        {"size": 224},
        {"size": (True, 224)},
        {"resize": "crop"},
        {"resize": "squash"},
        {"resize_to": (256, 256)},
        {"interpolation": "area"},
        {"mean": (0.5,)},
        {"mean": (float("nan"),) * 3},
        {"std": (0.0, 1.0, 1.0)},
        {"colour": "bgr"},
        {"positions": "nearest"},
        {"colour": "grey"},
        {"mean": (0.5,), "std": (0.5,)},
        {"precision": "fp16"},
        {"runtime": "tvm"},
        {"poolings": ()},
        {"poolings": ("cls", "cls")},
        {"poolings": ("a/b",)},
        {"backbone": ""},
        {"backbone": "timm:vit@/home/someone/w.safetensors"},
        {"model": "timm:vit@~/w.safetensors"},
    ],
    ids=str,
)
def test_a_spec_that_means_nothing_cannot_be_made(make_spec, changes) -> None:
    with pytest.raises(ValueError):
        make_spec(**changes)


def test_a_spec_of_another_version_is_refused_not_guessed(make_spec) -> None:
    known = asdict(make_spec())
    for text in ("", "[]", "{}", json.dumps({**known, "windowing": "lung"}), json.dumps({**known, "precision": "fp8"})):
        with pytest.raises(CacheError, match="spec cannot be read"):
            EmbeddingSpec.from_json(text)


def test_an_imported_spec_has_a_fingerprint_of_its_own_and_survives_json(make_spec) -> None:
    imported = ImportedSpec(backbone="imported:uni", dims={"cls": 24, "mean": 7})
    assert imported.poolings == ("cls", "mean")
    assert spec_from_json(imported.to_json()) == imported
    longer = ImportedSpec(backbone="imported:uni", dims={"cls": 25, "mean": 7})
    named = make_spec(backbone="imported:uni", model="imported:uni")
    assert len({imported.fingerprint, longer.fingerprint, named.fingerprint}) == 3
    with pytest.raises(CacheError):
        type(named).from_json(imported.to_json())
    for dims in ({}, {"cls": 0}, {"a/b": 3}):
        with pytest.raises(ValueError):
            ImportedSpec(backbone="imported:uni", dims=dims)

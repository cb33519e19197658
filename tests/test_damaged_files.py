"""Whatever is in a file that medprobe writes, reading it ends in a load or in one message, within bounded memory."""

from __future__ import annotations

import json
import os
import resource
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from medprobe.base import MedprobeError
from medprobe.cache import CacheDraft, EmbeddingCache, EmbeddingSpec, TransformSpec, find_caches, verify_cache
from medprobe.evaluate import Run, predictions_by_system, summarise
from medprobe.manifests import DatasetCard, Manifest, manifest_image_stats
from medprobe.manifests.pseudonyms import Pseudonyms
from medprobe.probe import resolve_probes, run_probes
from PIL import Image

_MEMORY = 2 * 2**30
"""Of address space, beyond what the process has: a file that declares more must be refused before it is taken."""
_VALUES = {
    "a date that is none": "2001-99-99",
    "a time that is none": "2001-01-01 99:99:99",
    "thousands of digits": "9" * 5000,
    "thousands of hexadecimal digits": "0x" + "f" * 5000,
    "deep brackets": "[" * 1500,
    "deep braces": "{a: " * 1500,
    "deep indents": "".join("\n" + " " * depth + "a:" for depth in range(1, 1500)),
    "a tag": "!!python/object/apply:os.system [echo]",
    "an anchor that is none": "*nothing",
    "itself": "&a [*a, *a]",
    "gigabytes": "[" + ", ".join(f"&a{i} [{', '.join([f'*a{i - 1}' if i else 'x'] * 9)}]" for i in range(12)) + "]",
    "infinity": ".inf",
    "half a pair": '"\\ud800"',
    "a control": '"\\x00\\x1b"',
    "nothing": "",
}


@pytest.fixture(autouse=True)
def _bounded_memory():
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + _MEMORY, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small study: images, a manifest in both formats, its survey, a key, a cache, segments and a run."""
    home = tmp_path_factory.mktemp("whole")
    rng, ids = np.random.default_rng(0), [f"s{number}" for number in range(24)]
    for name in ids:
        Image.fromarray(rng.integers(0, 256, (9, 8), dtype=np.uint8)).save(home / f"{name}.png")
    table = pd.DataFrame({"sample_id": ids, "path": [f"{name}.png" for name in ids], "label": ["a", "b"] * 12})
    card = DatasetCard(name="d", task="binary", classes=["a", "b"], attributes=["age"], root=str(home))
    table = table.assign(group_id=ids, age=range(24), split=["train"] * 12 + ["val"] * 6 + ["test"] * 6)
    manifest = Manifest(table, card).save(home / "d.parquet")
    Manifest(table, card.model_copy(update={"name": "e"})).save(home / "e.csv")
    manifest_image_stats(manifest, workers=1, show_progress=False)
    Pseudonyms.at(home / "d.key")
    vectors = {"mean": rng.standard_normal((24, 5)).astype(np.float32)}
    _cache_of(home / "embeddings", "d", manifest, vectors).publish(manifest.sample_ids, stamps=manifest.stamps()[0])
    _cache_of(home / "embeddings", "e", manifest, vectors)
    caches = find_caches(home / "embeddings", "d")
    run_probes(manifest, caches, probes=["centroid"], seeds=2, n_jobs=1, progress=False).save(home / "run")
    return home


def _cache_of(store: Path, name: str, manifest: Manifest, vectors: dict[str, np.ndarray]) -> CacheDraft:
    transform = TransformSpec(
        size=(8, 8), resize="short-side", resize_to=8, interpolation="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3
    )
    spec = EmbeddingSpec(
        backbone="x", model="x", weights_digest="0" * 64, transform=transform, poolings=("mean",), precision="fp32"
    )
    with CacheDraft.open(store, name, spec) as draft:
        digests = [f"{number:032x}" for number in range(len(manifest))]
        draft.append(manifest.sample_ids, digests, manifest.stamps()[0], vectors)
    return draft


def _load_manifest(path: Path) -> None:
    manifest = Manifest.load(path.with_suffix(".parquet" if path.stem == "d" else ".csv"))
    _ = manifest.digest, manifest.units()
    manifest.stamps()


def _load_survey(path: Path) -> None:
    manifest_image_stats(Manifest.load(path.with_suffix(".parquet")), workers=1, show_progress=False)


def _load_cache(path: Path) -> None:
    problems = verify_cache(path)
    cache = EmbeddingCache.open(path)
    _ = cache.sample_ids, cache.content_digests, cache.quarantine
    assert cache.load("mean").shape == (24, cache.dims["mean"]) or problems


def _load_segment(path: Path) -> None:
    spec = EmbeddingCache.open(next((path.parent.parent.parent / "d").glob("*.h5"))).spec
    CacheDraft.open(path.parent.parent.parent, "e", spec).known()


def _load_run(path: Path) -> None:
    run = Run.load(path.parent)
    summarise(run)
    predictions_by_system(run)


def _load_key(path: Path) -> None:
    Pseudonyms.at(path).of("x")


_LOADERS: dict[str, Callable[[Path], None]] = {
    "d.yaml": _load_manifest,
    "d.parquet": _load_manifest,
    "e.csv": _load_manifest,
    "d.survey": _load_survey,
    "d.key": _load_key,
    "embeddings/d/*.h5": _load_cache,
    "embeddings/e/*.parts/*.h5": _load_segment,
    "run/run.json": _load_run,
    "run/scores.parquet": _load_run,
    "run/predictions.parquet": _load_run,
    "run/timings.parquet": _load_run,
    "run/units.parquet": _load_run,
}


def _file(home: Path, pattern: str) -> Path:
    (found,) = home.glob(pattern)
    return found


def _ends_well(load: Callable[[Path], None], path: Path, content: bytes) -> None:
    before = path.read_bytes()
    try:
        path.write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with suppress(MedprobeError):
                load(path)
    finally:
        for aside in path.parent.glob("*.damaged"):
            aside.unlink()
        path.write_bytes(before)


_CHANGES = st.lists(
    st.tuples(st.sampled_from(["flip", "set", "cut", "drop", "double", "zero"]), st.floats(0, 1), st.integers(0, 255)),
    min_size=1,
    max_size=4,
)


def _changed(content: bytes, changes: list[tuple[str, float, int]]) -> bytes:
    for kind, place, value in changes:
        at = int(place * max(0, len(content) - 1))
        span = content[at : at + value + 1]
        replaced = {
            "flip": bytes([span[0] ^ (1 << value % 8)]) + span[1:] if span else b"",
            "set": bytes([value]) + span[1:],
            "cut": b"",
            "drop": b"",
            "double": span + span,
            "zero": bytes(len(span)),
        }[kind]
        content = content[:at] + replaced + (b"" if kind == "cut" else content[at + len(span) :])
    return content


@pytest.mark.parametrize("pattern", _LOADERS)
def test_changed_bytes_are_a_load_or_a_message(pattern: str, whole: Path) -> None:
    path = _file(whole, pattern)
    content = path.read_bytes()

    quick = 10 if pattern == "d.survey" else 30  # each reads all images again

    @settings(max_examples=300 if "CI_NIGHTLY" in os.environ else quick, suppress_health_check=list(HealthCheck))
    @given(_CHANGES)
    def check(changes: list[tuple[str, float, int]]) -> None:
        _ends_well(_LOADERS[pattern], path, _changed(content, changes))

    check()


@pytest.mark.parametrize("value", _VALUES.values(), ids=_VALUES.keys())
def test_a_value_that_cannot_be_in_a_card_is_one_message(value: str, whole: Path) -> None:
    fields = ("name", "task", "classes", "attributes", "reading", "root", "version", "odd")
    for field in fields[:1] if len(value) > 1000 else fields:
        _card_ends_well(whole / "d.yaml", field, value)


def _card_ends_well(path: Path, field: str, value: str) -> None:
    lines = [line for line in path.read_text().splitlines() if not line.startswith((f"{field}:", "- "))]
    _ends_well(_load_manifest, path, "\n".join([*lines, f"{field}: {value}"]).encode())
    _ends_well(_load_manifest, path, f"? {value}\n: 1".encode())


@pytest.mark.parametrize("value", _VALUES.values(), ids=_VALUES.keys())
def test_a_value_that_cannot_be_a_setting_of_a_probe_is_one_message(value: str) -> None:
    with suppress(MedprobeError):
        resolve_probes(f"logreg:C={value}")


def _nested(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, one in inner for found in _nested(one, (*path, key)))]


def test_run_json_with_a_key_too_few_or_another_value_is_a_load_or_a_message(whole: Path) -> None:
    path = whole / "run" / "run.json"
    places = _nested(json.loads(path.read_text()))[1:]
    values = [None, -1, 1e308, "x", [], {}, ["x"], {"x": []}, True, 10**30]

    @settings(max_examples=100 if "CI_NIGHTLY" not in os.environ else 300, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(places), st.sampled_from([..., *values]))
    def check(place: tuple[Any, ...], value: Any) -> None:
        changed = json.loads(path.read_text())
        *above, last = place
        inner = changed
        for key in above:
            inner = inner[key]
        if value is ...:
            del inner[last]
        else:
            inner[last] = value
        _ends_well(_load_run, path, json.dumps(changed).encode())

    check()


def test_a_deeply_nested_run_json_is_one_message(whole: Path) -> None:
    for text in ('{"kind":' + "[" * 100_000, '{"kind":' * 50_000, '{"kind": ' + "9" * 5000 + "}"):
        _ends_well(_load_run, whole / "run" / "run.json", text.encode())


def _replaced(file: h5py.File, name: str, shape: tuple[int, ...], dtype: Any = None, **options: Any) -> None:
    dtype = dtype or file[name].dtype  # pyright: ignore[reportAttributeAccessIssue]
    del file[name]
    file.create_dataset(name, shape, dtype, **options)


_HUGE = 2**29
_ALTERED: dict[str, Callable[[h5py.File, str], None]] = {
    "terabytes of columns": lambda f, n: _replaced(f, n, (24, _HUGE), chunks=(1, 1024), fletcher32=True),
    "terabytes of rows": lambda f, n: _replaced(f, n, (2**40, *f[n].shape[1:]), chunks=(1024, *f[n].shape[1:])),
    "terabytes of nothing, packed": lambda f, n: _replaced(f, n, (2**40,), chunks=(1024,), compression="gzip"),
    "no column": lambda f, n: _replaced(f, n, (24, 0)),
    "no row": lambda f, n: _replaced(f, n, (0, *f[n].shape[1:])),
    "one number": lambda f, n: _replaced(f, n, ()),
    "text": lambda f, n: _replaced(f, n, (24,), h5py.string_dtype()),
    "whole numbers": lambda f, n: _replaced(f, n, f[n].shape, np.int64),
    "wide text": lambda f, n: _replaced(f, n, (24,), "S2000000000", chunks=(1,)),
    "three axes": lambda f, n: _replaced(f, n, (24, 5, 2)),
    "not there": lambda f, n: f.__delitem__(n),
    "a folder": lambda f, n: (f.__delitem__(n), f.create_group(n)),
}


@pytest.mark.parametrize("change", _ALTERED.values(), ids=_ALTERED.keys())
@pytest.mark.parametrize("name", ["embedding/mean", "sample_id", "content_digest", "source_stamp", "quarantine/reason"])
def test_a_cache_that_declares_what_it_does_not_hold_is_one_message(name: str, change: Any, whole: Path) -> None:
    for pattern in ("embeddings/d/*.h5", "embeddings/e/*.parts/*.h5"):
        path = _file(whole, pattern)
        before = path.read_bytes()
        with h5py.File(path, "r+", libver=("v110", "v110")) as file:
            if name == "content_digest" and name not in file:
                continue
            change(file, name)
        content = path.read_bytes()
        path.write_bytes(before)
        _ends_well(_LOADERS[pattern], path, content)


@pytest.mark.parametrize(
    "value", ["", "{", "[" * 5000, "[]", "1e999", "9" * 5000, "\x1b", '{"transform": 3}', -(2**62)]
)
def test_an_attribute_of_a_cache_that_cannot_be_is_one_message(value: Any, whole: Path) -> None:
    path = _file(whole, "embeddings/d/*.h5")
    before = path.read_bytes()
    with h5py.File(path, "r") as file:
        names = list(file.attrs)
    for name in names:
        with h5py.File(path, "r+", libver=("v110", "v110")) as file:
            file.attrs[name] = value
        content = path.read_bytes()
        path.write_bytes(before)
        _ends_well(_load_cache, path, content)

"""A training from activations or vectors is the training of the whole network, and what is kept can be relied on."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from medprobe.extract import Backbone, load_backbone
from medprobe.extract.loader import to_input
from medprobe.finetune.inputs import activations, sources, views
from medprobe.finetune.inputs.augmentation import Augmentation
from medprobe.finetune.inputs.sources import ActivationInputs, Inputs, PixelInputs, VectorInputs, choose_inputs
from medprobe.finetune.inputs.views import Images
from medprobe.finetune.network.classifier import Classifier, make_classifier
from medprobe.manifests import Source, content_digest, read_image
from PIL import Image

COUNT = 11
FLIPS = Augmentation(hflip=0.5, vflip=0.5)


@pytest.fixture(scope="module")
def images(tiny: Backbone, tmp_path_factory: pytest.TempPathFactory) -> Images:
    folder, sources = tmp_path_factory.mktemp("inputs"), []
    for number in range(COUNT):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 36 + number, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        sources.append(Source(folder / f"{number}.png"))
    digests = [content_digest(read_image(source)) for source in sources]
    names = [source.path.stem for source in sources]
    return Images(sources, names, digests, tiny.transform, Augmentation(), seed=0, workers=0)


@pytest.fixture
def choose(tiny: Backbone, images: Images, tmp_path: Path) -> Callable[..., Inputs]:
    """`choose(classifier, ...)`: inputs with a store of this test's own."""

    def chosen(classifier: Classifier, **changed: Any) -> Inputs:
        options: dict[str, Any] = {"views": None, "mixes": False, "precision": "fp32", **changed}
        these = replace(images, augmentation=options.pop("augmentation", Augmentation()), seed=options.pop("seed", 0))
        vectors = tiny.embed(_evaluated(images))["cls"]
        return choose_inputs(
            classifier, these, spec=tiny.spec, vectors=vectors, store=tmp_path / "store", dataset="set", **options
        )

    return chosen


def _evaluated(images: Images) -> torch.Tensor:
    return torch.from_numpy(np.stack([to_input(read_image(source), images.transform) for source in images.sources]))


def _logits(inputs: Inputs, classifier: Classifier, rows: list[int], view: int | None = None) -> torch.Tensor:
    [tensors] = inputs.batches([np.array(rows)], view)
    return inputs.logits(classifier, tensors)


def _files(store: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(store.rglob("*.safetensors"))}


@pytest.mark.parametrize(
    ("mode", "options", "kind"),
    [
        ("linear", {}, VectorInputs),
        ("mlp:8", {}, VectorInputs),
        ("drop-last:2+linear", {}, ActivationInputs),
        ("linear", {"augmentation": FLIPS, "views": 2}, ActivationInputs),
        ("partial:1", {}, ActivationInputs),
        ("partial:1", {"augmentation": FLIPS, "views": 2}, ActivationInputs),
        ("partial:1", {"augmentation": FLIPS}, PixelInputs),
        ("partial:1", {"mixes": True}, PixelInputs),
        ("full", {}, PixelInputs),
        ("full", {"augmentation": FLIPS, "views": 2}, PixelInputs),
    ],
)
def test_inputs_begin_as_late_as_they_can_and_give_what_the_network_gives(
    tiny: Backbone, images: Images, choose: Callable[..., Inputs], mode: str, options: dict[str, Any], kind: type
) -> None:
    classifier = make_classifier(tiny, mode, 3).eval()
    inputs = choose(classifier, **options)
    assert type(inputs) is kind
    rows, whole = [7, 0, 3], classifier(_evaluated(images))
    # Activations have the eight significant bits of bfloat16.
    torch.testing.assert_close(_logits(inputs, classifier, rows), whole[rows], rtol=2e-2, atol=2e-2)
    view, again = inputs.view_of(1), inputs.view_of(3)
    assert (view is None) == ("augmentation" not in options)
    assert (view == again) == ("views" in options or view is None)
    if view is not None:
        [drawn] = replace(images, augmentation=FLIPS).views([np.array(rows)], [view])
        torch.testing.assert_close(
            _logits(inputs, classifier, rows, view), classifier(drawn[:, 0]), rtol=2e-2, atol=2e-2
        )


def test_what_was_kept_serves_other_classifiers_and_later_processes(
    tiny: Backbone, choose: Callable[..., Inputs], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (make_classifier(tiny, "partial:1", 3, seed=seed).eval() for seed in (0, 1))
    inputs = choose(first)
    _logits(inputs, first, list(range(COUNT)))
    later = choose(second)
    monkeypatch.setattr(views, "read_image", None)  # nothing is decoded again
    torch.testing.assert_close(_logits(inputs, second, [4, 2]), _logits(later, second, [4, 2]), rtol=0, atol=0)
    assert not torch.allclose(_logits(inputs, first, [4]), _logits(inputs, second, [4]))
    monkeypatch.undo()
    other = choose(second, precision="bf16")
    _logits(other, second, [1])
    assert len(list((tmp_path / "store" / "set" / "activations").iterdir())) == 2


def test_vectors_of_two_poolings_are_never_taken_for_each_other(tiny: Backbone, images: Images, tmp_path: Path) -> None:
    both = replace(tiny.spec, poolings=("cls", "mean"))  # of a cache that has both
    for pooling in both.poolings:
        loading: dict[str, Any] = {"image_size": 32, "poolings": [pooling], "precision": "fp32", "runtime": "torch"}
        backbone = load_backbone("timm:test_vit@random", device="cpu", **loading)
        classifier = make_classifier(backbone, "drop-last:2+linear", 3).eval()
        options: dict[str, Any] = {"views": None, "mixes": False, "precision": "fp32", "vectors": np.empty((COUNT, 0))}
        inputs = choose_inputs(classifier, images, spec=both, store=tmp_path, dataset="set", **options)
        whole = classifier(_evaluated(images))
        torch.testing.assert_close(_logits(inputs, classifier, [0, 4]), whole[[0, 4]], rtol=1e-4, atol=1e-4)


def test_training_from_activations_has_the_losses_of_the_whole_network(
    tiny: Backbone, choose: Callable[..., Inputs]
) -> None:
    def losses(**options: Any) -> list[float]:
        classifier = make_classifier(tiny, "partial:2", 3)
        inputs, found = choose(classifier, **options), []
        optimizer = torch.optim.AdamW([one for one in classifier.parameters() if one.requires_grad], lr=1e-3)
        for step in range(6):
            rows = [(step * 3 + place) % COUNT for place in range(4)]
            loss = torch.nn.functional.cross_entropy(_logits(inputs, classifier, rows), torch.tensor(rows) % 3)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        return found

    np.testing.assert_allclose(losses(), losses(mixes=True), atol=5e-3)


@pytest.fixture
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight images go into one file."""
    monkeypatch.setattr(activations, "_FILE_BYTES", 1)


def test_an_images_activations_do_not_depend_on_order_company_or_interruption(
    tiny: Backbone, choose: Callable[..., Inputs], tmp_path: Path, small_files: None
) -> None:
    classifier = make_classifier(tiny, "partial:1", 3).eval()
    rows = list(range(COUNT))
    _logits(choose(classifier), classifier, rows)
    whole = _files(tmp_path / "store")
    assert len(whole) == 2
    next((tmp_path / "store").rglob(sorted(whole)[1])).unlink()  # as a kill before the second one was written leaves it
    _logits(choose(classifier), classifier, rows[::-1])
    assert _files(tmp_path / "store") == whole


def test_a_writer_killed_at_any_step_leaves_nothing_wrong_and_the_next_goes_on(
    tiny: Backbone, choose: Callable[..., Inputs], tmp_path: Path, small_files: None, killed_at_each_step
) -> None:
    classifier, store, whole = make_classifier(tiny, "partial:1", 3).eval(), tmp_path / "store", {}
    inputs = choose(classifier)  # makes the store

    def work() -> None:
        _logits(inputs, classifier, list(range(COUNT)))
        whole.update(_files(store))

    for _ in killed_at_each_step(store, lambda: None, work):
        assert len(whole) == 2
        _logits(choose(classifier), classifier, list(range(COUNT)))
        assert _files(store) == whole


def test_a_damaged_file_is_computed_again(
    tiny: Backbone, choose: Callable[..., Inputs], tmp_path: Path, small_files: None
) -> None:
    classifier, rows = make_classifier(tiny, "partial:1", 3).eval(), list(range(COUNT))
    _logits(choose(classifier), classifier, rows)
    whole = _files(tmp_path / "store")
    for damage in (lambda data: data[:-7], lambda data: data[:-1] + bytes([data[-1] ^ 1]), lambda data: b"{}"):
        for path in (tmp_path / "store").rglob("*.safetensors"):
            path.write_bytes(damage(path.read_bytes()))
        _logits(choose(classifier), classifier, rows)
        assert _files(tmp_path / "store") == whole


def test_without_room_a_message_says_how_much_is_needed_and_the_network_runs_whole(
    tiny: Backbone, images: Images, choose: Callable[..., Inputs]
) -> None:
    classifier, messages = make_classifier(tiny, "partial:1", 3).eval(), []
    inputs = choose(classifier, limit_gb=1e-6, notice=messages.append)
    assert type(inputs) is PixelInputs
    # 5 tokens of 64 features in 2 bytes.
    assert [f"would take {COUNT * 5 * 64 * 2 / 1000:.1f} kB" in one for one in messages] == [True]
    assert "1.0 kB are allowed" in messages[0]
    torch.testing.assert_close(_logits(inputs, classifier, [3, 1]), classifier(_evaluated(images)[[3, 1]]))


def test_a_store_that_cannot_be_written_has_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert activations.make_room(tmp_path, [tmp_path / "a" / "activations" / "b"], 1, None)
    assert not activations.make_room(tmp_path, [tmp_path / "a" / "activations" / "b"], 0, None)
    assert list(tmp_path.iterdir()) == []


def test_the_activations_that_were_used_longest_ago_make_room(
    tiny: Backbone, choose: Callable[..., Inputs], tmp_path: Path
) -> None:
    def kept(mode: str, limit_gb: float) -> set[str]:
        classifier = make_classifier(tiny, mode, 3).eval()
        inputs = choose(classifier, limit_gb=limit_gb)
        _logits(inputs, classifier, list(range(COUNT)))
        assert isinstance(inputs, ActivationInputs)
        folders = [path for path in (tmp_path / "store" / "set" / "activations").iterdir() if any(path.iterdir())]
        for age, path in enumerate(sorted(folders, key=lambda path: path.stat().st_mtime, reverse=True)):
            os.utime(path, (1e9 - 100 * age,) * 2)  # apart, however coarse the clock of the file system is
        return {path.name for path in folders}

    [first], both = kept("partial:1", 1), kept("partial:2", 1)
    assert len(both) == 2
    assert kept("partial:1", 1) == both  # and is the last used now
    room_for_two = 20_000 / 1e9
    assert kept("partial:3", room_for_two) >= {first}
    assert len(kept("partial:3", room_for_two)) == 2


@pytest.mark.parametrize("in_memory", [2**30, 0], ids=["in memory", "in a file"])
def test_images_that_come_again_are_decoded_once(
    tiny: Backbone, images: Images, choose: Callable[..., Inputs], monkeypatch: pytest.MonkeyPatch, in_memory: int
) -> None:
    monkeypatch.setattr(sources, "_IN_MEMORY", in_memory)
    classifier = make_classifier(tiny, "full", 3).eval()
    inputs, fresh = choose(classifier), choose(classifier, augmentation=FLIPS)
    drawn = _logits(fresh, classifier, [2, 5], 1)
    whole = _logits(inputs, classifier, [2, 5])
    _logits(fresh, classifier, [2, 5])
    monkeypatch.setattr(views, "read_image", None)
    torch.testing.assert_close(_logits(inputs, classifier, [5, 2]), whole.flip(0))
    torch.testing.assert_close(_logits(fresh, classifier, [2, 5]), whole)
    assert not torch.allclose(drawn, whole)
    with pytest.raises(TypeError):
        _logits(fresh, classifier, [2, 5], 1)

"""Views of images: reproducible whoever draws them, timm's own, and what the network would see."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from medprobe.base import ImageError
from medprobe.base.errors import FinetuneError
from medprobe.cache import TransformSpec
from medprobe.extract.loader import to_input
from medprobe.finetune.inputs.augmentation import Augmentation
from medprobe.finetune.inputs.views import Images, draw_view
from medprobe.finetune.training.recipe import Recipe
from medprobe.manifests import Source, content_digest, read_image
from PIL import Image
from timm.data.transforms_factory import create_transform

RGB = TransformSpec(
    size=(32, 24),
    resize="short-side",
    resize_to=36,
    interpolation="bicubic",
    mean=(0.5, 0.4, 0.3),
    std=(0.3, 0.25, 0.2),
)
GREY = replace(RGB, colour="grey", mean=(0.5,), std=(0.25,))
EVERYTHING = Augmentation(crop_scale=(0.3, 1), hflip=0.5, vflip=0.5, auto_augment="rand-m9-mstd0.5-inc1", reprob=0.5)
STUDY_B = Recipe.named("huix2024").augmentation


def _pixels(number: int, *, grey: bool = False) -> np.ndarray:
    coarse = np.random.default_rng(number).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((50 + number, 60), Image.Resampling.BICUBIC)
    return np.asarray(image.convert("L") if grey else image)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Images:
    """Six images, of which every third is grey."""
    folder = tmp_path_factory.mktemp("views")
    sources = []
    for number in range(6):
        Image.fromarray(_pixels(number, grey=number % 3 == 2)).save(folder / f"{number}.png")
        sources.append(Source(folder / f"{number}.png"))
    digests = [content_digest(read_image(source)) for source in sources]
    names = [source.path.stem for source in sources]
    return Images(sources, names, digests, RGB, EVERYTHING, seed=3, workers=0)


def _drawn(images: Images, batches: list[list[int]], views: list[int | None]) -> dict[int, np.ndarray]:
    rows = [row for batch in batches for row in batch]
    drawn = torch.cat(list(images.views([np.array(batch) for batch in batches], views)))
    return dict(zip(rows, drawn.numpy(), strict=True))


def test_a_view_is_the_same_in_any_batch_order_and_process(images: Images) -> None:
    alone = _drawn(images, [[row] for row in range(6)], [0, 1])
    together = _drawn(replace(images, workers=2), [[5, 2, 0], [1, 4, 3]], [0, 1])
    assert all(np.array_equal(alone[row], together[row]) for row in range(6))
    assert not any(np.array_equal(*alone[row]) for row in range(6))
    other_seed = _drawn(replace(images, seed=4), [list(range(6))], [0, 1])
    assert not any(np.array_equal(alone[row], other_seed[row]) for row in range(6))


def test_the_view_of_the_evaluation_is_what_was_embedded(images: Images) -> None:
    drawn = _drawn(images, [list(range(6))], [None])
    assert all(np.array_equal(drawn[row][0], to_input(read_image(images.sources[row]), RGB)) for row in range(6))


@pytest.mark.parametrize("augmentation", [STUDY_B, EVERYTHING.model_copy(update={"reprob": 0.0})], ids=["B", "all"])
def test_a_view_is_timms_own_transform(augmentation: Augmentation) -> None:
    theirs = create_transform(
        RGB.size,
        is_training=True,
        scale=augmentation.crop_scale,  # pyright: ignore[reportArgumentType]
        ratio=augmentation.crop_ratio,
        hflip=augmentation.hflip,
        vflip=augmentation.vflip,
        color_jitter=augmentation.color_jitter,  # pyright: ignore[reportArgumentType]
        color_jitter_prob=augmentation.color_jitter_prob if augmentation.color_jitter_prob < 1 else None,
        auto_augment=augmentation.auto_augment,
        interpolation=RGB.interpolation,
        mean=RGB.mean,
        normalize=False,
    )
    for number in range(10):
        random.seed(number)
        np.random.seed(number)  # noqa: NPY002  (timm draws from it)
        torch.manual_seed(number)
        expected = theirs(Image.fromarray(_pixels(1)))
        np.testing.assert_array_equal(draw_view(_pixels(1), RGB, augmentation, number), expected)


@pytest.mark.parametrize("transform", [RGB, GREY, replace(GREY, colour="red-filters")], ids=lambda spec: spec.colour)
@pytest.mark.parametrize("policy", ["rand-m9-mstd0.5-inc1", "original-mstd0.5", "augmix-m5-w2"])
def test_grey_images_stay_grey(transform: TransformSpec, policy: str) -> None:
    augmentation = EVERYTHING.model_copy(update={"auto_augment": policy, "reprob": 0.0})
    for number in range(20):
        view = draw_view(_pixels(1, grey=True), transform, augmentation, number)
        assert view.shape == (transform.channels, 32, 24)
        assert (view == view[:1]).all()
        if transform.channels == 1:  # a grey picture that was stored as RGB gives what the grey one gives
            as_rgb = np.repeat(_pixels(1, grey=True)[..., None], 3, 2)
            np.testing.assert_array_equal(draw_view(as_rgb, transform, augmentation, number), view)


def test_a_policy_that_keeps_no_bit_of_a_colour_gives_black() -> None:
    augmentation = Augmentation(auto_augment="rand-m10-n20-p1-inc1")  # of ten, posterising keeps 4 - 4 bits
    assert any(not draw_view(_pixels(1), RGB, augmentation, number).any() for number in range(10))


def test_what_is_erased_is_noise_after_normalisation() -> None:
    flat = np.full((60, 60, 3), (128, 102, 77), np.uint8)  # zero after normalisation, nearly
    views = [draw_view(flat, RGB, Augmentation(reprob=1.0), number) for number in range(40)]
    mean, std = (np.array(values)[:, None] for values in (RGB.mean, RGB.std))
    erased = np.concatenate([(view.reshape(3, -1) / 255 - mean) / std for view in views], 1)
    noise = erased[:, (np.abs(erased) > 0.02).any(0)]
    assert 0.02 < noise.shape[1] / erased.shape[1] < 0.34
    np.testing.assert_allclose(noise.mean(1), 0, atol=0.06)
    np.testing.assert_allclose(noise.std(1), 0.95, atol=0.06)  # of 1, cut off at black and white


def test_drawing_leaves_all_generators_as_they_were() -> None:
    random.seed(1)
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002
    draw_view(_pixels(0), RGB, EVERYTHING, 5)
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == states  # noqa: NPY002


def test_an_image_that_changed_or_went_away_is_named(images: Images, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"^4: its pixels have changed"):
        _drawn(
            replace(images, digests=["0" * 32 if row == 4 else one for row, one in enumerate(images.digests)]),
            [[3, 4]],
            [None],
        )
    gone = [*images.sources[:5], Source(tmp_path / "private" / "gone.png")]
    with pytest.raises(ImageError, match=r"^5: (?!.*private)"):
        _drawn(replace(images, sources=gone), [[5]], [None])


def test_what_timm_does_not_know_is_refused() -> None:
    with pytest.raises(FinetuneError, match="timm has no such policy"):
        Recipe.named("default").changed(auto_augment="nonsense")
    with pytest.raises(FinetuneError, match="smaller number first"):
        Recipe.named("default").changed(crop_scale=[1, 0.5])

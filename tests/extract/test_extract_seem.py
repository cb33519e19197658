"""SEEM's FocalNets from checkpoints as its authors publish them, against other implementations of the same numbers."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers as hf
from medprobe.base import BackboneError, WeightsError
from medprobe.extract import load_backbone, resolve
from medprobe.extract.adapters import ADAPTERS
from medprobe.extract.weights.loading import as_published
from medprobe.extract.weights.published import recognise
from medprobe.extract.weights.tensors import read_tensors
from shaken_networks import cosines, smooth_inputs
from torch.nn import functional

_OPTIONS = {"precision": "fp32", "device": "cpu"}
_MAPS = ["res2", "res3", "res4", "res5"]
_TINY = {"width": 96, "depths": (2, 2, 6, 2), "levels": 3}
_LARGE = {"width": 192, "depths": (2, 2, 18, 2), "levels": 4}
_SHALLOW = {"depths": (1, 1, 1, 1)}
Shapes = dict[str, tuple[int, ...]]
Tensors = dict[str, torch.Tensor]


def _layer(name: str, *shape: int) -> Shapes:
    """A layer of these weights, with a bias."""
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def _focalnet(width: int, depths: tuple[int, ...], levels: int, *, depthwise: bool) -> Shapes:
    """The names and shapes that SEEM's own code gives its image encoder."""
    shapes = _layer("patch_embed.proj", width, 3, 7, 7) | _layer("patch_embed.norm", width)
    for stage, depth in enumerate(depths):
        wide = width * 2**stage
        for block in range(depth):
            shapes |= _block(f"layers.{stage}.blocks.{block}", wide, levels, depthwise=depthwise)
        if stage + 1 < len(depths):
            shapes |= _layer(f"layers.{stage}.downsample.proj", 2 * wide, wide, 3, 3)
            shapes |= _layer(f"layers.{stage}.downsample.norm", 2 * wide)
        shapes |= _layer(f"norm{stage}", wide)
    return shapes


def _block(at: str, wide: int, levels: int, *, depthwise: bool) -> Shapes:
    shapes: Shapes = {f"{at}.gamma_1": (wide,), f"{at}.gamma_2": (wide,)}
    shapes |= _layer(f"{at}.norm1", wide) | _layer(f"{at}.norm2", wide)
    shapes |= _layer(f"{at}.modulation.f", 2 * wide + levels + 1, wide) | _layer(f"{at}.modulation.proj", wide, wide)
    shapes |= _layer(f"{at}.modulation.h", wide, wide, 1, 1)
    for level in range(levels):
        side = 3 + 2 * level
        shapes[f"{at}.modulation.focal_layers.{level}.0.weight"] = (wide, 1, side, side)
    shapes |= _layer(f"{at}.mlp.fc1", 4 * wide, wide) | _layer(f"{at}.mlp.fc2", wide, 4 * wide)
    if depthwise:
        shapes |= _layer(f"{at}.dw1", wide, 1, 3, 3) | _layer(f"{at}.dw2", wide, 1, 3, 3)
    return shapes


def _filled(shapes: Shapes) -> Tensors:
    """Random tensors in which each number matters: no bias of zero, no norm or layer scale of one."""
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for name, shape in shapes.items():
        noise = torch.randn(shape, generator=generator)
        if len(shape) > 1:
            tensors[name] = noise / int(np.prod(shape[1:])) ** 0.5
        else:
            tensors[name] = 0.2 * noise + (1 if "norm" in name and name.endswith("weight") else 0.5 * ("gamma" in name))
    return tensors


def _published(encoder: Tensors, prefix: str = "") -> Tensors:
    """The encoder in the file of the whole of SEEM."""
    others = ("sem_seg_head.pixel_decoder.adapter_1.weight", "sem_seg_head.predictor.query_feat.weight")
    others += ("sem_seg_head.predictor.lang_encoder.lang_encoder.positional_embedding", "dilation_kernel")
    whole = {f"backbone.{name}": value for name, value in encoder.items()} | {name: torch.zeros(2) for name in others}
    return {prefix + name: value for name, value in whole.items()}


def _saved(content: object, place: Path) -> Path:
    torch.save(content, place)
    return place


@pytest.fixture(scope="module")
def tiny() -> Tensors:
    """Seeded numbers for the tiny encoder of one block a stage, in SEEM's names."""
    return _filled(_focalnet(**_TINY | _SHALLOW, depthwise=True))


def _maps_of_focal_dw(tensors: Tensors, x: torch.Tensor, depths: tuple[int, ...], levels: int) -> dict[str, np.ndarray]:
    """Means of the four maps by the published description, written anew: channels last, linear layers, no modules."""

    def conv(x: torch.Tensor, name: str, **options: int) -> torch.Tensor:
        bias = tensors.get(f"{name}.bias")
        return functional.conv2d(x.permute(0, 3, 1, 2), tensors[f"{name}.weight"], bias, **options).permute(0, 2, 3, 1)

    def depthwise(x: torch.Tensor, name: str) -> torch.Tensor:
        weight = tensors[f"{name}.weight"]
        return conv(x, name, groups=len(weight), padding=weight.shape[-1] // 2)

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return functional.linear(x, tensors[f"{name}.weight"], tensors[f"{name}.bias"])

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return functional.layer_norm(x, x.shape[-1:], tensors[f"{name}.weight"], tensors[f"{name}.bias"])

    def modulation(x: torch.Tensor, at: str) -> torch.Tensor:
        query, context, *gates = linear(x, f"{at}.f").split([x.shape[-1]] * 2 + [1] * (levels + 1), dim=-1)
        gathered = torch.zeros_like(query)
        for level in range(levels):
            context = functional.gelu(depthwise(context, f"{at}.focal_layers.{level}.0"))
            gathered += gates[level] * context
        gathered += gates[levels] * functional.gelu(context.mean((1, 2), keepdim=True))
        return linear(query * conv(gathered / (levels + 1), f"{at}.h"), f"{at}.proj")

    means = {}
    x = norm(conv(x.permute(0, 2, 3, 1), "patch_embed.proj", stride=4, padding=3), "patch_embed.norm")
    for stage, depth in enumerate(depths):
        for at in (f"layers.{stage}.blocks.{block}" for block in range(depth)):
            x = x + depthwise(x, f"{at}.dw1")
            x = norm(x + tensors[f"{at}.gamma_1"] * modulation(x, f"{at}.modulation"), f"{at}.norm1")
            x = x + depthwise(x, f"{at}.dw2")
            wide = functional.gelu(linear(x, f"{at}.mlp.fc1"))
            x = norm(x + tensors[f"{at}.gamma_2"] * linear(wide, f"{at}.mlp.fc2"), f"{at}.norm2")
        means[_MAPS[stage]] = norm(x, f"norm{stage}").mean((1, 2)).numpy()
        if stage + 1 < len(depths):
            smaller = conv(x, f"layers.{stage}.downsample.proj", stride=2, padding=1)
            x = norm(smaller, f"layers.{stage}.downsample.norm")
    return means


def _agree(ours: np.ndarray, theirs: np.ndarray) -> None:
    assert cosines(ours, theirs).min() >= 0.9999
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), np.linalg.norm(theirs, axis=1), rtol=1e-3)


@pytest.mark.parametrize("size", [224, 96])
def test_a_tiny_focalnet_of_seem_gives_the_maps_of_the_published_description(tmp_path, tiny, shallow, size) -> None:
    shallow(1)
    path = _saved(_published(tiny), tmp_path / "seem_focalt_v0.pt")
    poolings = [*_MAPS, "mean", "res3+res5"]
    backbone = load_backbone(f"seem-focalnet-t@{path}", poolings=poolings, image_size=size, **_OPTIONS)
    pixels, normalised = smooth_inputs(backbone, 2)
    made = backbone.embed(pixels)
    expected = _maps_of_focal_dw(tiny, normalised, _SHALLOW["depths"], _TINY["levels"])
    for name in _MAPS:
        _agree(made[name], expected[name])
    np.testing.assert_array_equal(made["mean"], made["res5"])
    np.testing.assert_array_equal(made["res3+res5"], np.concatenate([made["res3"], made["res5"]], 1))
    assert backbone.dims == {"res2": 96, "res3": 192, "res4": 384, "res5": 768, "mean": 768, "res3+res5": 960}


_NAMES_OF_TRANSFORMERS = (
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
    (r"^patch_embed\.", "embeddings."),
    (r"^layers\.(\d+)\.blocks\.(\d+)\.", r"encoder.stages.\1.layers.\2."),
    (r"^layers\.(\d+)\.downsample\.proj\.", r"encoder.stages.\1.downsample.projection."),
    (r"^layers\.(\d+)\.downsample\.norm\.", r"encoder.stages.\1.downsample.norm."),
    (r"\.modulation\.f\.", ".modulation.projection_in."),
    (r"\.modulation\.h\.", ".modulation.projection_context."),
    (r"\.modulation\.proj\.", ".modulation.projection_out."),
    (r"^norm3\.", "layernorm."),
)


def _maps_of_transformers(tensors: Tensors, x: torch.Tensor) -> dict[str, np.ndarray]:
    """Means of the four maps by transformers' FocalNet; its stages know nothing of SEEM's norms."""
    config = hf.FocalNetConfig(
        embed_dim=_LARGE["width"],
        depths=list(_SHALLOW["depths"]),
        focal_levels=[_LARGE["levels"]] * 4,
        focal_windows=[3] * 4,
        use_conv_embed=True,
        use_post_layernorm=True,
        use_layerscale=True,
        normalize_modulator=True,
    )
    with torch.device("meta"):
        network = hf.FocalNetModel(config, add_pooling_layer=False)
    named = {}
    for name, value in tensors.items():
        for pattern, replacement in _NAMES_OF_TRANSFORMERS:
            name = re.sub(pattern, replacement, name)
        named[name] = value
    norms = {stage: [named.pop(f"norm{stage}.{part}") for part in ("weight", "bias")] for stage in range(3)}
    norms[3] = [named["layernorm.weight"], named["layernorm.bias"]]
    network.load_state_dict(named, assign=True)
    means = {}
    with torch.inference_mode():
        x, dimensions = network.eval().embeddings(x)
        for number, stage in enumerate(network.encoder.stages):
            x, whole, dimensions = stage(x, dimensions)
            normed = functional.layer_norm(whole, whole.shape[-1:], *norms[number])
            means[_MAPS[number]] = normed.mean(1).numpy()
    return means


@pytest.mark.slow
def test_a_large_focalnet_of_seem_gives_the_maps_of_transformers(tmp_path, shallow) -> None:
    shallow(1)
    tensors = _filled(_focalnet(**_LARGE | _SHALLOW, depthwise=False))
    path = _saved(_published(tensors), tmp_path / "seem_focall_v1.pt")
    backbone = load_backbone(f"seem-focalnet-l@{path}", poolings=_MAPS, image_size=64, **_OPTIONS)
    pixels, normalised = smooth_inputs(backbone, 2)
    made = backbone.embed(pixels)
    for name, expected in _maps_of_transformers(tensors, normalised).items():
        _agree(made[name], expected)


@pytest.mark.parametrize(
    ("entry", "shapes"),
    [
        ("seem-focalnet-t", _focalnet(**_TINY, depthwise=True)),
        ("seem-focalnet-l", _focalnet(**_LARGE, depthwise=False)),
    ],
    ids=["t", "l"],
)
def test_every_tensor_of_both_encoders_has_its_place(entry, shapes) -> None:
    with torch.device("meta"):
        target = ADAPTERS["seem"].create(resolve(entry)).state_dict()
        values = as_published(_published({name: torch.empty(shape) for name, shape in shapes.items()}), target)
    assert {name: value.shape for name, value in values.items()} == {n: value.shape for n, value in target.items()}
    assert len(values) == len(shapes)


@pytest.mark.parametrize(
    "content",
    [
        lambda tensors: _published(tensors, "module."),
        lambda tensors: {"model": _published(tensors), "epoch": 50},
        lambda tensors: {f"backbone.{name}": value for name, value in tensors.items()},
    ],
    ids=["as-several-gpus-save-it", "wrapped", "encoder-alone"],
)
def test_the_encoder_is_found_whatever_lies_around_it(tmp_path, tiny, shallow, content) -> None:
    shallow(1)
    path = _saved(content(tiny), tmp_path / "seem.pt")
    with torch.device("meta"):
        target = ADAPTERS["seem"].create(resolve("seem-focalnet-t")).state_dict()
    found, expected = (as_published(tensors, target) for tensors in (read_tensors(path), _published(tiny)))
    assert found.keys() == expected.keys() == target.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda t: t.pop("backbone.norm1.bias"), r"1 missing: norms\.1\.bias\. .*SEEM's FocalNet"),
        (lambda t: t.pop("backbone.layers.3.blocks.0.dw2.weight"), r"1 missing: layers\.3\.blocks\.0\.dw2\.weight"),
        (lambda t: t.update({"backbone.rubbish": torch.zeros(2)}), r"1 not part of the model: rubbish"),
        (lambda t: t.update({"backbone.norm0.bias": torch.zeros(2)}), r"norms\.0\.bias \(2,\) instead of \(96,\)"),
    ],
    ids=["missing", "missing-of-a-block", "extra", "misshapen"],
)
def test_an_encoder_that_is_not_whole_is_told(tmp_path, tiny, shallow, change, told) -> None:
    shallow(1)
    tensors = _published(tiny)
    change(tensors)
    with pytest.raises(WeightsError, match=told):
        load_backbone("seem-focalnet-t", weights=_saved(tensors, tmp_path / "seem.pt"), **_OPTIONS)


@pytest.mark.parametrize(
    "other",
    ["seem-focalnet-l", "resnet50", "sam-vit-b", "timm:focalnet_tiny_lrf", "clip-b32", "rad-dino", "blip-base"],
)
def test_a_file_of_seem_given_to_another_backbone_is_told_by_what_it_looks_like(tmp_path, tiny, shallow, other) -> None:
    shallow(1)
    path = _saved(_published(tiny), tmp_path / "seem_focalt_v0.pt")
    told = "(?s)seem_focalt_v0.pt: the tensors do not fit .*looks like SEEM's FocalNet"
    with pytest.raises(WeightsError, match=told):
        load_backbone(f"{other}@{path}", **_OPTIONS)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (
            ("image_encoder.neck.0.weight", "image_encoder.blocks.0.mlp.lin1.weight"),
            "looks like Segment Anything",
        ),
        (("mask_token", "pos_embed", "blocks.0.ls1.gamma"), "looks like DINOv2"),
        (("conv1.weight", "layer1.0.conv1.weight"), "not part of the model: conv1.weight"),
    ],
    ids=["sam", "dinov2", "resnet"],
)
def test_a_file_of_something_else_given_to_seem_is_told_by_what_it_looks_like(tmp_path, shallow, names, told) -> None:
    shallow(1)
    path = _saved({name: torch.zeros(2) for name in names}, tmp_path / "other.pt")
    with pytest.raises(WeightsError, match=f"(?s)other.pt: the tensors do not fit seem:focalnet-t.*{told}"):
        load_backbone(f"seem-focalnet-t@{path}", **_OPTIONS)


def test_our_own_names_are_no_published_layout() -> None:
    with torch.device("meta"):
        assert recognise(ADAPTERS["seem"].create(resolve("seem-focalnet-t")).state_dict()) is None


def test_stages_beyond_the_deepest_that_is_asked_are_not_computed(shallow) -> None:
    shallow(1)
    backbone = load_backbone("seem-focalnet-t@random", poolings=["res3", "res2"], image_size=32, **_OPTIONS)
    ran: list[int] = []
    for number, stage in enumerate(backbone.network.layers):
        stage.register_forward_hook(lambda *_, number=number: ran.append(number))
    backbone.embed(np.zeros((1, 3, 32, 32), np.uint8))
    assert ran == [0, 1]


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("seem-focalnet-t@random", {"image_size": 100}, "a multiple of 32, such as 96 or 128"),
        ("seem-focalnet-t@random", {"poolings": ["res6"]}, 'no pooling "res6".*It has mean, res2, res3, res4, res5'),
        ("seem:focalnet-s@random", {}, 'SEEM has no image encoder "focalnet-s" here.*focalnet-t'),
    ],
)
def test_what_seem_does_not_have_is_answered_with_what_it_has(shallow, name, options, told) -> None:
    shallow(1)
    with pytest.raises(BackboneError, match=told):
        load_backbone(name, **options, **_OPTIONS)


def test_a_network_of_seem_without_a_file_is_no_random_one() -> None:
    with pytest.raises(WeightsError, match=r"seem:focalnet-t@/path/to/FILE\.pt"):
        load_backbone("seem:focalnet-t", **_OPTIONS)

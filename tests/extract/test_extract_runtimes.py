"""Runtimes: OpenVINO gives torch's vectors, whatever the batch; what it cannot run torch runs, and the spec says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from medprobe.base import BackboneError
from medprobe.extract import device, extract, load_backbone
from medprobe.extract.adapters import Features
from medprobe.extract.adapters.from_timm import TimmAdapter
from medprobe.extract.loader import to_input
from medprobe.manifests import Source, read_image

_SIZES = {"timm:test_vit@random": 64, "timm:test_efficientnet@random": 64}
_POOLINGS = {"timm:test_vit@random": ["cls", "mean", "cls+mean"], "timm:test_efficientnet@random": ["pooled", "mean"]}
_LEAST_COSINE = {"fp32": 0.99999, "bf16": 0.9999}
_CPU = torch.device("cpu")


@pytest.fixture
def converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of converted networks, empty; OpenVINO is there."""
    pytest.importorskip("openvino")
    from medprobe.extract.runtimes import on_openvino

    monkeypatch.setattr(device, "openvino_is_installed", lambda: True)
    monkeypatch.setattr(on_openvino, "user_cache", lambda: tmp_path)
    return tmp_path / "converted"


@pytest.fixture
def conversions(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes that networks are converted for from now on."""
    from medprobe.extract.runtimes import on_openvino

    convert, done = on_openvino.convert, []
    monkeypatch.setattr(on_openvino, "convert", lambda vectors, shape: done.append(shape) or convert(vectors, shape))
    return done


def _load(name: str, runtime: str, precision: str = "fp32", **options):
    options = {"poolings": _POOLINGS.get(name), "image_size": _SIZES.get(name), "device": "cpu", **options}
    return load_backbone(name, runtime=runtime, precision=precision, **options)


def _images(count: int, side: int = 64) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 3, side, side), dtype=np.uint8)


def _least_cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).min())


def _needs_bf16(precision: str) -> None:
    if precision == "bf16" and not device.cpu_is_quick_at_bf16():
        pytest.skip("this processor has no bf16 arithmetic")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", _SIZES)
def test_openvino_gives_the_vectors_of_torch(converted, name, precision) -> None:
    _needs_bf16(precision)
    ours, exact = _load(name, "openvino", precision), _load(name, "torch")
    assert (ours.spec.runtime, ours.spec.precision) == ("openvino", precision)
    made, expected = ours.embed(_images(11)), exact.embed(_images(11))
    assert list(made) == list(expected) == _POOLINGS[name]
    for pooling, vectors in expected.items():
        assert made[pooling].dtype == np.float32
        assert made[pooling].shape == vectors.shape
        assert _least_cosine(made[pooling], vectors) >= _LEAST_COSINE[precision], pooling


@pytest.fixture
def scans(realdata, efficientnet) -> np.ndarray:
    """Inputs of EfficientNet-Lite0, of real scans."""
    paths = sorted((realdata / "brain-mri" / "test").glob("*/*.jpg"))[::60]
    return np.stack([to_input(read_image(Source(path)), efficientnet.transform) for path in paths])


@pytest.mark.weights
@pytest.mark.realdata
def test_openvino_gives_the_vectors_of_torch_for_real_scans(converted, efficientnet, scans) -> None:
    made, expected = _load("efficientnet-lite0", "openvino").embed(scans), efficientnet.embed(scans)
    assert _least_cosine(made["pooled"], expected["pooled"]) >= _LEAST_COSINE["fp32"]


@pytest.mark.weights
@pytest.mark.realdata
def test_bf16_in_openvino_is_as_near_to_fp32_as_bf16_in_torch(converted, efficientnet, scans) -> None:
    """Trained weights have channels of very different sizes, so bfloat16 costs more than with random ones."""
    _needs_bf16("bf16")
    exact = efficientnet.embed(scans)["pooled"]
    ours, theirs = (
        _least_cosine(_load("efficientnet-lite0", runtime, "bf16").embed(scans)["pooled"], exact)
        for runtime in ("openvino", "torch")
    )
    assert ours >= min(0.9999, theirs - 0.001)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", _SIZES)
def test_a_vector_does_not_depend_on_its_batch(converted, name, precision) -> None:
    _needs_bf16(precision)
    backbone, images = _load(name, "openvino", precision), _images(21)
    whole = backbone.embed(images)
    for first, last in ((0, 1), (3, 6), (5, 21), (20, 21)):
        part = backbone.embed(images[first:last])
        for pooling, vectors in whole.items():
            np.testing.assert_allclose(part[pooling], vectors[first:last], rtol=0, atol=1e-6, err_msg=pooling)


def test_openvino_has_several_batches_under_way(converted) -> None:
    backbone = _load("timm:test_efficientnet@random", "openvino")
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (60, 3, 64, 64), dtype=np.uint8))
    batches = images.split([1, 30, 9, 20])
    pending = [backbone.submit(batch) for batch in batches]
    for batch, result in zip(batches, pending, strict=True):
        for pooling, vectors in result().items():
            np.testing.assert_array_equal(vectors, backbone.embed(batch)[pooling])


def test_a_network_is_converted_once_for_both_precisions_and_again_when_its_file_is_damaged(
    converted, conversions
) -> None:
    name = "timm:test_efficientnet@random"
    first = _load(name, "openvino").embed(_images(3))
    assert len(conversions) == 1
    [folder] = converted.iterdir()
    assert sorted(path.name for path in folder.iterdir()) == ["digest", "model.bin", "model.xml"]
    again = _load(name, "openvino").embed(_images(3))
    np.testing.assert_array_equal(again["pooled"], first["pooled"])
    if device.cpu_is_quick_at_bf16():
        _load(name, "openvino", "bf16")
    assert len(conversions) == 1

    weights = bytearray((folder / "model.bin").read_bytes())
    weights[len(weights) // 2] ^= 1
    (folder / "model.bin").write_bytes(weights)
    np.testing.assert_array_equal(_load(name, "openvino").embed(_images(3))["pooled"], first["pooled"])
    assert len(conversions) == 2
    _load(name, "openvino", poolings=["mean"])
    assert len(conversions) == 3


def test_a_conversion_of_other_code_is_noticed_and_done_anew(converted, conversions, monkeypatch) -> None:
    name = "timm:test_efficientnet@random"
    features = TimmAdapter.features
    with monkeypatch.context() as other:
        other.setattr(TimmAdapter, "features", lambda self, net, x, *more: features(self, net, x.flip(1), *more))
        _load(name, "openvino")
    made = _load(name, "openvino").embed(_images(4))
    assert len(conversions) == 2
    assert _least_cosine(made["pooled"], _load(name, "torch").embed(_images(4))["pooled"]) >= _LEAST_COSINE["fp32"]


def test_a_folder_that_cannot_be_written_costs_a_warning_and_no_more(converted) -> None:
    converted.touch()
    with pytest.warns(UserWarning, match="a file is where a folder is needed.*will be converted again"):
        backbone = _load("timm:test_efficientnet@random", "openvino")
    assert backbone.spec.runtime == "openvino"
    assert np.isfinite(backbone.embed(_images(2))["pooled"]).all()


class _Sorted(TimmAdapter):
    """Features by an operation that OpenVINO does not have."""

    def features(self, network, images, wanted=None):
        tokens = network.forward_features(images)
        return Features(torch.linalg.qr(tokens.mean((2, 3))[:, :, None])[1].flatten(1), patches=tokens.flatten(2))


class _Forgetful(TimmAdapter):
    """Features that follow from the values of the first image: a tracer takes them for constants."""

    def features(self, network, images, wanted=None):
        tokens = network.forward_features(images).flatten(2).transpose(1, 2)
        return Features(tokens.mean(1) if images.std() < 0.5 else tokens.mean(1).flip(1), patches=tokens)


@pytest.mark.parametrize(
    ("adapter", "told"), [(_Sorted(), "cannot be converted"), (_Forgetful(), 'its "pooled" is another vector')]
)
@pytest.mark.parametrize("runtime", ["openvino", "auto"])
def test_what_openvino_cannot_run_torch_runs_and_the_spec_says_so(
    converted, monkeypatch, adapter, told, runtime
) -> None:
    from medprobe.extract import backbone as room

    monkeypatch.setitem(room.ADAPTERS, "timm", adapter)
    name = "timm:test_efficientnet@random"
    with pytest.warns(UserWarning, match=f"{name}: torch runs this network instead of OpenVINO, as .*{told}"):
        made = _load(name, runtime, poolings=["pooled"])
    plain = _load(name, "torch", poolings=["pooled"])
    assert made.spec == plain.spec
    np.testing.assert_array_equal(made.embed(_images(3))["pooled"], plain.embed(_images(3))["pooled"])
    assert not list(converted.glob("*"))


def test_a_cache_by_openvino_is_that_by_torch_under_another_name(converted, gallery, tmp_path) -> None:
    name = "timm:test_vit@random"
    ours, theirs = (
        extract(gallery, [_load(name, runtime)], tmp_path / "store", batch_size=5, workers=0, show_progress=False)[0]
        for runtime in ("openvino", "torch")
    )
    assert ours.spec.runtime == "openvino"
    assert ours.path != theirs.path
    assert _least_cosine(ours.load("cls"), theirs.load("cls")) >= _LEAST_COSINE["fp32"]


def test_nothing_is_reported_to_openvinos_makers(converted, monkeypatch) -> None:
    telemetry = pytest.importorskip("openvino_telemetry")
    used: list[str] = []
    for word in ("__init__", "send_event", "start_session"):
        monkeypatch.setattr(telemetry.Telemetry, word, lambda *_, word=word, **__: used.append(word))
    _load("timm:test_efficientnet@random", "openvino")
    assert used == []


_CUDA = torch.device("cuda")


@pytest.mark.parametrize(
    ("place", "installed", "quick", "chosen"),
    [
        (_CUDA, True, True, ("torch", "bf16")),
        (_CUDA, False, False, ("torch", "bf16")),
        (_CPU, True, True, ("openvino", "bf16")),
        (_CPU, True, False, ("openvino", "fp32")),
        (_CPU, False, True, ("torch", "bf16")),
        (_CPU, False, False, ("torch", "fp32")),
    ],
)
def test_auto_is_what_the_machine_is_quickest_at(monkeypatch, place, installed, quick, chosen) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    monkeypatch.setattr(device, "openvino_is_installed", lambda: installed)
    monkeypatch.setattr(device, "cpu_is_quick_at_bf16", lambda: quick)
    precision = device.choose_precision("auto", place)
    assert (device.choose_runtime("auto", precision, place), precision) == chosen


@pytest.mark.parametrize(
    ("place", "installed", "quick", "told"),
    [
        (_CUDA, True, True, "add --device cpu"),
        (_CPU, False, True, r"pip install 'openvino>="),
        (_CPU, True, False, "this processor has no bf16 arithmetic"),
    ],
)
def test_openvino_is_refused_where_it_cannot_keep_its_word(monkeypatch, place, installed, quick, told) -> None:
    monkeypatch.setattr(device, "openvino_is_installed", lambda: installed)
    monkeypatch.setattr(device, "cpu_is_quick_at_bf16", lambda: quick)
    with pytest.raises(BackboneError, match=told):
        device.choose_runtime("openvino", "bf16", place)
    assert device.choose_runtime("auto", "bf16", place) == "torch"
    assert device.choose_runtime("torch", "bf16", place) == "torch"


def test_an_old_gpu_without_bfloat16_computes_in_fp32(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    assert device.choose_precision("auto", _CUDA) == "fp32"


_PROGRAMS = {
    "nothing": lambda: None,
    "products, older setting": lambda: torch.set_float32_matmul_precision("high"),
    "products": lambda: setattr(torch.backends.cuda.matmul, "fp32_precision", "tf32"),
    "everything": lambda: setattr(torch.backends, "fp32_precision", "tf32"),
}


@pytest.mark.parametrize("allowed", _PROGRAMS)
def test_fp32_on_a_gpu_is_not_tf32_whatever_a_program_allows(allowed) -> None:
    convolutions, products = torch.backends.cudnn.conv, torch.backends.cuda.matmul

    def state() -> list[str]:
        return [convolutions.fp32_precision, products.fp32_precision]

    before = [torch.backends.fp32_precision, *state()]
    try:
        _PROGRAMS[allowed]()
        own = state()
        with device.exact_fp32(_CUDA, "fp32"):
            assert state() == ["ieee", "ieee"]
            assert torch.get_float32_matmul_precision() == "highest"
            assert not torch.backends.cuda.matmul.allow_tf32  # which torch.compile looks at
        with device.exact_fp32(_CUDA, "bf16"):
            assert state() == own
        assert state() == own
    finally:
        torch.set_float32_matmul_precision("highest")
        torch.backends.fp32_precision, convolutions.fp32_precision, products.fp32_precision = before


@pytest.mark.parametrize(("side", "batch"), [(98, 8), (224, 8), (384, 8), (518, 4), (1024, 1), (4096, 1)])
def test_openvino_is_given_fewer_large_images_at_once(side, batch) -> None:
    assert device.openvino_batch((side, side)) == batch


def test_openvino_takes_the_resampled_positions_of_transformers(converted, tmp_path) -> None:
    """A tracer makes transformers interpolate at every size; what is held is not interpolated again."""
    config = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 56, "patch_size": 14}
    model = transformers.Dinov2Model(transformers.Dinov2Config(**config))
    torch.nn.init.normal_(model.embeddings.position_embeddings)
    model.save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "preprocessor_config.json").write_text('{"size": {"height": 56, "width": 56}}')
    made, exact = (
        _load("hf:some/model", runtime, weights=tmp_path / "model", image_size=98) for runtime in ("openvino", "torch")
    )
    assert (made.spec.runtime, made.spec.positions) == ("openvino", "bicubic-offset-0.1")
    images = _images(9, 98)
    assert _least_cosine(made.embed(images)["cls"], exact.embed(images)["cls"]) >= _LEAST_COSINE["fp32"]

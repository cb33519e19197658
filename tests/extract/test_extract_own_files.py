"""Networks in files: `pt2:FILE` and `onnx:FILE` give what torch gave, and nothing that a file holds is executed."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import timm
import torch
from medprobe.base import BackboneError, WeightsError
from medprobe.extract import Normalization, load_backbone, load_spec
from medprobe.manifests import IntensityPolicy
from onnx import TensorProto, helper, numpy_helper
from torch import nn

_HALF = Normalization((0.5,), (0.5,))
_CPU: Any = {"device": "cpu", "precision": "fp32", "normalization": _HALF}
_IMAGES = torch.from_numpy(np.random.default_rng(3).integers(0, 256, (9, 3, 160, 160), dtype=np.uint8))


def _network(name: str = "test_vit") -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return timm.create_model(name, num_classes=0).eval()


def _normalised() -> torch.Tensor:
    return (_IMAGES.float() / 255 - 0.5) / 0.5


def _export(network: nn.Module, path: Path, *, dynamic: bool = True, size: int = 160) -> Path:
    shapes = ({0: torch.export.Dim("batch", min=1, max=512)},) if dynamic else None
    example = torch.zeros(2 if dynamic else 1, 3, size, size)
    torch.export.save(torch.export.export(network, (example,), dynamic_shapes=shapes), path)
    return path


@pytest.fixture(scope="module")
def net(tmp_path_factory) -> Path:
    """A network with one vector, exported for any number of images."""
    network = nn.Sequential(nn.Conv2d(3, 8, 16, 16), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return _export(network, tmp_path_factory.mktemp("pt2") / "net.pt2")


def test_the_name_of_a_file_is_no_part_of_what_it_is(net: Path, tmp_path: Path) -> None:
    moved = shutil.copy(net, tmp_path / "moved.pt2")
    spec = load_backbone(f"pt2:{net}", **_CPU).spec
    found = load_spec(spec, IntensityPolicy(), backbone=f"pt2:{moved}", device="cpu").spec
    assert (found.weights_digest, found.model != spec.model) == (spec.weights_digest, True)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_vit", "vit_tiny_patch16_224"])
def test_an_exported_network_gives_what_it_gave(tmp_path, name) -> None:
    network, size = _network(name), 224 if "224" in name else 160
    path = _export(network, tmp_path / "net.pt2", size=size)
    images = nn.functional.interpolate(_IMAGES, size)
    made = load_backbone(f"pt2:{path}", runtime="torch", **_CPU).embed(images)["pooled"]
    with torch.no_grad():
        np.testing.assert_allclose(made, network((images.float() / 255 - 0.5) / 0.5), atol=1e-5)


class _Parts(nn.Module):
    """Tokens and a vector by name, as networks of transformers give them."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 8, 16, 16)
        self.cls_token = nn.Parameter(torch.ones(1, 1, 8))

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        patches = self.embed(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(images.shape[0], -1, -1), patches], 1)
        return {"tokens": tokens, "pooler_output": tokens.mean(1).tanh()}


@pytest.mark.parametrize("dynamic", [True, False])
def test_named_outputs_of_a_free_and_of_a_fixed_batch_are_poolings(tmp_path, dynamic) -> None:
    network, poolings = _Parts(), ["cls", "mean", "pooler_output"]
    path = _export(network, tmp_path / "parts.pt2", dynamic=dynamic)
    made = load_backbone(f"pt2:{path}", poolings=poolings, runtime="torch", **_CPU).embed(_IMAGES)
    with torch.no_grad():
        tokens, vector = network(_normalised()).values()
    for pooling, expected in zip(poolings, (tokens[:, 0], tokens[:, 1:].mean(1), vector), strict=True):
        np.testing.assert_allclose(made[pooling], expected, atol=1e-5)


class _Runs:
    """A pickle that creates a folder when it is opened."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.place),)


def _rewritten(source: Path, target: Path, change: Callable[[str, bytes], bytes]) -> Path:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(name.partition("/")[2], old.read(name)))
    return target


def test_pickles_of_an_exported_file_are_never_opened(tmp_path, net) -> None:
    place = tmp_path / "was_here"
    evil = io.BytesIO()
    torch.save((_Runs(place),), evil)

    def in_sample_inputs(name: str, content: bytes) -> bytes:
        return evil.getvalue() if name == "data/sample_inputs/model.pt" else content

    def in_weights(name: str, content: bytes) -> bytes:
        if name == "data/weights/weight_0":
            return evil.getvalue()
        if name != "data/weights/model_weights_config.json":
            return content
        config = json.loads(content)
        next(iter(config["config"].values()))["use_pickle"] = True
        return json.dumps(config).encode()

    backbone = load_backbone(f"pt2:{_rewritten(net, tmp_path / 'a.pt2', in_sample_inputs)}", runtime="torch", **_CPU)
    assert backbone.dims == {"pooled": 8}
    with pytest.raises(WeightsError, match="pickled"):
        load_backbone(f"pt2:{_rewritten(net, tmp_path / 'b.pt2', in_weights)}", **_CPU)
    assert not place.exists()
    pickle.loads(pickle.dumps(_Runs(place)))
    assert place.exists()  # what opening it would have done


@pytest.mark.parametrize(
    "target", ["torch.hub.os.mkdir", "_operator.methodcaller", "torch.ops.aten.from_file.default", "os.mkdir"]
)
def test_only_operations_of_aten_are_run(tmp_path, net, target) -> None:
    def change(name: str, content: bytes) -> bytes:
        if name != "models/model.json":
            return content
        program = json.loads(content)
        program["graph_module"]["graph"]["nodes"][-1]["target"] = target
        return json.dumps(program).encode()

    with pytest.raises(WeightsError, match=f"the operation {target}"):
        load_backbone(f"pt2:{_rewritten(net, tmp_path / 'c.pt2', change)}", **_CPU)


def test_expressions_of_an_exported_file_are_never_evaluated(tmp_path, net) -> None:
    place = tmp_path / "was_here"

    def change(name: str, content: bytes) -> bytes:
        evil = f"__import__('os').mkdir('{place}')".encode()
        return content.replace(b"Symbol('s", evil + b"Symbol('s") if name == "models/model.json" else content

    load_backbone(f"pt2:{_rewritten(net, tmp_path / 'd.pt2', change)}", runtime="torch", **_CPU)
    assert not place.exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"PK\x03\x04 cut off", "not a whole file"),
        (b"<!DOCTYPE html>", "not a whole file"),
        (None, "no such file"),
        (lambda path: torch.save({"a": torch.ones(2)}, path), "ARCHITECTURE@FILE"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path, content, words) -> None:
    path = tmp_path / "net.pt2"
    if callable(content):
        content(path)
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match=words):
        load_backbone(f"pt2:{path}", **_CPU)


def test_torchscript_is_refused_with_the_way_out(tmp_path) -> None:
    with warnings.catch_warnings(action="ignore"):
        torch.jit.trace(nn.Conv2d(3, 2, 1), torch.zeros(1, 3, 4, 4)).save(tmp_path / "net.pt")
    with pytest.raises(WeightsError, match=r"torch\.export\.save"):
        load_backbone(f"pt2:{tmp_path / 'net.pt'}", **_CPU)
    with warnings.catch_warnings(action="ignore"), pytest.raises(WeightsError, match=r"pt2:FILE"):
        load_backbone(f"timm:test_vit@{tmp_path / 'net.pt'}", **_CPU)


@pytest.mark.slow  # imports transformers
def test_a_file_says_nothing_of_normalisation_unless_a_config_lies_beside_it(tmp_path, net) -> None:
    path = tmp_path / "net.pt2"
    path.write_bytes(net.read_bytes())
    bare = {"device": "cpu", "precision": "fp32", "runtime": "torch"}
    with pytest.raises(BackboneError, match="--normalization MEAN/STD"):
        load_backbone(f"pt2:{path}", **bare)
    config = {"image_processor_type": "ViTImageProcessor", "size": {"height": 160, "width": 160}, "resample": 2}
    config |= {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    transform = load_backbone(f"pt2:{path}", **bare).transform
    assert (transform.mean, transform.interpolation, transform.resize) == ((0.1, 0.2, 0.3), "bilinear", "squash")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"image_size": 64}, "use --image-size 160"),
        ({"precision": "bf16"}, "leave out --precision"),
        ({"poolings": ["cls"]}, "It has pooled"),
    ],
)
def test_what_a_file_fixes_cannot_be_changed(net, options, words) -> None:
    with pytest.raises(BackboneError, match=words):
        load_backbone(f"pt2:{net}", **{**_CPU, **options}, runtime="torch")


def test_a_file_cannot_be_trained(net, gallery) -> None:
    from medprobe.base.errors import FinetuneError
    from medprobe.finetune.embeddings import load_trainable

    with pytest.raises(FinetuneError, match="only networks of torch can be trained"):
        load_trainable(gallery, {"name": f"pt2:{net}", "normalization": _HALF}, "cpu")


@pytest.fixture(scope="module")
def onnx_vit(tmp_path_factory) -> Path:
    """The same transformer in ONNX, for one image."""
    pytest.importorskip("openvino")
    path = tmp_path_factory.mktemp("onnx") / "vit.onnx"
    names = {"input_names": ["images"], "output_names": ["vector"]}
    with warnings.catch_warnings(action="ignore"):
        torch.onnx.export(_network(), (torch.zeros(1, 3, 160, 160),), str(path), dynamo=False, **names)
    return path


def test_an_onnx_file_gives_what_torch_gives(onnx_vit, tmp_path) -> None:
    backbone = load_backbone(f"onnx:{onnx_vit}", **_CPU)
    with torch.no_grad():
        np.testing.assert_allclose(backbone.embed(_IMAGES)["pooled"], _network()(_normalised()), atol=1e-4)
    assert backbone.spec.runtime == "openvino"
    onnx.save(
        onnx.load(onnx_vit), tmp_path / "vit.onnx", save_as_external_data=True, location="vit.data", size_threshold=0
    )
    apart = load_backbone(f"onnx:{tmp_path / 'vit.onnx'}", **_CPU)
    np.testing.assert_array_equal(apart.embed(_IMAGES[:2])["pooled"], backbone.embed(_IMAGES[:2])["pooled"])
    with (tmp_path / "vit.data").open("r+b") as file:
        file.write(b"\0")
    assert load_backbone(f"onnx:{tmp_path / 'vit.onnx'}", **_CPU).spec.weights_digest != apart.spec.weights_digest


def _model(nodes: list[Any], *, inputs: tuple[str, ...] = ("x",), channels: int = 3) -> Any:
    shape = ["b", channels, 8, 8]
    values = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in (*inputs, "y")}
    graph = helper.make_graph(nodes, "graph", [values[name] for name in inputs], [values["y"]])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("my.ops", 1)])


def _branching() -> Any:
    inner = helper.make_tensor_value_info("z", TensorProto.FLOAT, None)
    branch = helper.make_graph([helper.make_node("Identity", ["x"], ["z"])], "branch", [], [inner])
    condition = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.array(True)))
    return _model([condition, helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)])


def _elsewhere(location: str) -> Any:
    model = _model([helper.make_node("Add", ["x", "w"], ["y"])])
    tensor = numpy_helper.from_array(np.ones((1, 3, 8, 8), np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    model.graph.initializer.append(tensor)
    return model


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (_branching, r"control flow \(If\)"),
        (lambda: _elsewhere("../w.data"), "not in its own folder"),
        (lambda: _elsewhere("/etc/hostname"), "not in its own folder"),
        (lambda: _elsewhere("w.data"), "w.data, which is missing"),
        (lambda: _model([helper.make_node("Nope", ["x"], ["y"], domain="my.ops")]), "OpenVINO cannot read it .*Nope"),
        (lambda: _model([helper.make_node("Add", ["x", "x2"], ["y"])], inputs=("x", "x2")), "it takes x, x2"),
        (lambda: _model([helper.make_node("Relu", ["x"], ["y"])], channels=4), "4 channels"),
    ],
)
def test_an_onnx_file_that_cannot_be_a_backbone_is_refused(tmp_path, model, words) -> None:
    pytest.importorskip("openvino")
    (tmp_path / "net.onnx").write_bytes(model().SerializeToString())
    with pytest.raises(WeightsError, match=words):
        load_backbone(f"onnx:{tmp_path / 'net.onnx'}", **_CPU)


@pytest.mark.parametrize("content", [b"", b"hello world", b"\x08\x07\x12"])
def test_a_damaged_onnx_file_is_refused(tmp_path, content) -> None:
    pytest.importorskip("openvino")
    (tmp_path / "net.onnx").write_bytes(content)
    with pytest.raises(WeightsError, match="not a whole ONNX file"):
        load_backbone(f"onnx:{tmp_path / 'net.onnx'}", **_CPU)

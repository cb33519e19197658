"""OpenCLIP's towers from files in their published layout give what an implementation of others gives."""

from __future__ import annotations

import json
import re
from pathlib import Path

import huggingface_hub
import numpy as np
import open_clip
import pytest
import torch
import transformers as hf
from medprobe.base import BackboneError, WeightsError
from medprobe.extract import load_backbone
from medprobe.extract.adapters import ADAPTERS, Wanted
from medprobe.extract.catalogue import catalogue, resolve
from medprobe.extract.weights.loading import as_published
from published_networks import agree, filled, saved, siglip_in_names_of_timm, vit, vit_of_transformers
from safetensors.torch import save_file
from shaken_networks import cosines, shaken, smooth_inputs

_OPTIONS = {"precision": "fp32", "device": "cpu"}
_MODEL = "open_clip:ViT-B-32/openai"


_CLIP_NAMES = (
    (r"^vision_model\.", ""),
    (r"^embeddings\.class_embedding$", "class_embedding"),
    (r"^embeddings\.patch_embedding\.weight$", "conv1.weight"),
    (r"^embeddings\.position_embedding\.weight$", "positional_embedding"),
    (r"^pre_layrnorm\.", "ln_pre."),
    (r"^post_layernorm\.", "ln_post."),
    (r"^encoder\.layers\.", "transformer.resblocks."),
    (r"layer_norm(\d)", r"ln_\1"),
    (r"mlp\.fc1", "mlp.c_fc"),
    (r"mlp\.fc2", "mlp.c_proj"),
    (r"self_attn\.out_proj", "attn.out_proj"),
)


def _renamed(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, new in rules:
        name = re.sub(pattern, new, name)
    return name


def _clip_as_published(model: hf.CLIPVisionModelWithProjection) -> dict[str, torch.Tensor]:
    """As OpenCLIP publishes it: the image tower under `visual.`, beside a text tower."""
    tensors, own = {}, model.state_dict()
    for name, value in own.items():
        if name == "visual_projection.weight":
            tensors["visual.proj"] = value.T.contiguous()
        elif "q_proj" in name:
            parts = [own[name.replace("q_proj", part)] for part in ("q_proj", "k_proj", "v_proj")]
            kind = name.rpartition(".")[2]
            layer = _renamed(name, _CLIP_NAMES).partition(".self_attn")[0]
            tensors[f"visual.{layer}.attn.in_proj_{kind}"] = torch.cat(parts)
        elif "k_proj" not in name and "v_proj" not in name and "position_ids" not in name:
            tensors[f"visual.{_renamed(name, _CLIP_NAMES)}"] = value.clone()
    return {
        **tensors,
        "positional_embedding": torch.zeros(77, 512),
        "token_embedding.weight": torch.zeros(9, 512),
        "transformer.resblocks.0.ln_1.weight": torch.zeros(512),
        "ln_final.bias": torch.zeros(512),
        "text_projection": torch.zeros(512, 512),
        "logit_scale": torch.zeros(()),
    }


@pytest.fixture(scope="module")
def clip() -> hf.CLIPVisionModelWithProjection:
    """transformers' ViT-B/32 of OpenAI's CLIP at full width, two blocks deep."""
    config = hf.CLIPVisionConfig(
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=2,
        num_attention_heads=12,
        patch_size=32,
        projection_dim=512,
        hidden_act="quick_gelu",
    )
    return shaken(hf.CLIPVisionModelWithProjection(config), 0.03)


@pytest.fixture(scope="module")
def published(clip) -> dict[str, torch.Tensor]:
    """Its tensors as OpenCLIP names them, a text tower included."""
    return _clip_as_published(clip)


@pytest.fixture(scope="module")
def clip_file(published, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "open_clip_model.safetensors"
    save_file(published, path)
    return path


@pytest.mark.parametrize("size", [224, 288])
def test_clip_gives_the_vectors_that_transformers_gives(clip, clip_file, shallow, size) -> None:
    shallow(2)
    backbone = load_backbone(_MODEL, weights=clip_file, poolings=["proj", "cls", "mean"], image_size=size, **_OPTIONS)
    pixels, normalised = smooth_inputs(backbone, 3)
    made = backbone.embed(pixels)
    with torch.inference_mode():
        out = clip(normalised, interpolate_pos_encoding=size != 224)
        patches = clip.vision_model.post_layernorm(out.last_hidden_state[:, 1:]).mean(1)
        cls = clip.vision_model.post_layernorm(out.last_hidden_state[:, 0])
    for pooling, expected in (("proj", out.image_embeds), ("cls", cls), ("mean", patches)):
        assert cosines(made[pooling], expected.numpy()).min() >= 0.9999, pooling
    assert (made["proj"].shape[1], made["cls"].shape[1]) == (512, 768)


def test_clip_has_the_same_positions_at_another_size_in_both_libraries(clip, clip_file, shallow, tmp_path) -> None:
    """The code of transformers itself would resample without antialiasing."""
    shallow(2)
    clip.save_pretrained(tmp_path)
    ours = load_backbone(_MODEL, weights=clip_file, poolings=["cls"], image_size=160, **_OPTIONS)
    own = {"size": 224, "image_mean": ours.transform.mean, "image_std": ours.transform.std}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(own))
    name = f"hf:openai/clip-vit-base-patch32@{tmp_path}"
    theirs = load_backbone(name, poolings=["pooled"], image_size=160, **_OPTIONS)
    assert ours.spec.positions == theirs.spec.positions == "bicubic-antialias"
    pixels = smooth_inputs(ours, 3)[0]
    assert cosines(ours.embed(pixels)["cls"], theirs.embed(pixels)["pooled"]).min() >= 0.99999


@pytest.mark.parametrize(
    ("name", "width", "depth", "hidden", "patch", "projected"),
    [
        ("clip-b16", 768, 12, 3072, 16, 512),
        ("clip-l14", 1024, 24, 4096, 14, 768),
        ("clip-h14", 1280, 32, 5120, 14, 1024),
        ("clip-g14", 1408, 40, 6144, 14, 1024),
    ],
)
def test_every_tensor_of_every_size_has_its_place(name, width, depth, hidden, patch, projected) -> None:
    kind = {"hidden_size": width, "num_hidden_layers": depth, "intermediate_size": hidden, "patch_size": patch}
    config = hf.CLIPVisionConfig(**kind, num_attention_heads=16, projection_dim=projected)
    with torch.device("meta"):
        target = ADAPTERS["open_clip"].create(resolve(name)).state_dict()
        values = as_published(_clip_as_published(hf.CLIPVisionModelWithProjection(config)), target)
    assert {name: value.shape for name, value in values.items()} == {n: value.shape for n, value in target.items()}


def test_biomedclip_gives_the_vector_of_transformers_vit_under_its_projection(tmp_path, shallow) -> None:
    shallow(2)
    tower, head = filled(vit(768, 2, 16, 197)), filled({"head.proj.weight": (512, 768)}, seed=1)
    texts = {"text.proj.0.weight": torch.zeros(640, 768), "logit_scale": torch.zeros(())}
    published = {f"visual.trunk.{name}": value for name, value in tower.items()} | texts
    published["visual.head.proj.weight"] = head["head.proj.weight"]
    path = saved(published, tmp_path / "open_clip_pytorch_model.bin")
    backbone = load_backbone(f"biomedclip@{path}", poolings=["proj", "cls"], **_OPTIONS)
    pixels, inputs = smooth_inputs(backbone, 1)
    made, network = backbone.embed(pixels), vit_of_transformers(tower)
    with torch.inference_mode():
        cls = network(inputs).last_hidden_state[:, 0]
    agree(made["cls"], cls)
    agree(made["proj"], cls @ head["head.proj.weight"].T)


@pytest.mark.parametrize("entry", [e for e in catalogue().values() if e.repository], ids=lambda entry: entry.name)
def test_the_catalogue_names_the_repository_that_the_library_fetches_from(entry) -> None:
    model, _, tag = entry.model.partition("/")
    assert entry.repository == open_clip.pretrained.get_pretrained_cfg(model, tag)["hf_hub"].strip("/")


def test_preprocessing_is_that_of_the_model_and_of_the_tag(shallow) -> None:
    shallow(1)
    spec = load_backbone("open_clip:ViT-B-32/openai@random", **_OPTIONS).transform
    assert (spec.size, spec.resize, spec.interpolation) == ((224, 224), "short-side", "bicubic")
    assert spec.mean == (0.48145466, 0.4578275, 0.40821073)
    spec = load_backbone("open_clip:ViT-B-16-SigLIP2/webli@random", **_OPTIONS).transform
    assert (spec.resize, spec.mean, spec.std) == ("squash", (0.5,) * 3, (0.5,) * 3)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda tensors: {"state_dict": {f"module.{name}": value for name, value in tensors.items()}, "epoch": 32},
        lambda tensors: {n.removeprefix("visual."): v for n, v in tensors.items() if n.startswith("visual.")},
        lambda tensors: {
            (name if name.startswith(("visual.", "logit")) else f"text.{name}"): value
            for name, value in tensors.items()
        },
    ],
    ids=["training-checkpoint", "image-tower-alone", "custom-text-tower"],
)
def test_every_published_wrapping_is_the_same_backbone(tmp_path, published, clip_file, shallow, wrap) -> None:
    shallow(2)
    torch.save(wrap(published), tmp_path / "own.pt")
    digests = {
        load_backbone(_MODEL, weights=p, **_OPTIONS).spec.weights_digest for p in (tmp_path / "own.pt", clip_file)
    }
    assert len(digests) == 1


def test_a_folder_with_its_own_config_needs_no_hub_and_its_config_decides(tmp_path, published) -> None:
    save_file(published, tmp_path / "open_clip_model.safetensors")
    (tmp_path / "model.safetensors").write_bytes(b"transformers' own file of the same repository")
    model = {"embed_dim": 512, "quick_gelu": True, "text_cfg": {"hf_model_name": "some/bert"}}
    model["vision_cfg"] = {"image_size": 224, "layers": 2, "width": 768, "patch_size": 32}
    preprocess = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "resize_mode": "squash"}
    config = {"model_cfg": model, "preprocess_cfg": preprocess}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    backbone = load_backbone("open_clip:hf-hub:some/clip", weights=tmp_path, **_OPTIONS)
    assert backbone.spec.poolings == ("proj",)
    assert (backbone.transform.resize, backbone.transform.std) == ("squash", (0.25,) * 3)
    model["quick_gelu"] = False
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    other = load_backbone("open_clip:hf-hub:some/clip", weights=tmp_path, **_OPTIONS)
    assert other.spec.weights_digest == backbone.spec.weights_digest
    assert other.spec.fingerprint != backbone.spec.fingerprint
    (tmp_path / "open_clip_config.json").write_text('{"model_cfg": {}}')
    with pytest.raises(WeightsError, match="not an OpenCLIP config"):
        load_backbone("open_clip:hf-hub:some/clip", weights=tmp_path, **_OPTIONS)


def _siglip_as_published(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    text = {"text.ln_final.weight": torch.zeros(768), "logit_scale": torch.zeros(1), "logit_bias": torch.zeros(1)}
    return {f"visual.trunk.{name}": value for name, value in siglip_in_names_of_timm(model).items()} | text


def test_siglip_gives_the_vector_that_transformers_gives(tmp_path, shallow) -> None:
    shallow(2)
    config = hf.SiglipVisionConfig(
        hidden_size=768, intermediate_size=3072, num_hidden_layers=2, num_attention_heads=12, patch_size=16
    )
    model = shaken(hf.SiglipVisionModel(config), 0.03)
    save_file(_siglip_as_published(model), tmp_path / "open_clip_model.safetensors")
    backbone = load_backbone(
        "open_clip:ViT-B-16-SigLIP2/webli", weights=tmp_path, poolings=["proj", "mean"], **_OPTIONS
    )
    pixels, normalised = smooth_inputs(backbone, 3)
    made = backbone.embed(pixels)
    with torch.inference_mode():
        out = model(normalised)
    assert cosines(made["proj"], out.pooler_output.numpy()).min() >= 0.9999
    assert cosines(made["mean"], out.last_hidden_state.mean(1).numpy()).min() >= 0.9999


@pytest.mark.parametrize(
    "model", ["ViT-S-32", "RN50", "convnext_tiny", "ViT-B-16-SigLIP2", "coca_ViT-B-32", "MobileCLIP-S1"]
)
def test_proj_is_what_the_library_itself_makes_of_an_image(shallow, model) -> None:
    shallow(2)
    entry, adapter = resolve(f"open_clip:{model}@random"), ADAPTERS["open_clip"]
    network = adapter.create(entry).eval()
    images = torch.randn(2, 3, *adapter.transform(network, entry, None).size)
    with torch.inference_mode():
        torch.testing.assert_close(
            adapter.features(network, images, Wanted()).proj, network(images), rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda tensors: tensors.pop("visual.ln_post.weight"), "1 missing: ln_post.weight"),
        (lambda tensors: tensors.update(rubbish=torch.zeros(2)), "1 not part of the model: rubbish"),
        (
            lambda tensors: tensors.update({"visual.proj": torch.zeros(768, 5)}),
            r"proj \(768, 5\) instead of \(768, 512\)",
        ),
    ],
    ids=["missing", "extra", "misshapen"],
)
def test_tensors_that_do_not_fit_are_named(tmp_path, published, shallow, change, told) -> None:
    shallow(2)
    own = dict(published)
    change(own)
    torch.save(own, tmp_path / "own.pt")
    with pytest.raises(WeightsError, match=told):
        load_backbone(_MODEL, weights=tmp_path / "own.pt", **_OPTIONS)


def test_openai_s_own_weights_are_not_run_with_another_activation(tmp_path, published, shallow) -> None:
    shallow(2)
    marks = {name: torch.tensor(224) for name in ("input_resolution", "context_length", "vocab_size")}
    torch.save({**published, **marks}, tmp_path / "ViT-B-32.pt")
    with pytest.raises(WeightsError, match="open_clip:ViT-B-32/openai@FILE"):
        load_backbone("open_clip:ViT-B-32", weights=tmp_path / "ViT-B-32.pt", **_OPTIONS)
    assert load_backbone(_MODEL, weights=tmp_path / "ViT-B-32.pt", **_OPTIONS).dims == {"proj": 512}


def test_an_archive_of_code_is_refused_unrun(tmp_path) -> None:
    scripted = torch.jit.script(torch.nn.Linear(2, 2))
    torch.jit.save(scripted, tmp_path / "ViT-B-32.pt")
    with pytest.raises(WeightsError, match=r"ViT-B-32\.pt: .*refused and never executed"):
        load_backbone(_MODEL, weights=tmp_path / "ViT-B-32.pt", **_OPTIONS)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("open_clip:ViT-B-23", 'Did you mean "ViT-B-32"'),
        ("open_clip:ViT-B-32/laion3b", "laion2b_s34b_b79k"),
        ("open_clip:hf-hub:some/clip@random", "known to the hub alone"),
    ],
)
def test_what_open_clip_does_not_have_is_told(name, told) -> None:
    with pytest.raises(BackboneError, match=told):
        load_backbone(name, **_OPTIONS)


@pytest.mark.parametrize(
    ("name", "repository"),
    [
        ("open_clip:ViT-B-32/laion2b_s34b_b79k", "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"),
        ("open_clip:hf-hub:some/clip", "some/clip"),
    ],
)
def test_a_hub_that_is_not_reached_ends_in_advice(shallow, name, repository, monkeypatch, tmp_path) -> None:
    shallow(1)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match=f"hf download {repository} --local-dir FOLDER") as told:
        load_backbone(name, **_OPTIONS)
    assert f"{name}@FOLDER" in str(told.value)


def test_weights_that_no_tag_names_are_asked_for() -> None:
    with pytest.raises(WeightsError, match="open_clip:ViT-B-32/TAG with one of"):
        load_backbone("open_clip:ViT-B-32", **_OPTIONS)


@pytest.mark.parametrize(
    ("name", "size", "told"), [("ViT-B-32", 230, "224 or 256"), ("RN50", 256, "224 x 224 pixels only")]
)
def test_a_size_that_cannot_be_is_refused(shallow, name, size, told) -> None:
    shallow(1)
    with pytest.raises(BackboneError, match=told):
        load_backbone(f"open_clip:{name}@random", image_size=size, **_OPTIONS)


@pytest.mark.parametrize(
    ("model", "pairs"),
    [
        ("ViT-S-32", {"cls@2": "cls", "mean@last1": "mean"}),
        ("ViT-B-16-SigLIP2", {"mean@2": "mean"}),
        ("RN50", {"stage4": "mean"}),
    ],
)
def test_the_deepest_place_inside_is_what_a_tower_ends_in(shallow, model, pairs) -> None:
    shallow(2)
    backbone = load_backbone(f"open_clip:{model}@random", poolings=[*pairs, *pairs.values(), "proj"], **_OPTIONS)
    made = backbone.embed(smooth_inputs(backbone, 1)[0])
    for inside, end in pairs.items():
        np.testing.assert_allclose(made[inside], made[end], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["open_clip:ViT-S-32@random", "biomedclip@random"])
def test_proj_of_a_block_is_what_a_tower_cut_off_after_it_ends_in(shallow, name) -> None:
    shallow(3)
    backbone = load_backbone(name, poolings=["proj@2", "proj@3", "proj", "patch0@2"], **_OPTIONS)
    tower = backbone.network
    shaken(tower, 0.02)
    pixels, normalised = smooth_inputs(backbone, 2)
    made = backbone.embed(pixels)
    np.testing.assert_allclose(made["proj@3"], made["proj"], rtol=1e-4, atol=1e-5)
    blocks = tower.trunk if hasattr(tower, "trunk") else tower.transformer
    name = "blocks" if hasattr(blocks, "blocks") else "resblocks"
    setattr(blocks, name, getattr(blocks, name)[:2])
    with torch.inference_mode():
        expected = tower(normalised)
    np.testing.assert_allclose(made["proj@2"], expected, rtol=1e-4, atol=1e-5)
    assert not np.allclose(made["proj@2"], made["proj"], atol=1e-2)


def test_a_tower_that_projects_more_than_its_class_token_has_no_proj_of_blocks(shallow) -> None:
    shallow(2)
    with pytest.raises(BackboneError, match=r'no pooling "proj@1".* It has proj, mean, mean@K'):
        load_backbone("open_clip:ViT-B-16-SigLIP2@random", poolings=["proj@1"], **_OPTIONS)

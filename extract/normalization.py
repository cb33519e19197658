"""Mean and standard deviation that are not the model's own: given in numbers, or taken from the images themselves."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import repeat
from pathlib import Path
from typing import Literal

import numpy as np

from ..base import BackboneError, ManifestError, QuarantineError, atomic_path, canonical_json, progress
from ..base.files import make_folder
from ..cache import Colour, TransformSpec
from ..cache.spec import dataset_folder
from ..manifests import Manifest

_BATCH, _SIDE = 32, 224
_DIGITS = 6
"""Decimals that are kept; far finer than any effect, and the same on every machine."""
_FILE = "normalization.json"


@dataclass(frozen=True)
class Normalization:
    """Mean and standard deviation per channel, on the 0..1 scale; one number stands for all channels.

    Examples:
        >>> from medprobe.extract import Normalization
        >>> Normalization(mean=(0.5,), std=(0.25,)).of(caches[0].spec.transform).mean
        (0.5, 0.5, 0.5)
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def of(self, transform: TransformSpec) -> TransformSpec:
        """`transform` with these instead of its own.

        Raises:
            BackboneError: another number of channels, or invalid numbers.
        """
        channels = transform.channels
        mean, std = (values * channels if len(values) == 1 else values for values in (self.mean, self.std))
        if len(mean) != channels or len(std) != channels:
            raise BackboneError(
                f"the normalization has {len(mean)} means and {len(std)} standard deviations, but the network takes "
                f"{channels} channel{'s' if channels > 1 else ''}; give one of each, or one for each channel."
            )
        try:
            return replace(transform, mean=mean, std=std)
        except ValueError as error:
            raise BackboneError(f"invalid normalization: {error}.") from error


def read_normalization(text: str) -> Literal["model", "dataset"] | Normalization:
    """What `--normalization` means: `model`, `dataset`, or `MEAN/STD` with numbers separated by commas.

    Raises:
        BackboneError: it is none of these.

    Examples:
        >>> from medprobe.extract import read_normalization
        >>> read_normalization("0.286/0.267")
        Normalization(mean=(0.286,), std=(0.267,))
    """
    if text in ("model", "dataset"):
        return text
    number = r"[0-9]*\.?[0-9]+"
    if not re.fullmatch(rf"{number}(,{number})*/{number}(,{number})*", text):
        raise BackboneError(
            f'"{text}" is not a normalization; use model, dataset, or numbers on the 0..1 scale such as 0.286/0.267 or '
            "0.485,0.456,0.406/0.229,0.224,0.225."
        )
    mean, std = (tuple(float(value) for value in part.split(",")) for part in text.split("/"))
    return Normalization(mean, std)


def dataset_normalization(
    manifest: Manifest, store: Path, *, workers: int | None = None, keep: bool = True, show_progress: bool = True
) -> dict[Colour, Normalization]:
    """Mean and standard deviation over the images of a manifest, in colour and in grey.

    Over the training images where the manifest has a split, so that nothing is learnt from a test image; else over all.
    Each image counts the same: it is brought to 224 x 224 pixels first. Sums are whole numbers, so neither order nor
    batches matter. They are counted once and kept next to the caches in `normalization.json`, until an image changes.

    Args:
        manifest: the images; those that cannot be read are skipped (`extract` quarantines them).
        store: the folder of all caches.
        workers: decoding processes; 0 decodes in this one. The default is all cores but one.
        keep: False writes nothing.
        show_progress: a bar, or a line a minute where the output is not a terminal.

    Raises:
        QuarantineError: no image can be read.
        ManifestError: there is a split, but no training image.

    Examples:
        >>> from medprobe.extract import dataset_normalization
        >>> found = dataset_normalization(manifest, folder / "store", workers=0, keep=False, show_progress=False)
        >>> len(found["rgb"].mean), len(found["grey"].mean)
        (3, 1)
    """
    rows = _rows(manifest)
    stamps, reasons = manifest.stamps()
    digest, file = _digest(manifest, rows, stamps), dataset_folder(store, manifest.name) / _FILE
    if (kept := _kept(file, digest)) is not None:
        return kept
    from .loader import decode, default_workers, geometry  # torch, which is not needed until here

    workers = default_workers() if workers is None else workers
    readable = rows[reasons[rows] == ""]
    batches = decode(manifest.sources(), readable, _REFERENCES, batch_size=_BATCH, workers=workers)
    # Of 8-bit values and of their squares, per channel: whole, so that they are exact.
    sums: dict[Colour, np.ndarray] = {name: np.zeros((2, count), np.uint64) for name, count in _CHANNELS.items()}
    pixels = 0
    with progress(f"Mean and deviation of {manifest.name}", len(readable), unit="images", enabled=show_progress) as bar:
        for batch in batches:
            for transform in _REFERENCES:
                images = batch.inputs[geometry(transform)]
                wide = images.numpy().astype(np.uint32)
                sums[transform.colour] += [each.sum((0, 2, 3), dtype=np.uint64) for each in (wide, wide * wide)]
            pixels += len(batch.rows) * _SIDE * _SIDE
            bar.advance(len(batch.rows) + len(batch.failures))
    if not pixels:
        raise QuarantineError(f"none of the {len(rows):,} images of {manifest.name} can be read, so they have no mean.")
    found: dict[Colour, Normalization] = {colour: _normalization(*totals / pixels) for colour, totals in sums.items()}
    if keep:
        _keep(file, digest, found)
    return found


def _normalization(mean: np.ndarray, mean_square: np.ndarray) -> Normalization:
    """Of 8-bit values, on the 0..1 scale; images of one colour get the smallest deviation that is kept."""
    deviation = np.maximum(np.sqrt(np.maximum(mean_square - mean**2, 0)) / 255, 10.0**-_DIGITS)
    return Normalization(*(tuple(round(float(one), _DIGITS) for one in values) for values in (mean / 255, deviation)))


_CHANNELS: dict[Colour, int] = {"rgb": 3, "grey": 1}
_REFERENCES = [
    TransformSpec(
        size=(_SIDE, _SIDE),
        resize="squash",
        resize_to=(_SIDE, _SIDE),
        interpolation="bilinear",
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
        colour=colour,
    )
    for colour, channels in _CHANNELS.items()
]


def _rows(manifest: Manifest) -> np.ndarray:
    if "split" not in manifest.table:
        return np.arange(len(manifest))
    rows = np.flatnonzero((manifest.table["split"] == "train").to_numpy())
    if not len(rows):
        raise ManifestError(
            f"{manifest.name} has a split but no image in train, so its normalization cannot be taken from training "
            "images; use --normalization model, or numbers such as 0.286/0.267."
        )
    return rows


def _digest(manifest: Manifest, rows: np.ndarray, stamps: np.ndarray) -> str:
    """Which images were counted, as they lie on the disk."""
    hasher = blake2b(digest_size=16)
    seen = manifest.table.iloc[rows]
    frames = seen.get("frame", repeat(None))
    for sample, path, frame, stamp in zip(seen["sample_id"], seen["path"], frames, stamps[rows], strict=False):
        hasher.update(f"{sample}\0{path}\0{frame}\0{stamp}\n".encode())
    return hasher.hexdigest()


def _kept(file: Path, digest: str) -> dict[Colour, Normalization] | None:
    try:
        content = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None  # it may be a named pipe
        if content is None or content["images"] != digest:
            return None
        return {
            colour: Normalization(tuple(content[colour]["mean"]), tuple(content[colour]["std"])) for colour in _CHANNELS
        }
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None  # no longer whole: counted again


def _keep(file: Path, digest: str, found: dict[Colour, Normalization]) -> None:
    make_folder(file.parent)
    content = {colour: {"mean": one.mean, "std": one.std} for colour, one in found.items()}
    with atomic_path(file) as temporary:
        temporary.write_text(canonical_json({"images": digest, **content}), encoding="utf-8")

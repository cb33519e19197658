"""Images that one core decodes and makes the input of a network from, by format: `name images_per_s ms cores`.

    python benchmarks/decoding.py [--only jpeg] [--size 224] [--repeat 3]

From files to uint8 of 3 x 224 x 224 (shorter side to 256, bicubic, centre crop), with content digests, in one worker
as `extract` uses it. Rates are of processor seconds, of the worker and of what the main process does for it, so that
other programs on the machine hardly count; the fastest repetition is shown. The last column is how many cores feed a
device that embeds 5,000 images a second.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from medprobe.cache import TransformSpec
from medprobe.extract.loader import decode
from medprobe.manifests import Source
from PIL import Image
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, SecondaryCaptureImageStorage, generate_uid

DEVICE_RATE = 5000
INPUT = TransformSpec(
    size=(224, 224), resize="short-side", resize_to=256, interpolation="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3
)
DIFFERENT = 4
SIZES = {"224": ((224, 224), 800), "3000x2000": ((3000, 2000), 12)}
"""Width and height, and how many images, of which four differ."""


def picture(size: tuple[int, int], number: int) -> Image.Image:
    """Something in colour between a photograph and noise: a JPEG of 3,000 x 2,000 has 3 MB."""
    coarse = np.random.default_rng(number).integers(0, 256, (size[1] // 4, size[0] // 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size)


def write_dicom(image: Image.Image, place: Path, *, compressed: bool) -> None:
    """The luma as 12 of 16 bits."""
    pixels = np.asarray(image.convert("L")).astype(np.uint16) * 16
    file = Dataset()
    file.file_meta = FileMetaDataset()
    file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file.SOPClassUID, file.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
    file.Rows, file.Columns = pixels.shape
    file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
    file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 16, 12, 11, 0
    file.PixelData = pixels.tobytes()
    if compressed:
        file.compress(JPEG2000Lossless, generate_instance_uid=False)
    file.save_as(place, enforce_file_format=True)


FORMATS: dict[str, Callable[[Image.Image, Path], None]] = {
    "jpeg": lambda image, place: image.save(place, "JPEG", quality=90),
    "jpeg-grey": lambda image, place: image.convert("L").save(place, "JPEG", quality=90),
    "png": lambda image, place: image.save(place, "PNG"),
    "dicom-raw": lambda image, place: write_dicom(image, place, compressed=False),
    "dicom-jpeg2000": lambda image, place: write_dicom(image, place, compressed=True),
}


def processor_s(sources: list[Source]) -> float:
    """Processor seconds of this process and a worker, from files to inputs."""
    before = os.times()
    batches = list(decode(sources, range(len(sources)), [INPUT], batch_size=32, workers=1))
    assert not any(batch.failures for batch in batches)
    return sum(os.times()[:4]) - sum(before[:4])


def main() -> None:
    """Prints a line for each format and size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=FORMATS)
    parser.add_argument("--size", choices=SIZES)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    for format_, write in FORMATS.items():
        for name, (size, count) in SIZES.items():
            if options.only not in (None, format_) or options.size not in (None, name):
                continue
            with tempfile.TemporaryDirectory() as folder:
                files = [Path(folder, str(number)) for number in range(DIFFERENT)]
                for number, file in enumerate(files):
                    write(picture(size, number), file)
                sources = [Source(files[number % DIFFERENT]) for number in range(count)]
                each = min(processor_s(sources) for _ in range(options.repeat)) / count
            print(f"{format_}/{name} {1 / each:.0f} {1e3 * each:.2f} {DEVICE_RATE * each:.1f}", flush=True)


if __name__ == "__main__":
    main()

"""DICOM files, made for one promise each, and what their pixels should become."""

from __future__ import annotations

import base64
import io
import struct
from pathlib import Path

import numpy as np
from medprobe.manifests import IntensityPolicy, Source, read_image
from PIL import Image
from pydicom import Dataset, dcmwrite, uid
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate

NAME = "PLANTED_NAME"
RAMP = np.arange(-1024, 3072, dtype=np.int16).reshape(64, 64)


def dataset(pixels: np.ndarray, *, colours: bool = False, frames: int = 0, **elements: object) -> Dataset:
    shape = pixels.shape[1:] if frames else pixels.shape
    header = Dataset()
    header.PatientName, header.PatientID, header.SOPClassUID = NAME, NAME, uid.SecondaryCaptureImageStorage
    header.Rows, header.Columns = shape[:2]
    header.SamplesPerPixel = 3 if colours else 1
    header.PhotometricInterpretation = "RGB" if colours else "MONOCHROME2"
    if colours:
        header.PlanarConfiguration = 0
    header.BitsAllocated = 8 * pixels.dtype.itemsize
    if frames:
        header.NumberOfFrames = frames
    if pixels.dtype.kind == "f":
        setattr(header, "FloatPixelData" if pixels.itemsize == 4 else "DoubleFloatPixelData", pixels.tobytes())
    else:
        header.BitsStored, header.HighBit = header.BitsAllocated, header.BitsAllocated - 1
        header.PixelRepresentation = int(pixels.dtype.kind == "i")
        header.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    for keyword, value in elements.items():
        setattr(header, keyword, value)
    return header


def written(path: Path, header: Dataset, syntax: uid.UID = uid.ExplicitVRLittleEndian) -> Path:
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = syntax
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID
    header.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    if "PixelData" in header:
        header["PixelData"].VR = "OB" if syntax.is_encapsulated or header.BitsAllocated == 8 else "OW"
        header["PixelData"].is_undefined_length = syntax.is_encapsulated
    dcmwrite(path, header, enforce_file_format=True)
    return path


def compressed(path: Path, header: Dataset, frames: list[bytes], syntax: uid.UID) -> Path:
    header.PixelData = encapsulate(frames)
    return written(path, header, syntax)


def read(path: Path, frame: int | None = None, **reading: object) -> np.ndarray:
    return read_image(Source(path, frame, reading=IntensityPolicy(**reading)))


def spread(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """The greys before rounding."""
    return np.clip((values.astype(float) - low) / (high - low), 0, 1) * 255


def check(pixels: np.ndarray, greys: np.ndarray) -> None:
    np.testing.assert_allclose(pixels, greys, rtol=0, atol=0.5 + 1e-6)


RGB = np.random.default_rng(1).integers(0, 256, (10, 12, 3), dtype=np.uint8)


FLAT = np.broadcast_to(np.array([200, 60, 20], np.uint8), (16, 16, 3))


def jpeg_of_flat(*, adobe: int | None = None, jfif: bool = False) -> bytes:
    """A JPEG of `FLAT` in YCbCr that says so in the way that is asked for."""
    file = io.BytesIO()
    Image.fromarray(FLAT).save(file, "JPEG", quality=95, subsampling=0)
    whole = file.getvalue()
    (length,) = struct.unpack_from(">H", whole, 4)
    message = b"" if adobe is None else b"\xff\xee\x00\x0eAdobe\x00\x64" + bytes([0, 0, 0, 0, adobe])
    return whole[:2] + message + (whole[2:] if jfif else whole[4 + length :])


def lossless_jpeg(values: np.ndarray, bits: int, predictor: int = 1) -> bytes:
    """A lossless JPEG of (H, W) or (H, W, 3) unsigned values, whose codes all have five bits."""
    channels = np.atleast_3d(values).astype(int)
    count, coded = channels.shape[2], []
    for y, x, channel in np.ndindex(channels.shape):
        plane = channels[..., channel]
        if y and x:
            left, above, corner = plane[y, x - 1], plane[y - 1, x], plane[y - 1, x - 1]
            predicted = (left, above, corner, left + above - corner, left + ((above - corner) >> 1),
                         above + ((left - corner) >> 1), (left + above) >> 1)[predictor - 1]  # fmt: skip
        else:
            predicted = plane[y, x - 1] if x else plane[y - 1, x] if y else 1 << (bits - 1)
        difference = (plane[y, x] - predicted + 32767) % 65536 - 32767
        size = int(abs(difference)).bit_length()
        extra = difference if difference > 0 else difference + (1 << size) - 1
        coded.append(f"{size:05b}" + (f"{extra:0{size}b}" if 0 < size < 16 else ""))
    stream = "".join(coded)
    stream += "1" * (-len(stream) % 8)
    data = int(stream, 2).to_bytes(len(stream) // 8, "big").replace(b"\xff", b"\xff\0")
    parts = bytes(part for channel in range(1, count + 1) for part in (channel, 0x11, 0))
    tables = bytes([0, 0, 0, 0, 0, 17, *[0] * 11, *range(17)])
    scan = bytes([count, *(part for channel in range(1, count + 1) for part in (channel, 0)), predictor, 0, 0])
    segments = [
        (0xC3, struct.pack(">BHHB", bits, *values.shape[:2], count) + parts), (0xC4, tables), (0xDA, scan),
    ]  # fmt: skip
    header = b"".join(struct.pack(">BBH", 0xFF, marker, 2 + len(body)) + body for marker, body in segments)
    return b"\xff\xd8" + header + data + b"\xff\xd9"


HTJ2K = base64.b85decode(
    "|4;u>04YEK0000A0000C00000000000000A0000C0000000000009pH0sl|{2mk^A000XAQUDA90ssL31q1{@0smY86Cj9?kdTm&kdTm&kdTmwh"
    "=~7W02crOPjF>!N>E53R%LP^FfKASE;BCwkN^q*00000p8x^>lfVEbQ}YD}bN~Rr024p}6F>kG037}T2Xp}5_5+7>009Sd0KfnfKmZd!01|*EmjM"
    "fO03YuFA~XQr0Ect{zyK8x00mS40Wkl6-~k8XbpU|&+4sOQ0sgiC|9^o5bO68rE8qYYga86?NCZLtN0879@&fnZi+KPW#YWiZjo#?=97c2j?6?5`f"
    "A#@_bpZd_"
)
"""`arange(120).reshape(12, 10) * 37 % 4096` in 16 bits, losslessly compressed by OpenJPH."""

"""The frames of a DICOM file: checked, decoded one at a time, in RGB where they are colours."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
from pydicom import Dataset, uid
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import convert_color_space

from ...base import ImageError
from .dicom_codestream import Codestream, describe_jpeg, describe_jpeg2000
from .dicom_header import UNDEFINED, YBR, Content, Header, Layout, read_header

_STRIP = 2**20
"""Pixels whose colours are converted at once."""
_JPEG = (*uid.JPEGTransferSyntaxes, *uid.JPEGLSTransferSyntaxes)


class DicomFile:
    """An open DICOM file."""

    def __init__(self, header: Header) -> None:
        self._header = header

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[DicomFile]:
        """Reads the header of the file at `path` and checks it.

        Raises:
            ImageError: as `read_header`.
        """
        silence_pydicom()
        with path.open("rb") as file:
            yield cls(read_header(Content(file, os.fstat(file.fileno()).st_size)))

    @property
    def elements(self) -> Dataset:
        """The elements that say how pixels are stored and shown."""
        return self._header.elements

    @property
    def layout(self) -> Layout:
        """How pixels are stored."""
        return self._header.layout

    def frame(self, index: int) -> np.ndarray:
        """The stored values of one frame: (H, W), or (H, W, 3) unsigned RGB.

        Raises:
            ImageError: they are cut off, damaged, or cannot be decoded.
        """
        self._header.content.seek(self._header.start)
        self._header.content.whole = True
        return self._compressed(index) if self._header.syntax.is_encapsulated else self._uncompressed(index)

    def _uncompressed(self, index: int) -> np.ndarray:
        if self._header.length == UNDEFINED:
            raise ImageError("the file is damaged: its pixels are compressed, and its header says that they are not")
        if -(-self.layout.bits_up_to(index + 1) // 8) > self._header.length:
            raise ImageError("the file is cut off or damaged: it holds fewer pixels than its header declares")
        values, _ = get_decoder(self._header.syntax).as_array(
            self._header.content.as_file, index=index, raw=True, **self._options()
        )
        return self._in_rgb(values, self.layout.photometric)

    def _compressed(self, index: int) -> np.ndarray:
        offsets = self.elements.get("ExtendedOffsetTable"), self.elements.get("ExtendedOffsetTableLengths")
        frame = get_frame(
            self._header.content.as_file,
            index,
            number_of_frames=self.layout.frames,
            extended_offsets=None if None in offsets else cast("tuple[bytes, bytes]", offsets),
        )
        stream: Codestream | None = None
        if self._header.syntax in uid.JPEG2000TransferSyntaxes:
            stream, frame = describe_jpeg2000(frame)
        elif self._header.syntax in _JPEG:
            stream = describe_jpeg(frame)
        if stream is not None:
            self._check_stream(stream)
        plugin = self._plugin(stream)
        source = encapsulate([frame], has_bot=False)
        try:
            values, said = get_decoder(self._header.syntax).as_array(
                source, index=0, raw=True, decoding_plugin=plugin, **self._options(frames=1)
            )
        except (RuntimeError, ValueError):
            raise ImageError(
                f"the file is damaged: its pixels cannot be decoded ({self._header.syntax.name})"
            ) from None
        # Pillow has undone what an Adobe marker says of the colours; the others leave colours as they stand.
        as_rgb = plugin == "pillow" and stream is not None and stream.adobe
        return self._in_rgb(values, "RGB" if as_rgb else str(said["photometric_interpretation"]))

    def _check_stream(self, stream: Codestream) -> None:
        layout = self.layout
        if (stream.rows, stream.columns, stream.samples) != (layout.rows, layout.columns, layout.samples):
            raise ImageError("the file is damaged: its compressed pixels have another size than its header declares")
        if stream.precision > layout.bits_allocated:
            raise ImageError("the file is damaged: its compressed pixels have more bits than its header declares")

    def _plugin(self, stream: Codestream | None) -> str:
        """The decoder, the same on every machine whatever else is installed: lossy pixels differ between decoders."""
        if stream is None:
            return "pydicom"
        narrow = self._header.syntax == uid.JPEGBaseline8Bit or self.layout.bits_stored == 8
        plugin = "pillow" if stream.kind == "jpeg" and stream.precision == 8 and narrow else "pylibjpeg"
        if plugin not in get_decoder(self._header.syntax).available_plugins:
            name = "pylibjpeg-openjpeg" if stream.kind == "jpeg2000" else "pylibjpeg-libjpeg"
            raise ImageError(
                f'{self._header.syntax.name} needs the decoder {name}; pip install "medprobe[medical]"'
                if plugin == "pylibjpeg"
                else f"{self._header.syntax.name} needs a Pillow that reads JPEG"
            )
        return plugin

    def _options(self, frames: int | None = None) -> dict[str, Any]:
        """What pydicom's decoders want to be told."""
        layout = self.layout
        return {
            "rows": layout.rows,
            "columns": layout.columns,
            "samples_per_pixel": layout.samples,
            "number_of_frames": frames or layout.frames,
            "bits_allocated": layout.bits_allocated,
            "bits_stored": layout.bits_stored,
            "pixel_representation": int(layout.signed),
            "planar_configuration": layout.planar,
            "photometric_interpretation": layout.photometric,
            "pixel_keyword": layout.element,
            "pixel_vr": self._header.kind,
            "allow_excess_frames": False,
        }

    def _in_rgb(self, values: np.ndarray, photometric: str) -> np.ndarray:
        if values.ndim == 3 and photometric in YBR:
            if values.dtype != np.uint8:
                raise ImageError("has YBR colours of more than 8 bits")
            # By strips, since it passes through numbers of four times the size.
            return np.concatenate([convert_color_space(strip, "YBR_FULL", "RGB") for strip in _strips(values)])
        return values


def _strips(values: np.ndarray) -> Iterator[np.ndarray]:
    rows = max(1, _STRIP // values.shape[1])
    return (values[start : start + rows] for start in range(0, len(values), rows))


def silence_pydicom() -> None:
    """Keeps pydicom's remarks about odd headers, which may repeat them, out of the user's terminal and logs.

    From the first DICOM file on, for the whole process: to switch it off and on again around each read would, with
    several threads, leave it on or off by chance. Doing it again changes nothing.
    """
    warnings.filterwarnings("ignore", module=r"pydicom(\.|$)")
    logging.getLogger("pydicom").propagate = False

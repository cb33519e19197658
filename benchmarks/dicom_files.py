"""Reads every DICOM file with pixels that pydicom ships for its own tests: the table of docs/formats.md.

    python benchmarks/dicom_files.py            the table, to be pasted there
    python benchmarks/dicom_files.py --update   writes it into docs/formats.md

Whether a file has pixels is decided by pydicom, not by the reader.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
from medprobe.base import ImageError
from medprobe.manifests import Source, read_image

PAGE = Path(__file__).resolve().parent.parent / "docs" / "formats.md"
BEGIN, END = "<!-- dicom-files -->", "<!-- /dicom-files -->"
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


def dicom_files() -> list[Path]:
    """Every DICOM file that is installed with pydicom, by name."""
    # Not through pydicom.data, which would fetch the files that are not installed.
    found = (path for path in (Path(pydicom.__file__).parent / "data").rglob("*") if path.is_file())
    return sorted((p for p in found if p.suffix == ".dcm" or _is_marked(p)), key=lambda p: (p.name.lower(), p))


def rows() -> Iterator[tuple[str, str, str, str, str]]:
    """File, transfer syntax, colours, bits and what the reader made of it, for every file with pixels."""
    for path in dicom_files():
        header = _header(path)
        if any(keyword in header for keyword in _PIXELS):
            yield path.name, *_declared(header), _outcome(path)


def table() -> str:
    """The rows as Markdown."""
    lines = [
        f"pydicom {pydicom.__version__}:",
        "",
        "| file | transfer syntax | colours | bits | read |",
        "| --- " * 5 + "|",
    ]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows())])


def table_of_page() -> str:
    """The table that stands in docs/formats.md."""
    return PAGE.read_text(encoding="utf-8").split(BEGIN)[1].split(END)[0].strip()


def _header(path: Path) -> pydicom.Dataset:
    with warnings.catch_warnings(action="ignore"):
        header = pydicom.dcmread(path, force=True)
        if any(element.keyword for element in header):
            return header
        # One file starts with a stray blank; without it the pixels are seen that it has.
        return pydicom.dcmread(BytesIO(path.read_bytes().lstrip(b" ")), force=True)


def _is_marked(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def _declared(header: pydicom.Dataset) -> tuple[str, str, str]:
    syntax = getattr(header, "file_meta", {}).get("TransferSyntaxUID")
    bits = f"{header.BitsStored} of {header.BitsAllocated}" if "BitsStored" in header else ""
    return syntax.keyword if syntax else "none named", header.get("PhotometricInterpretation", ""), bits


def _outcome(path: Path) -> str:
    try:
        return _shape(read_image(Source(path)))
    except ImageError as error:
        if "holds" not in str(error) or "images" not in str(error):
            return f"refused: {error}"
        count = int(str(error).split()[1])
    shapes = {_shape(read_image(Source(path, frame))) for frame in range(count)}
    return f"{count} frames of {', '.join(sorted(shapes))}"


def _shape(pixels: np.ndarray) -> str:
    return " x ".join(map(str, pixels.shape))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--update", action="store_true", help="write the table into docs/formats.md")
    if not parser.parse_args().update:
        print(table())
        return
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{table()}\n{END}{rest.split(END)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()

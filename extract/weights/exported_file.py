"""Files of `torch.export.save` read as data: their graph as JSON, their weights as bytes; no pickle is opened."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ...base import WeightsError
from ...base.text import first_line

DTYPES = {
    1: torch.uint8,
    2: torch.int8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    12: torch.bool,
    13: torch.bfloat16,
}
"""By the numbers of `torch._export.serde.schema.ScalarType`; the rarer ones are refused."""
_GRAPH, _WEIGHTS, _CONSTANTS = "models/model.json", "data/weights/", "data/constants/"


@dataclass(frozen=True)
class ExportedFile:
    """What is in a file."""

    program: Mapping[str, Any]
    """The JSON of `torch._export.serde.schema.ExportedProgram`."""
    weights: Mapping[str, torch.Tensor]
    constants: Mapping[str, torch.Tensor]
    """Both by the names that the program's signature has for them."""


def read_exported(path: Path) -> ExportedFile:
    """Reads a file that `torch.export.save` of torch 2.8 or later wrote.

    `torch.export.load` is not called: it opens pickles that the file may hold, and evaluates texts of the file as
    Python.

    Raises:
        WeightsError: there is no such file, it is of another kind, damaged, or holds pickled tensors or objects.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such file.")
    try:
        with zipfile.ZipFile(path) as archive:
            root = _root(archive, path)
            program = json.loads(archive.read(root + _GRAPH))
            weights = _tensors(archive, root + _WEIGHTS, "model_weights_config.json", path)
            constants = _tensors(archive, root + _CONSTANTS, "model_constants_config.json", path)
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError) as error:
        raise WeightsError(f"{path.name}: not a whole file of torch.export ({first_line(error)}).") from error
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError, RecursionError) as error:
        raise WeightsError(f"{path.name}: damaged, or written by a torch that is not known ({error!r}).") from error
    return ExportedFile(program, weights, constants)


def _root(archive: zipfile.ZipFile, path: Path) -> str:
    """The folder inside the archive that holds all, with a slash."""
    names = archive.namelist()
    root = next((name.removesuffix(_GRAPH) for name in names if name.endswith("/" + _GRAPH)), None)
    if root is not None:
        return root
    if any(name.endswith(("/constants.pkl", "/code/__torch__.py")) or "/code/" in name for name in names):
        raise WeightsError(
            f"{path.name}: a TorchScript archive, which holds code and is refused. Build the network in Python and "
            "save it with torch.export.save(torch.export.export(network.eval(), (images,)), FILE)."
        )
    if "serialized_exported_program.json" in names:
        raise WeightsError(f"{path.name}: written by a torch before 2.8; save it again with a later one.")
    raise WeightsError(
        f"{path.name}: no network of torch.export under the name `model`. Files of weights alone are "
        "ARCHITECTURE@FILE, such as timm:resnet50@FILE."
    )


def _tensors(archive: zipfile.ZipFile, folder: str, config: str, path: Path) -> dict[str, torch.Tensor]:
    flat: dict[str, bytearray] = {}
    found: dict[str, torch.Tensor] = {}
    for name, payload in json.loads(archive.read(folder + config))["config"].items():
        meta, file = payload["tensor_meta"], str(payload["path_name"])
        if payload["use_pickle"] or meta is None or not file.startswith(("weight_", "tensor_")):
            raise WeightsError(
                f"{path.name}: {name} is pickled or no tensor, and reading it could run code; it is refused. Tensor "
                "subclasses (quantised weights) and scripted objects are stored so: export a network without them."
            )
        dtype = DTYPES[meta["dtype"]]
        if file not in flat:
            flat[file] = bytearray(archive.read(folder + file))
        size, stride = ([one["as_int"] for one in meta[key]] for key in ("sizes", "strides"))
        values = torch.frombuffer(flat[file], dtype=dtype) if flat[file] else torch.empty(0, dtype=dtype)
        found[name] = values.as_strided(size, stride, meta["storage_offset"]["as_int"])
    return found

"""OpenVINO, on CPUs: a network as a graph that is compiled for the processor, and kept."""

from __future__ import annotations

import hashlib
import shutil
import warnings
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import openvino
import torch

from ...base import MedprobeWarning, OutputError, atomic_folder, fingerprint
from ...base.files import user_cache
from ...base.text import first_line
from ...cache import EmbeddingSpec
from ..compiled_graph import CompiledGraph
from ..device import openvino_batch, openvino_reason
from .on_torch import TorchEmbedder, Vectors

_CPU = torch.device("cpu")
# How far a vector may be from torch's in fp32, as a share of its length. Rounding alone gives 1e-5 and, in bf16, a few
# hundredths; a graph in which something was lost gives another vector altogether.
_MAY_DIFFER = {"fp32": 0.01, "bf16": 0.15}
_FORMAT = 1
"""Goes up when the same spec and versions shall be converted in another way."""


class ConversionError(Exception):
    """A network that OpenVINO cannot run, or does not run right."""


def start_openvino(vectors: Vectors, spec: EmbeddingSpec, library: str) -> CompiledGraph:
    """A network at work in OpenVINO; its conversion is taken from the user's cache folder, or done and put there.

    `library` is the package that its architecture is from, whose version is part of the conversion's name. Raises
    ConversionError where OpenVINO cannot convert or compile the network, or gives other vectors than torch.
    """
    probe = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, *vectors.shape), dtype=np.uint8))
    expected = TorchEmbedder(vectors, _CPU, "fp32")(probe)
    folder = _folder_of(spec, library, openvino_batch(vectors.shape[1:]))
    kept = _load(folder)
    if kept is not None:
        try:
            return _checked(kept, spec, probe, expected)
        except ConversionError:
            _remove(folder)  # of another state of our own code, say; the conversion of today's decides
    model = convert(vectors, (openvino_batch(vectors.shape[1:]), *vectors.shape))
    _keep(model, folder)
    try:
        # As kept, since constants are folded in another order in the graph that was just made: 1e-6 to the vectors.
        return _checked(_load(folder) or model, spec, probe, expected)
    except ConversionError:
        _remove(folder)
        raise


def convert(vectors: Vectors, shape: tuple[int, int, int, int]) -> openvino.Model:
    """The network as OpenVINO's graph for one shape of uint8 input.

    Goes to the converter that `openvino.convert_model` calls, and past that function, which reports each use of it to
    its makers: nothing leaves a hospital's machine from here.
    """
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    example = torch.zeros(shape, dtype=torch.uint8)
    # Warnings are the tracer's, of shapes that are fixed here.
    with torch.inference_mode(), warnings.catch_warnings(action="ignore"):
        try:
            decoder = TorchScriptPythonDecoder(vectors, example_input=example)
            frontend = FrontEndManager().load_by_framework("pytorch")
            model = frontend.convert(frontend.load(decoder))
            model.reshape(list(shape))
        except Exception as error:  # whatever stops a converter, torch can do without it
            raise ConversionError(f"it cannot be converted ({openvino_reason(error)})") from error
    return model


def _checked(
    model: openvino.Model, spec: EmbeddingSpec, probe: torch.Tensor, expected: dict[str, np.ndarray]
) -> CompiledGraph:
    """Compiles a graph and compares one vector of each pooling with torch's."""
    try:
        embedder = CompiledGraph(model, spec.poolings, spec.precision)
        made = embedder(probe)
    except Exception as error:  # whatever stops a compiler, torch can do without it
        raise ConversionError(f"it cannot be compiled ({openvino_reason(error)})") from error
    for pooling, vector in expected.items():
        most = _MAY_DIFFER[spec.precision] * np.linalg.norm(vector) + 1e-6
        if made[pooling].shape != vector.shape or not np.linalg.norm(made[pooling] - vector) <= most:
            raise ConversionError(f'its "{pooling}" is another vector there than in torch')
    return embedder


def _folder_of(spec: EmbeddingSpec, library: str, batch: int) -> Path:
    """Where the converted network of a spec is kept: a folder that is there whole or not at all, and may be removed.

    Graphs are the same in both precisions, and of the versions that took part in making them.
    """
    made_by = {
        "format": _FORMAT,
        "batch": batch,
        "versions": {name: version(name) for name in ("medprobe", "openvino", "torch", library)},
    }
    key = fingerprint({"spec": asdict(replace(spec, precision="fp32")), **made_by}, digits=32)
    return user_cache() / "converted" / key


def _load(folder: Path) -> openvino.Model | None:
    """A kept graph, or None where there is none that is whole."""
    try:
        if (folder / "digest").read_text(encoding="ascii") != _digest(folder):
            _remove(folder)
            return None
        return openvino.Core().read_model(folder / "model.xml")
    except (OSError, RuntimeError, UnicodeDecodeError):
        return None  # not there, or another process has just removed it


def _keep(model: openvino.Model, folder: Path) -> None:
    """Keeps a graph; of several processes the first one's counts. A disk that cannot take it is not an error."""
    try:
        with atomic_folder(folder) as temporary:
            openvino.save_model(model, temporary / "model.xml", compress_to_fp16=False)
            (temporary / "digest").write_text(_digest(temporary), encoding="ascii")
    except (OutputError, OSError, RuntimeError) as error:
        warnings.warn(
            f"the converted network cannot be kept ({first_line(error)}); it will be converted again next time.",
            MedprobeWarning,
            stacklevel=2,
        )


def _remove(folder: Path) -> None:
    """Forgets a graph; a process that has it open goes on with it."""
    shutil.rmtree(folder, ignore_errors=True)


def _digest(folder: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name in ("model.xml", "model.bin"):
        with (folder / name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "blake2b").digest())
    return digest.hexdigest()

"""Models on disk: JSON, safetensors and LightGBM's text; nothing in them is ever executed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import blake2b, file_digest
from pathlib import Path
from typing import Any

import numpy as np

from ..base import CacheError, OutputError, ProbeError, atomic_folder, fingerprint, one_of
from ..base.errors import ModelError
from ..base.text import first_line
from ..cache import EmbeddingSpec
from ..manifests import IntensityPolicy
from ..probe.data.features import PREDICTIONS
from .estimators import FittedProbe
from .model import Model, ModelFacts
from .unusual import TrainingNeighbours

SCHEMA = 2
"""Version of the folder; it goes up when what is written can no longer be read as before."""
_KIND = "medprobe model"
_FACTS, _ARRAYS = "model.json", "model.safetensors"
_NETWORK = "network.json"
"""What a fine-tuned network is recognised by."""
_NEIGHBOURS = "neighbours."
"""What the names of the training neighbours' arrays begin with."""
_TRAINED_ON = "trained_on"
"""The array of digests."""


def save_model(model: Model, folder: Path | str, *, overwrite: bool = False) -> Path:
    """Writes a model as a folder, whole or not at all; returns the folder.

    It holds the embeddings of at most 10,000 training images, and of all for the probe `knn`, and digests of the pixels
    of all, but no ids, file names or paths. docs/predict.md describes the files.

    Args:
        model: made by `fit_model`.
        folder: which need not exist.
        overwrite: replace a model that is there.

    Raises:
        OutputError: the folder holds something else, or a model and `overwrite` is False, or cannot be written.
        ProbeError: it is a fine-tuned network, which has a folder already.

    Examples:
        >>> from medprobe.model import fit_model, save_model
        >>> model = fit_model(manifest, caches[0], probe="centroid", progress=False)
        >>> sorted(file.name for file in save_model(model, folder / "saved").iterdir())
        ['model.json', 'model.safetensors']
    """
    from safetensors.numpy import save

    folder = Path(folder)
    require_place(folder, overwrite=overwrite)
    probe = model.probe
    if not isinstance(probe, FittedProbe) or model.neighbours is None:
        raise ProbeError("a fine-tuned network is a folder already, which can be copied and predicts as it is.")
    arrays = {**probe.arrays}
    arrays |= {f"{_NEIGHBOURS}{name}": getattr(model.neighbours, name) for name in ("rows", "distances")}
    arrays[_TRAINED_ON] = model.trained_on
    with atomic_folder(folder, replace=True) as draft:
        # Not by `save_file`, whose files nobody else may read.
        (draft / _ARRAYS).write_bytes(save({name: np.ascontiguousarray(one) for name, one in arrays.items()}))
        for name, text in probe.texts.items():
            (draft / f"{name}.txt").write_text(text, encoding="utf-8")
        stated = {
            "kind": _KIND,
            "schema": SCHEMA,
            "fingerprint": model.facts.spec.fingerprint,
            **_as_json(model.facts),
            "probe": probe.facts,
            "neighbours": {"k": model.neighbours.k},
            "digests": {file.name: _digest(file) for file in sorted(draft.iterdir())},
        }
        seal = fingerprint(json.loads(json.dumps(stated)), digits=32)  # as it is read: keys are text
        text = json.dumps({**stated, "seal": seal}, indent=2, allow_nan=False)
        (draft / _FACTS).write_text(text + "\n", encoding="utf-8")
    return folder


def load_model(folder: Path | str, *, backbone: str | None = None, device: str = "auto") -> Model:
    """Reads what `save_model` or `medprobe fit` wrote. The backbone is loaded when images are first embedded.

    A network that `medprobe finetune --keep-weights` has kept, `RUN/weights/NAME`, is a model too; it is loaded at
    once.

    Args:
        folder: of the model.
        backbone: the backbone's name, with the place of its weights where these are a local file (`MODEL@FILE`).
        device: `auto`, `cpu`, `cuda`, `cuda:1` ...; a network is on the first one.

    Raises:
        ModelError: it is not there, is of another version, or was altered or damaged.
        WeightsError, BackboneError: the same of a network; or there is no such device.

    Examples:
        >>> from medprobe.model import fit_model, load_model, save_model
        >>> saved = save_model(fit_model(manifest, caches[0], probe="knn", progress=False), folder / "brain-model")
        >>> load_model(saved).facts.family
        'knn'
    """
    folder = Path(folder)
    if (folder / _NETWORK).is_file():
        return _of_network(folder, backbone, device)
    stated = _read_facts(folder)
    digests = stated["digests"]
    wrong = [name for name, digest in digests.items() if _digest(folder / name) != digest]
    if wrong:
        raise ModelError(
            f"{folder}: {one_of(wrong)} and {_FACTS} are not of one model: a file is missing, was altered or is of"
            " another model. Copy the folder again, or fit again."
        )
    try:
        facts = _facts_of(stated)
        arrays = _read_arrays(folder / _ARRAYS)
        texts = {Path(name).stem: (folder / name).read_text(encoding="utf-8") for name in digests if name != _ARRAYS}
        trained_on = arrays.pop(_TRAINED_ON)
        own = {name: one for name, one in arrays.items() if not name.startswith(_NEIGHBOURS)}
        probe = FittedProbe(facts.family, stated["probe"], own, texts)
        near = {name.removeprefix(_NEIGHBOURS): one for name, one in arrays.items() if name.startswith(_NEIGHBOURS)}
        neighbours = TrainingNeighbours(**near, k=stated["neighbours"]["k"])
        return Model(facts, probe, neighbours, trained_on, backbone, device)
    except (KeyError, TypeError, ValueError, CacheError) as error:
        raise ModelError(f"{folder}: cannot be read ({first_line(error)}); fit again.") from error


def _of_network(folder: Path, backbone: str | None, device: str) -> Model:
    """A fine-tuned network as a model whose embeddings are its logits."""
    from ..extract import choose_devices
    from ..finetune.kept import KeptNetwork

    if backbone is not None:
        raise ModelError(f"{folder}: is a fine-tuned network, which holds its weights; leave --backbone out.")
    network = KeptNetwork.load(folder, device=choose_devices(device)[0])
    about, spec = network.about, network.backbone.spec
    facts = ModelFacts(
        spec=spec,
        pooling=spec.poolings[0],
        stored="float32",
        reading=IntensityPolicy(**about["reading"]),
        task=about["task"],
        classes=tuple(about["classes"]),
        aggregation=PREDICTIONS,
        modalities=(),
        family="finetune",
        label=about["system"],
        params=about["params"],
        metric=about["metric"],
        temperature=None,
        fitted_on={"dataset": about["dataset"], "units": about["units"]},
        versions={},
    )
    return Model(facts, network, None, network.trained_on, network=network.backbone)


def require_place(folder: Path, *, overwrite: bool) -> None:
    """Makes sure that a model may be written as `folder`.

    Raises:
        OutputError: something is there that must not be replaced.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (folder / _FACTS).is_file():
        raise OutputError(f"{folder}: is there and is not a model, so it is not touched; choose another --out.")
    if not overwrite:
        raise OutputError(f"{folder}: a model is there already; choose another --out, or add --overwrite.")


def _as_json(facts: ModelFacts) -> dict[str, Any]:
    fields = {name: getattr(facts, name) for name in facts.__dataclass_fields__}
    return {**fields, "spec": json.loads(facts.spec.to_json()), "reading": facts.reading.model_dump(mode="json")}


def _facts_of(stated: Mapping[str, Any]) -> ModelFacts:
    fields = {name: stated[name] for name in ModelFacts.__dataclass_fields__}
    spec = EmbeddingSpec.from_json(json.dumps(fields["spec"]))
    if spec.fingerprint != stated["fingerprint"]:
        raise ValueError("its embedding spec means another thing in this version of medprobe")
    fields |= {"spec": spec, "reading": IntensityPolicy(**fields["reading"])}
    return ModelFacts(**{**fields, **{name: tuple(fields[name]) for name in ("classes", "modalities")}})


def _read_facts(folder: Path) -> dict[str, Any]:
    path = folder / _FACTS
    if not path.is_file():
        what = f"is not a model (it has no {_FACTS})" if folder.exists() else "does not exist"
        raise ModelError(
            f"{folder}: {what}; give the folder that `medprobe fit ... --out` wrote, or a network that `medprobe"
            " finetune ... --keep-weights` kept, RUN/weights/NAME."
        )
    try:
        stated = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: is damaged ({first_line(error)}); copy it again, or fit again.") from error
    if not isinstance(stated, dict) or stated.get("kind") != _KIND:
        raise ModelError(f"{path}: does not describe a model of medprobe; give the folder that `medprobe fit` wrote.")
    if stated.get("schema") != SCHEMA:
        raise ModelError(
            f"{path}: is of version {stated.get('schema')}, this medprobe reads {SCHEMA}; install the one that"
            " wrote it, or fit again."
        )
    if stated.pop("seal", None) != fingerprint(stated, digits=32):
        raise ModelError(f"{path}: was edited or damaged; copy it again, or fit again.")
    return stated


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path.name}: {first_line(error)}") from error


def _digest(path: Path) -> str:
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return file_digest(file, lambda: blake2b(digest_size=16)).hexdigest()

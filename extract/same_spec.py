"""A backbone under a spec that is given, so that new images get vectors that are comparable with those of a cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from ..base import BackboneError, one_of
from ..cache import EmbeddingSpec
from ..manifests import IntensityPolicy
from .backbone import Backbone, load_backbone
from .catalogue import OWN, to_be_named
from .normalization import Normalization


def load_spec(
    spec: EmbeddingSpec, reading: IntensityPolicy, *, backbone: str | None = None, device: str = "auto"
) -> Backbone:
    """The backbone that gives the vectors of a spec.

    Args:
        spec: what the vectors were made with.
        reading: the intensity policy that the spec names.
        backbone: its name with the place of its weights, where these are a local file: a spec holds no folders.
        device: as in `load_backbone`.

    Raises:
        BackboneError: it cannot be had without `backbone`, or is not the same any more; says what differs.
        WeightsError: as in `load_backbone`.

    Examples:
        >>> from medprobe.extract import load_backbone, load_spec
        >>> from medprobe.manifests import IntensityPolicy
        >>> spec = load_backbone("timm:test_vit@random", device="cpu", runtime="torch").spec
        >>> load_spec(spec, IntensityPolicy(), device="cpu").spec == spec
        True
    """
    loaded = load_backbone(**recipe_of(spec, reading, backbone=backbone), device=device)
    require_same(spec, [loaded.spec])
    return loaded


def recipe_of(spec: EmbeddingSpec, reading: IntensityPolicy, *, backbone: str | None = None) -> dict[str, Any]:
    """The arguments of `load_backbone` that lead to a spec, without `device`; as `load_spec`."""
    name = backbone or spec.backbone
    if not backbone and (named := to_be_named(name)):
        what = "is code of your own" if named == name else "has weights in a local file"
        raise BackboneError(f'{name} {what}: name it with --backbone "{named}".')
    recipe = {"name": name, "poolings": list(spec.poolings), "reading": reading, **spec.settings}
    if "normalization" in recipe:
        recipe["normalization"] = Normalization(*recipe["normalization"])
    return recipe


def require_same(wanted: EmbeddingSpec, found: Sequence[EmbeddingSpec]) -> None:
    """BackboneError unless each spec is the one that is wanted, whatever its backbone or its own file is called."""
    for spec in found:
        called = {"backbone": wanted.backbone}
        if {wanted.model.partition(":")[0], spec.model.partition(":")[0]} <= {*OWN}:
            called["model"] = wanted.model  # the name of a file or of code, whose digest is compared
        ours, theirs = (asdict(replace(one, **called)) for one in (wanted, spec))
        differing = [name for name, value in ours.items() if theirs[name] != value]
        if differing:
            details = one_of(f"{name} ({_brief(theirs[name])} instead of {_brief(ours[name])})" for name in differing)
            raise BackboneError(
                f"{wanted.backbone}: is not what the vectors were made with: {details}. Give the same weights,"
                " libraries and runtime, or embed the training images again and fit again."
            )


def _brief(value: Any) -> str:
    return value[:12] if isinstance(value, str) else str(value)

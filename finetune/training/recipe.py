"""Recipes: every setting of a training, by name from a TOML file of `recipes/`, and each can be changed."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from itertools import product
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    field_validator,
)

from ...base import did_you_mean, one_of
from ...base.errors import FinetuneError
from ...base.text import no_such
from ...probe.engines.settings import Setting, describe, faults
from ..inputs.augmentation import Augmentation

MOST_CANDIDATES = 1000
"""Of a search; each is a training for every seed."""
_FOLDER = files(__package__ or "") / "recipes"
_USUAL_OPTIMIZERS = ("adam", "adamw", "sgd")
_ABOUT = ("name", "source", "quirks")
"""Fields that change no result."""

Share = Annotated[float, Field(ge=0, lt=1)]


class Recipe(Augmentation, frozen=True):
    """How a network is trained. The settings of the augmentation are settings of the recipe.

    Examples:
        >>> from medprobe.finetune import Recipe
        >>> recipe = Recipe.named("huix2024").changed(lr="3e-4", epochs=20)
        >>> recipe.optimizer, recipe.clip_grad, recipe.differing()
        ('adamw', 1.0, {'epochs': 20, 'lr': 0.0003, 'recipe': 'huix2024'})
    """

    name: str = "default"
    """Of the recipe that this one began as."""
    source: str = ""
    """Where the recipe comes from."""
    quirks: tuple[str, ...] = ()
    """What a reader of its source would not expect, and in what it differs from it here."""

    epochs: PositiveInt = 20
    """Passes over train, at most."""
    batch_size: Annotated[int, Field(ge=2)] = 16
    """Images per step of the optimizer, two at least, as batch norm has no variance of one; where they do not fit the
    memory, gradients of parts are added up."""
    optimizer: str = "adamw"
    """Any name of timm's optimizers, such as `adamw`, `sgd` or `lion`."""
    lr: PositiveFloat | None = None
    """Highest learning rate: that of the head, after warm-up; by default 1e-2 where a linear layer alone is trained,
    else 1e-3."""
    weight_decay: NonNegativeFloat = 0.05
    """None on biases, norms and what else the network exempts."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] | None = None
    """Factor on the learning rate from each block to the one before it; by default 0.75 in networks with attention, 1
    (the same rate for all) in others."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Of the learning rate, step by step; warm-up takes the place of its first steps, as in timm."""
    min_lr: NonNegativeFloat = 0.0
    """Learning rate at the end of the schedule."""
    warmup_epochs: NonNegativeFloat = 2
    """Epochs in which the learning rate rises from zero, part of `epochs`."""
    warmup_steps: NonNegativeInt | None = None
    """Steps in which it does; where it is set, `warmup_epochs` does not count."""
    clip_grad: PositiveFloat | None = 1.0
    """Largest norm of the gradient."""
    loss: Literal["auto", "cross-entropy", "bce", "corn"] = "auto"
    """`auto`: bce for several labels per image, else cross-entropy. Of ordered classes also corn."""
    class_weight: Literal["balanced"] | None = None
    """`balanced`: every class weighs the same."""
    label_smoothing: Share = 0.0
    """Share of the label that is spread over all classes."""
    dropout: Share = 0.0
    """Of the vector, before the head."""
    drop_path: Share = 0.0
    """Stochastic depth: the chance that the last block is skipped; it falls linearly to zero at the first."""
    ema: Share | None = None
    """Decay, per step, of a moving average of the weights, which is then what is validated and tested."""
    mixup: NonNegativeFloat = 0.0
    """Alpha of mixup; 0 is none."""
    cutmix: NonNegativeFloat = 0.0
    """Alpha of CutMix; 0 is none."""
    views: PositiveInt | None = None
    """Number of augmented views of each image, drawn once and then used in turn; by default fresh ones each epoch."""
    patience: PositiveInt | None = None
    """Epochs without a better one on val after which training ends."""
    select: Literal["metric", "loss"] = "metric"
    """What the best epoch is best in on val: the primary metric, or the loss."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """`auto`: bf16 on GPUs that have it, fp32 on CPUs."""
    rescale: bool = True
    """Whether the head rescales vectors, by their mean and one deviation for all on train before training; not where it
    begins as a probe."""
    head_init: Literal["random", "probe"] = "random"
    """`probe`: the head begins as the logistic regression of the frozen vectors (LP-FT)."""

    @field_validator("*", mode="before")
    @classmethod
    def _as_written(cls, value: Any, info: Any) -> Any:
        """Reads `none`, and refuses `true` as a number."""
        field = cls.model_fields[str(info.field_name)]
        if isinstance(value, bool) and field.annotation is not bool:
            raise ValueError(f"must not be {str(value).lower()}")
        return None if value == "none" else value

    @field_validator("optimizer")
    @classmethod
    def _is_an_optimizer(cls, value: str) -> str:
        if value in _USUAL_OPTIMIZERS:  # found good without the seconds that timm takes to import
            return value
        from timm.optim import get_optimizer_info, list_optimizers  # pyright: ignore[reportPrivateImportUsage]

        names = [str(name) for name in list_optimizers()]
        if value not in (known := [name for name in names if not get_optimizer_info(name).second_order]):
            raise ValueError(f'cannot be "{value}"; timm has {one_of(known, most=40)}.{did_you_mean(value, known)}')
        return value

    @classmethod
    def named(cls, name: str) -> Recipe:
        """The recipe of a name.

        Raises:
            FinetuneError: there is none (names the near ones).
        """
        if name not in recipe_names():
            raise FinetuneError(no_such("recipe", name, recipe_names()))
        return _read(name)

    @property
    def augmentation(self) -> Augmentation:
        """Its settings of the augmentation."""
        return Augmentation(**{name: getattr(self, name) for name in Augmentation.model_fields})

    @property
    def mixes(self) -> bool:
        """Whether images are mixed with each other, for which the network must begin at pixels."""
        return self.mixup > 0 or self.cutmix > 0

    def changed(self, **settings: Any) -> Recipe:
        """This recipe with other settings; values may be text, as `1e-4` or `none`.

        Raises:
            FinetuneError: there is no such setting (names the near ones), or it cannot have that value.
        """
        known = {name: field for name, field in type(self).model_fields.items() if name not in _ABOUT}
        unknown = [name for name in settings if name not in known]
        if unknown:
            near = "".join(did_you_mean(name, known) for name in unknown)
            raise FinetuneError(f"a recipe has no setting {one_of(unknown)}; there are {one_of(known, most=50)}.{near}")
        own = {name: getattr(self, name) for name in self.model_fields_set}
        if "warmup_epochs" in settings:
            own.pop("warmup_steps", None)
        try:
            return type(self).model_validate({**own, **settings})
        except ValidationError as error:
            raise FinetuneError(f"recipe {self.name}: {faults(error, type(self).model_fields)}") from None

    def differing(self) -> dict[str, Any]:
        """The settings that differ from those of the recipe it began as, and which that is where not `default`."""
        usual = Recipe.named(self.name)
        differing = {name: value for name, value in self if name not in _ABOUT and value != getattr(usual, name)}
        return {**differing, **({} if self.name == "default" else {"recipe": self.name})}

    def facts(self) -> dict[str, Any]:
        """All settings, JSON-like, as run.json has them."""
        return self.model_dump(mode="json")


def recipe_names() -> list[str]:
    """The recipes there are, `default` first."""
    names = sorted(file.name.removesuffix(".toml") for file in _FOLDER.iterdir() if file.name.endswith(".toml"))
    return sorted(names, key=lambda name: name != "default")


def recipe_settings() -> list[Setting]:
    """Every setting of a recipe, in words."""
    return describe(Recipe, leave_out=_ABOUT)


def read_settings(texts: Iterable[str]) -> dict[str, Any]:
    """Settings from texts such as `lr=1e-4`; values stay as text or as YAML reads them.

    Raises:
        FinetuneError: one is not `name=value`, or a name comes twice.
    """
    settings: dict[str, Any] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        try:
            read = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError):
            read = None
        if not name or not equals or read is None:
            raise FinetuneError(f'"{text}": write a setting as name=value, as lr=1e-4 or crop_scale=[0.8,1].')
        if name in settings:
            raise FinetuneError(f"{name} is set twice; set it once.")
        settings[name] = read
    return settings


def candidates(recipe: Recipe, search: str) -> list[Recipe]:
    """The recipes of a grid such as `lr=1e-5,1e-4,1e-3 layer_decay=0.65,1`: every combination, in that order.

    Raises:
        FinetuneError: the grid cannot be read, is too large, or holds a setting or a value that cannot be.

    Examples:
        >>> from medprobe.finetune import Recipe
        >>> from medprobe.finetune.training.recipe import candidates
        >>> [one.lr for one in candidates(Recipe.named("default"), "lr=1e-4,1e-3")]
        [0.0001, 0.001]
    """
    # In brackets YAML keeps apart what belongs together: `crop_scale=[0.5,1],[0.8,1]` are two values.
    parts = [(text, *text.partition("=")) for text in search.split()]
    texts = [f"{name}=[{values}]" if values else text for text, name, _, values in parts]
    grid = read_settings(texts)
    count = math.prod(map(len, grid.values()))
    if not grid or count > MOST_CANDIDATES:
        wrong = f"has {count:,} combinations; give at most {MOST_CANDIDATES:,}" if grid else "names no setting"
        raise FinetuneError(f'search "{search}" {wrong}, as in "lr=1e-4,1e-3 layer_decay=0.75,1".')
    found = [recipe.changed(**dict(zip(grid, values, strict=True))) for values in product(*grid.values())]
    for name, values in grid.items():
        if len({getattr(one, name) for one in found}) < len(values):
            raise FinetuneError(f'search "{search}": {name} has a value twice; name each once.')
    return found


@cache
def _read(name: str) -> Recipe:
    return Recipe.model_validate({**tomllib.loads((_FOLDER / f"{name}.toml").read_text("utf-8")), "name": name})


def in_words(value: Any) -> str:
    """A value as names of systems and tables have it."""
    if isinstance(value, tuple):
        return f"[{','.join(in_words(one) for one in value)}]"
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def searched(recipes: Iterable[Recipe]) -> Mapping[str, list[Any]]:
    """Values by setting of those settings in which the recipes differ."""
    recipes = list(recipes)
    values = {name: [getattr(recipe, name) for recipe in recipes] for name in type(recipes[0]).model_fields}
    return {name: found for name, found in values.items() if any(one != found[0] for one in found)}

"""How a run's tables and run.json name what is fine-tuned: a mode, and what of the recipe is not the default."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..cache.spec import safe_name
from ..evaluate.resampling.train_size import FULL_TRAIN
from ..evaluate.results.schemas import SystemKey
from ..probe.data.features import PREDICTIONS
from .network.modes import Mode
from .training.recipe import Recipe, in_words, searched

FAMILY = "finetune"
"""What the names of systems begin with."""


def network_name(key: SystemKey) -> str:
    """What the folders of a system's kept networks begin with: `dinov2-s-partial_2`; then `-seed-0`."""
    budget = [] if key.budget == FULL_TRAIN else [key.budget]
    # Each by itself: of a long name the end is cut off.
    return "-".join(map(safe_name, [key.backbone, key.probe.removeprefix(f"{FAMILY}:"), *budget]))


@dataclass(frozen=True, eq=False)
class FineTuning:
    """A mode under a recipe, or under those of a search."""

    mode: Mode
    recipe: Recipe
    """As requested, before the search."""
    candidates: Sequence[Recipe]
    """The recipe alone, or those of the search."""

    @property
    def name(self) -> str:
        """What the tables have under `probe`: `finetune:partial:2:lr=0.0001/0.001,recipe=huix2024`."""
        settings = self.recipe.differing()
        given = settings.pop("recipe", None)
        words = {name: in_words(value) for name, value in settings.items()}
        words |= {name: "/".join(map(in_words, values)) for name, values in self._grid.items()}
        words |= {} if given is None else {"recipe": given}
        return f"{FAMILY}:{self.mode.name}" + ":" * bool(words) + ",".join(f"{k}={v}" for k, v in words.items())

    @property
    def epochs(self) -> int:
        """Epochs of one fit, at most, of all candidates together."""
        return sum(recipe.epochs for recipe in self.candidates)

    def facts(self, *, precision: str) -> dict[str, Any]:
        """What run.json says of it, with the precision that `auto` stands for."""
        settings = {"mode": self.mode.name, **self.recipe.facts(), "precision": precision}
        if self._grid:
            settings["search"] = self._grid
        return {
            "label": f"Fine-tuning ({self.name.removeprefix(f'{FAMILY}:')})",
            "frozen": not self.mode.trains_backbone,
            "aggregation": PREDICTIONS,
            "refit": False,
            "settings": settings,
        }

    @property
    def _grid(self) -> dict[str, list[Any]]:
        return {name: list(dict.fromkeys(values)) for name, values in searched(self.candidates).items()}

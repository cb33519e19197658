"""Names of a package whose modules are imported when a name is first requested."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from .errors import MedprobeError
from .text import install_command


def lazy_names(
    package: str,
    modules: Mapping[str, str],
    extra: str = "",
    fault: type[MedprobeError] = MedprobeError,
    without: str = "",
) -> Callable[[str], Any]:
    """The `__getattr__` of a `package` (its `__name__`).

    Args:
        package: where the modules are.
        modules: the module of each name, `training.recipe` for one in a subpackage.
        extra: the optional dependencies that the modules need; "" where they need none.
        fault: raised where they are not installed.
        without: what is impossible without them: "images cannot be embedded".
    """

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        try:
            return getattr(import_module(f".{modules[name]}", package), name)
        except ModuleNotFoundError as error:
            if not extra:
                raise
            raise fault(
                f"{error.name} is not installed, and {without} without it: {install_command(extra)}."
                " Probes and reports work without it."
            ) from error

    return get

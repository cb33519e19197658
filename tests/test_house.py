"""The layering rule of docs/architecture.md, read from the imports themselves."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parent.parent

_MAY_USE = {
    "base": set(),
    "manifests": {"base"},
    "cache": {"base", "manifests"},
    "extract": {"base", "manifests", "cache"},
    "evaluate": {"base", "manifests"},
    "probe": {"base", "manifests", "cache", "evaluate"},
    "report": {"base", "manifests", "evaluate"},
    "cli": {"base", "manifests", "cache", "extract", "evaluate", "probe", "report"},
}
_TORCH_SIDE = {"torch", "torchvision", "timm", "transformers", "open_clip", "onnx"}


def _modules() -> list[Path]:
    return sorted(path for room in _MAY_USE for path in (_ROOT / room).rglob("*.py"))


def _room_of_import(path: Path, node: ast.ImportFrom) -> set[str]:
    """The rooms that a relative import in `path` reaches."""
    folder = path.relative_to(_ROOT).parent.parts
    base = folder[: len(folder) - (node.level - 1)]
    if base:
        return {base[0]}
    return {node.module.split(".")[0]} if node.module else {alias.name for alias in node.names}


@pytest.mark.parametrize("path", _modules(), ids=lambda path: str(path.relative_to(_ROOT)))
def test_arrows_point_down_only(path: Path) -> None:
    room = path.relative_to(_ROOT).parts[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            reached = _room_of_import(path, node) - {room}
            assert reached <= _MAY_USE[room], f"line {node.lineno}: {room} may not use {reached - _MAY_USE[room]}"
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            assert not any(name.split(".")[0] == "medprobe" for name in names), f"line {node.lineno}: import relatively"


@pytest.mark.parametrize(
    "path",
    [p for p in _modules() if p.relative_to(_ROOT).parts[0] != "extract"],
    ids=lambda p: str(p.relative_to(_ROOT)),
)
def test_only_extract_names_a_torch_library(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
        found = {name.split(".")[0] for name in names} & _TORCH_SIDE
        # `doctor` reports on torch, inside a function and ready for its absence.
        assert not found or path.name == "doctor.py", f"line {node.lineno} imports {found}"


def test_the_cpu_stage_imports_without_torch(without_torch) -> None:
    torchless = ("base", "manifests", "cache", "evaluate", "probe", "report", "cli.app")
    rooms = ", ".join(f"medprobe.{room}" for room in torchless)
    subprocess.run([sys.executable, "-c", f"{without_torch}\nimport {rooms}"], check=True)


def test_every_package_is_listed_and_typed() -> None:
    import tomllib

    listed = set(tomllib.loads((_ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    listed.remove("medprobe.docs")  # a page for users and no code
    found = {
        "medprobe." + ".".join(init.relative_to(_ROOT).parent.parts)
        for room in _MAY_USE
        for init in (_ROOT / room).rglob("__init__.py")
    }
    assert found == listed
    assert all((_ROOT / room / "py.typed").exists() for room in _MAY_USE)  # which its subpackages share


def test_no_file_needs_one_that_needs_it() -> None:
    """Imports inside functions count too: they would hide a circle, not break it."""
    modules = {path.relative_to(_ROOT).with_suffix("").parts: path for path in _modules()}
    needs = {name: _needed(path) & set(modules) - {name} for name, path in modules.items()}
    tuple(TopologicalSorter(needs).static_order())  # raises CycleError, which names the circle


def _needed(path: Path) -> set[tuple[str, ...]]:
    """The modules, and names that may be modules, which relative imports in `path` name, but for types alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    guards = [node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    for_types = {id(node) for guard in guards for node in ast.walk(guard)}
    folder, found = path.relative_to(_ROOT).parent.parts, set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level and id(node) not in for_types:
            start = (*folder[: len(folder) - node.level + 1], *(node.module.split(".") if node.module else ()))
            # `from . import name` is of a neighbour, and the package around both is on its way in already.
            reached = [*([start] if node.module else []), *((*start, alias.name) for alias in node.names)]
            found |= {name for one in reached for name in (one, (*one, "__init__"))}
    return found

"""The layering rule of docs/architecture.md, read from the imports themselves."""

from __future__ import annotations

import ast
import re
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
    "finetune": {"base", "manifests", "cache", "extract", "evaluate", "probe"},
    "report": {"base", "manifests", "evaluate"},
    "explore": {"base", "manifests", "cache", "evaluate", "probe", "report"},
    "model": {"base", "manifests", "cache", "extract", "evaluate", "probe", "finetune"},
    "study": {"base", "manifests", "cache", "extract", "evaluate", "probe", "finetune"},
    "cli": {
        "base",
        "manifests",
        "cache",
        "extract",
        "evaluate",
        "probe",
        "finetune",
        "model",
        "report",
        "explore",
        "study",
    },
}
_FROM_MODULES = {
    "base": {
        "device_processes",
        "errors",
        "pydantic_messages",
        "files",
        "hardware",
        "lazy",
        "progress",
        "text",
        "version",
    },
    "manifests": {
        "build_options",
        "builders.any_images",
        "builders.files",
        "builders.label_tables",
        "builders.medmnist_facts",
        "builders.npz",
        "checks.fix_duplicates",
        "checks.near_duplicates",
        "checks.spelling",
        "output_path",
        "pseudonyms",
        "readers",
        "readers.pillow",
        "readers.worker_pool",
        "registry",
        "schema.card",
        "schema.table_io",
        "schema.labels",
        "stratified_groups",
        "summary.attributes",
        "summary.counts",
        "summary.description",
        "summary.warnings",
        "validation.diagnostics",
    },
    "cache": {"record", "index", "locking", "lookup", "spec", "verify"},
    "extract": {
        "adapters",
        "catalogue",
        "cost",
        "device",
        "engine",
        "loader",
        "multi_device",
        "onnx_export",
        "own_networks",
        "pooling",
        "runtimes",
        "same_spec",
        "architecture",
        "weights.fine_tuned",
        "weights.known_spec",
        "weights.loading",
        "weights.tensors",
    },
    "evaluate": {
        "metrics.calibration",
        "metrics.functions",
        "metrics.registry",
        "metrics.retrieval",
        "resampling.leaks",
        "resampling.protocols",
        "resampling.resample",
        "resampling.train_size",
        "results.commands",
        "results.fit_result",
        "results.merge",
        "results.predictions",
        "results.recipe_words",
        "results.recorder",
        "results.run",
        "results.schemas",
        "results.trainings",
        "statistics.intervals",
        "statistics.comparison",
        "statistics.compute",
        "statistics.pairing",
        "statistics.ranking",
        "statistics.run_warnings",
        "statistics.summary",
        "statistics.temperature",
    },
    "probe": {
        "data.features",
        "data.probe_data",
        "data.subgroup_labels",
        "draws",
        "engines.model_selection",
        "engines.settings",
        "engines.task",
        "estimators._neighbors",
        "estimators._prediction",
        "estimators.gbm",
        "experiment",
        "retrieval",
        "run_info",
    },
    "model": {"fitting", "images", "predicting", "saved"},
    "finetune": {"kept", "network.modes", "training.recipe", "work_folder"},
    "study": {
        "data_sets",
        "loading",
        "plan",
        "template",
        "workflow.engine",
        "workflow.failures",
        "workflow.folder_lock",
        "workflow.graph",
        "workflow.progress",
        "workflow.results",
        "workflow.sbatch",
    },
    "report": {
        "elements.figure",
        "elements.html",
        "elements.table",
        "elements.theme",
        "elements.thumbnails",
        "plots.scores",
        "run.data",
        "run.tables",
        "run.verdict",
    },
    "explore": {"judged"},
}
"""The modules that other packages may import from, besides what `__init__.py` exports."""

_ORDER = {
    "manifests": """schema validation readers manifest stratified_groups image_stats splits pseudonyms summary checks
        builders datasets registry output_path build_options""",
    "extract": """catalogue device compiled_graph weights adapters pooling runtimes architecture loader normalization
        own_networks backbone throughput same_spec onnx_export engine multi_device cost""",
    "evaluate": "metrics resampling results statistics",
    "probe": "logistic_solver estimators data engines draws run_info experiment runner arrays retrieval embeddings",
    "model": "unusual estimators model fitting run_choice saved images predicting onnx_file",
    "finetune": "network inputs training kept work_folder embeddings systems fitting processes runner",
    "study": """schema jobs loading arguments estimates contents data_sets systems plan preparing compiling
        template workflow""",
    "report": "elements plots run manifest",
    "explore": "judged files label_errors neighbours errors errors_page projection map_figure map",
}
"""From the lowest: a subpackage or module imports only what stands before it."""

_TORCH_SIDE = {"torch", "torchvision", "timm", "transformers", "open_clip", "onnx", "openvino"}


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
    [p for p in _modules() if p.relative_to(_ROOT).parts[0] not in ("extract", "finetune")],
    ids=lambda p: str(p.relative_to(_ROOT)),
)
def test_only_extract_and_finetune_name_a_torch_library(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
        found = {name.split(".")[0] for name in names} & _TORCH_SIDE
        # Inside a function and ready for its absence: `doctor` reports on torch, `embeddings` fills its data sets, and
        # its files of tensors are read and written by it.
        ready = path.name in ("doctor.py", "embeddings.py", "torch_tensors.py")
        assert not found or ready, f"line {node.lineno} imports {found}"


def test_the_cpu_stage_imports_without_torch(without_torch) -> None:
    torchless = ("base", "manifests", "cache", "evaluate", "probe", "model", "report", "explore", "study", "cli.app")
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


@pytest.mark.parametrize("package", sorted(_MAY_USE.keys() - {"cli"}))
def test_an_interface_is_small_and_complete(package: str) -> None:
    tree = ast.parse((_ROOT / package / "__init__.py").read_text(encoding="utf-8"))
    exported = next(
        ast.literal_eval(n.value) for n in tree.body if isinstance(n, ast.Assign) and "__all__" in _names(n)
    )
    assert 1 <= len(exported) <= 25
    assert len(set(exported)) == len(exported)


def _names(assignment: ast.Assign) -> set[str]:
    return {target.id for target in assignment.targets if isinstance(target, ast.Name)}


def test_other_packages_import_from_the_listed_modules_only() -> None:
    modules = {path.relative_to(_ROOT).with_suffix("").parts: path for path in _modules()}
    used = {
        (package, ".".join(target[1:]).removesuffix(".__init__"))
        for name, path in modules.items()
        for target in _needed(path) & set(modules)
        if (package := target[0]) != name[0] and target[1:] != ("__init__",)
    }
    used = {(package, module) for package, module in used if not _is_only_on_the_way(package, module, modules)}
    listed = {(package, module) for package, names in _FROM_MODULES.items() for module in names}
    assert used == listed


def _is_only_on_the_way(package: str, module: str, modules: dict[tuple[str, ...], Path]) -> bool:
    """A package that is passed through to one of its modules, and exports nothing itself."""
    init = modules.get((package, *module.split("."), "__init__"))
    return init is not None and "import" not in init.read_text(encoding="utf-8")


@pytest.mark.parametrize("package", _ORDER)
def test_subpackages_import_only_lower_ones(package: str) -> None:
    order = {name: place for place, name in enumerate(_ORDER[package].split())}
    paths = [path for path in _modules() if path.relative_to(_ROOT).parts[0] == package]
    present = {path.relative_to(_ROOT / package).with_suffix("").parts[0] for path in paths} - {"__init__"}
    assert present == set(order)
    for path in paths:
        here = path.relative_to(_ROOT / package).with_suffix("").parts[0]
        for target in _needed(path):
            if target[0] == package and len(target) > 1 and target[1] in order and here in order:
                assert order[target[1]] <= order[here], f"{path.relative_to(_ROOT)} imports {'.'.join(target)}"


@pytest.mark.parametrize(
    "folder", sorted({path.parent for path in _modules()}), ids=lambda f: str(f.relative_to(_ROOT))
)
def test_a_folder_has_three_to_sixteen_files(folder: Path) -> None:
    files = len(list(folder.glob("*.py")))
    assert files <= 16
    assert files >= 3 or any(folder.glob("*/__init__.py"))


def test_no_file_needs_one_that_needs_it() -> None:
    """Imports inside functions count too: they would hide a circle, not break it."""
    modules = {path.relative_to(_ROOT).with_suffix("").parts: path for path in _modules()}
    needs = {name: _needed(path) & set(modules) - {name} for name, path in modules.items()}
    tuple(TopologicalSorter(needs).static_order())  # raises CycleError, which names the circle


def _needed(path: Path) -> set[tuple[str, ...]]:
    """The modules, and names that may be modules, in the relative imports of `path`, those for types included."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    folder, found = path.relative_to(_ROOT).parent.parts, set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            start = (*folder[: len(folder) - node.level + 1], *(node.module.split(".") if node.module else ()))
            # `from . import name` is of a neighbour, and the package around both is on its way in already.
            reached = [*([start] if node.module else []), *((*start, alias.name) for alias in node.names)]
            found |= {name for one in reached for name in (one, (*one, "__init__"))}
    return found


def test_the_page_on_architecture_lists_every_file() -> None:
    page = (_ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = page.split("## Files of the code\n")[1].split("\n## ")[0]
    folder, listed = "", set()
    for line in section.splitlines():
        if heading := re.fullmatch(r"\*\*`(.+)/`\*\*.*", line):
            folder = heading[1]
        elif row := re.match(r"- `(.+\.py)`: \S", line):
            listed.add(f"{folder}/{row[1]}")
    assert listed == {str(path.relative_to(_ROOT)) for path in _modules() if path.name != "__init__.py"}

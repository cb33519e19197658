"""A run: what was found, as tables and a page of facts, and how it is kept."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

import pandas as pd

from ...base import OutputError, ReportError, atomic_folder, counted, fingerprint, one_of, writing
from ...base.files import sweep
from ...base.text import first_line
from ...manifests.validation.diagnostics import CODES, SEVERITIES
from . import schemas

if TYPE_CHECKING:
    from ...manifests import Manifest

SCHEMA = 4
"""Version of the run folder; docs/results.md says when it goes up."""
_KIND = "medprobe run"
_INFO = "run.json"
_OURS = {
    *("scores.parquet", "predictions.parquet", "timings.parquet", "units.parquet"),
    *("scores_as_published.parquet", "epochs.parquet", "retrieved.parquet"),
    *(_INFO, "weights", "report.html", "figures", "tables"),
}
"""What may be in a run's folder and be replaced together with it."""
_OPTIONAL = ("scores_as_published", "epochs", "retrieved")
"""Tables that a run may be without."""
_SEALED = ("scores", "predictions", "units", *_OPTIONAL)
"""Tables whose digests run.json has. Not the timings: a run made again has other ones and the same run.json."""


@dataclass(frozen=True, eq=False)
class Run:
    """The results of a study, from one command or merged from several; every statistic follows without another fit.

    Examples:
        >>> from medprobe.evaluate import Run
        >>> saved = Run.load(folder / "run")
        >>> saved.task, saved.primary_metric, saved.scores["probe"].unique().tolist()
        ('binary', 'roc_auc', ['centroid', 'knn'])
    """

    scores: pd.DataFrame
    """One metric of one system, seed, fold and part (val or test) per row; docs/results.md has the columns."""
    predictions: pd.DataFrame
    """One val or test unit of one system, seed and fold per row, with its group's code, its label and its
    probabilities. The columns of lists are Arrow's; `predictions_by_system` gives arrays."""
    timings: pd.DataFrame
    """Seconds and memory per system, seed and fold; apart from the scores, which are the same bits whenever they are
    made."""
    units: pd.DataFrame
    """One attribute of one unit per row: which subgroup it is in. Without a row where none is known."""
    info: Mapping[str, Any]
    """Facts about data, protocol, probes, caches and versions; JSON-like, without paths and ids."""
    scores_as_published: pd.DataFrame | None = None
    """As `scores`, of the same systems fitted with what leaks from the test; None where nothing was left out."""
    epochs: pd.DataFrame | None = None
    """One epoch of one system, seed and fold per row; None where no system learnt in epochs."""
    retrieved: pd.DataFrame | None = None
    """What a search found for one test unit of one system per row; None where nothing was searched."""

    @property
    def task(self) -> str:
        """The data set's task."""
        return str(self.info["dataset"]["task"])

    @property
    def classes(self) -> list[str]:
        """The data set's classes, in the order of the probabilities."""
        return list(self.info["dataset"]["classes"])

    @property
    def primary_metric(self) -> str:
        """The metric that hyper-parameters were chosen by and systems are compared in."""
        return str(self.info["metric"])

    @property
    def warnings(self) -> list[str]:
        """The warnings of the run."""
        return list(self.info["warnings"])

    @property
    def fine_tuned_on_test(self) -> list[str]:
        """The backbones whose network has learnt from units that are tested."""
        codes = zip(self.info["warning_codes"], self.warnings, strict=True)
        texts = [text for code, text in codes if code == "fine-tuned-on-test"]
        names = [cache["backbone"] for cache in self.info["caches"]]
        return [name for name in names if any(text.startswith(f"{name}, ") for text in texts)]

    def units_of(self, manifest: Manifest, *, external: bool = False) -> slice:
        """Which of the run's units are those of the manifest that it was made with, or of the external one.

        Raises:
            ReportError: it was made with another one.
        """
        about, first = self.info["dataset"], 0
        if external:
            about, first = self.info["external"] or {}, about["units"]
        if manifest.digest != about.get("digest"):
            raise ReportError(
                f"{manifest.path or manifest.name}: the run of {self.info['dataset']['name']} was made with another"
                " manifest, or another version of this one: ids, frames, labels, groups, split or classes differ. Give"
                " the one that it was made with, or run `medprobe probe` again."
            )
        return slice(first, first + about["units"])

    def table(self, name: str = "summary", *, metric: str | None = None) -> pd.DataFrame:
        """A table of the report at full precision, by default the systems with their means and intervals, best first.

        Args:
            name: the stem of its files (docs/report.md): `summary`, `comparisons`, `all_metrics`, `classes`, ...
            metric: the run's own by default.

        Raises:
            ProbeError: there is no such table or metric.
            ReportError: the run has nothing to show in it.
        """
        return _views().table_of(self, name, metric)

    @property
    def plot(self) -> Any:
        """The figures of the report as methods, `run.plot.scores()`; `medprobe.report.RunPlots` lists them."""
        return _views().RunPlots(self)

    def _repr_html_(self) -> str | None:
        return _views().html_of(self)

    def __repr__(self) -> str:
        systems = self.timings[["backbone", "pooling", "probe"]].drop_duplicates()
        seeds = counted(len(self.info["seeds"]), "seed")
        return f"Run({self.info['dataset']['name']}: {counted(len(systems), 'system')}, {seeds}, {self.primary_metric})"

    def save(self, folder: Path | str, *, overwrite: bool = False, weights: Sequence[Path] = ()) -> Path:
        """Writes the run as a folder, whole or not at all; returns the folder.

        An older run there is removed only when the new one is complete. With it goes the report made of it.

        Args:
            folder: which need not exist.
            overwrite: replace a run that is there.
            weights: folders of trained networks, which are put into the run's `weights`; files are linked where the
                file system can, else copied.

        Raises:
            OutputError: the folder is there and `overwrite` is False, holds something else than a run, or cannot be
                written.
        """
        folder = Path(os.path.abspath(folder))  # noqa: PTH100  (a symbolic link is refused, not followed)
        check_output_dir(folder, overwrite=overwrite)
        tables = {
            name: schema for name, schema in schemas.by_table(self.task).items() if getattr(self, name) is not None
        }
        with atomic_folder(folder, replace=True) as draft:
            for name, schema in tables.items():
                schemas.write(getattr(self, name), schema, draft / f"{name}.parquet")
            rows = {name: len(getattr(self, name)) for name in tables}
            digests = {name: _digest(draft / f"{name}.parquet") for name in _SEALED if name in tables}
            stated = {"kind": _KIND, "schema": SCHEMA, "rows": rows, "digests": digests, **self.info}
            seal = fingerprint(json.loads(json.dumps(stated)), digits=32)  # as it is read: keys are text
            text = json.dumps({**stated, "seal": seal}, indent=2, allow_nan=False)
            (draft / _INFO).write_text(text + "\n", encoding="utf-8")
            for network in weights:
                shutil.copytree(network, draft / "weights" / network.name, copy_function=_link_or_copy)
        return folder

    @classmethod
    def load(cls, folder: Path | str, *, predictions: bool = True) -> Run:
        """Reads a run's folder.

        Args:
            folder: of the run.
            predictions: False leaves that table, by far the largest, empty: for what is computed from scores alone.

        Raises:
            ReportError: it is not there, is not a run folder, is of another version, was altered, or is damaged.
        """
        folder = Path(folder)
        info = _read_info(folder)
        rows, digests = info.pop("rows"), info.pop("digests")
        schema_of = schemas.by_table(info["dataset"]["task"])
        expected = {name: schema for name, schema in schema_of.items() if name in rows or name not in _OPTIONAL}
        left_out = {} if predictions else {"predictions": expected.pop("predictions").empty_table().to_pandas()}
        read = {name: schemas.read(folder / f"{name}.parquet", schema) for name, schema in expected.items()}
        wrong = [name for name, table in read.items() if rows.get(name) != len(table)]
        wrong += [
            name
            for name in _SEALED
            if name in read and name not in wrong and digests.get(name) != _digest(folder / f"{name}.parquet")
        ]
        if wrong:
            raise ReportError(
                f"{folder}: {one_of(wrong)} and {_INFO} are not of one run: a file was altered, damaged or taken from"
                " another run. Make the run again."
            )
        return cls(**read, **left_out, info=info)


def _views() -> Any:
    """What shows a run; by name, as pandas finds what draws its plots, since reports are made of runs."""
    return import_module("...report.run.views", __package__)


def check_output_dir(folder: Path, *, overwrite: bool) -> None:
    """Makes sure that a run may be written as `folder`; worth asking before the hours of work.

    Raises:
        OutputError: something is there that must not be replaced, or nothing can be written there.
    """
    folder = Path(os.path.abspath(folder))  # noqa: PTH100  (a symbolic link is refused, not followed)
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise OutputError(f"{folder}: is not a folder; choose another --out.")
    # Trying finds more than the permission bits: read-only mounts, quotas, and folders that are not real.
    nearest = next(parent for parent in folder.parents if parent.exists())
    try:
        with writing(folder), TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error.strerror or error}; choose another --out.") from error
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    sweep(folder)  # a report that was killed may have left something
    strangers = sorted(path.name for path in folder.iterdir() if path.name not in _OURS)
    if strangers or not (folder / _INFO).is_file():
        raise OutputError(
            f"{folder}: holds files that are not part of a run ({one_of(strangers, most=3) or 'no run.json'}), so it is"
            " not touched; choose another --out."
        )
    if not overwrite:
        raise OutputError(f"{folder}: a run is there already; choose another --out, or add --overwrite to replace it.")


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _digest(path: Path) -> str:
    return blake2b(path.read_bytes(), digest_size=16).hexdigest()


def _read_info(folder: Path) -> dict[str, Any]:
    path = folder / _INFO
    if not path.is_file():
        what = f"is not a run folder (it has no {_INFO})" if folder.exists() else "does not exist"
        raise ReportError(f"{folder}: {what}; give the folder that `medprobe probe … --out` wrote, e.g. runs/brain.")
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
        seal = info.pop("seal", None) if isinstance(info, dict) else None
        is_sealed = seal is not None and seal == fingerprint(info, digits=32)
    except (OSError, ValueError, RecursionError) as error:
        raise ReportError(f"{path}: is damaged ({first_line(error)}). Make the run again.") from error
    if not isinstance(info, dict) or info.pop("kind", None) != _KIND:
        raise ReportError(f"{path}: does not describe a run of medprobe; give the folder that `medprobe probe` wrote.")
    schema = info.pop("schema", None)
    if schema != SCHEMA:
        raise ReportError(
            f"{path}: is of version {schema}, this medprobe reads {SCHEMA}; install the one that wrote it, or make"
            " the run again."
        )
    if not is_sealed:
        raise ReportError(f"{path}: is not as medprobe wrote it: it was edited or damaged. Make the run again.")
    return info


def in_order(info: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of a run with what is listed in them sorted; warnings the most severe first, each once."""
    warnings = sorted(set(zip(info["warning_codes"], info["warnings"], strict=True)), key=_place_of_warning)
    return {
        **info,
        "seeds": sorted(info["seeds"]),
        **{name: dict(sorted(info[name].items())) for name in ("budgets", "probes", "versions")},
        "caches": sorted(info["caches"], key=lambda cache: (cache["backbone"], cache["fingerprint"])),
        "warnings": [message for _, message in warnings],
        "warning_codes": [code for code, _ in warnings],
    }


def _place_of_warning(warning: tuple[str, str]) -> tuple[int, str, str]:
    code, message = warning
    # A run of a newer version may have codes that are unknown here.
    return SEVERITIES.index(CODES[code].severity if code in CODES else "warning"), code, message


def backbone_labels(backbones: Sequence[tuple[str, str]]) -> list[str]:
    """What the backbone of each cache is called in a run, from its name and the fingerprint of the cache's spec.

    Examples:
        >>> from medprobe.evaluate.results.run import backbone_labels
        >>> backbone_labels([("net", "0f"), ("other", "1a"), ("net", "2b")])
        ['net@0f', 'other', 'net@2b']
    """
    names = [name for name, _ in backbones]
    return [name if names.count(name) == 1 else f"{name}@{fingerprint}" for name, fingerprint in backbones]

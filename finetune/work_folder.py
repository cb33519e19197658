"""What a fine-tuning keeps beside its output until that is complete: finished fits, and the last epoch of others."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ..base import MedprobeError, OutputError, atomic_path, canonical_json, fingerprint, one_of, writing
from ..base.files import make_folder, sweep
from ..evaluate.resampling.resample import Resample
from ..evaluate.results.fit_result import FitResult
from ..evaluate.results.run import Run, check_output_dir
from ..evaluate.results.schemas import SystemKey

_CONFIG, _LOCK, _WEIGHTS, _RUN = "config.json", "lock", "weights", "run"
_KIND = "medprobe fine-tuning, unfinished"


def work_folder_of(out: Path) -> Path:
    """Where a run that will be published as `out` keeps its work: beside it, with `.partial` after the name."""
    return out.with_name(f"{out.name}.partial")


def check_place(out: Path, *, overwrite: bool) -> None:
    """Makes sure that a run may be published as `out`, and removes the work that a published one has left.

    A command that was killed between the publication and the removal of its work leaves it.

    Raises:
        OutputError: as `check_output_dir`.
    """
    folder = work_folder_of(out)
    if not overwrite and out.exists():
        with suppress(OSError):
            folder.rmdir()  # where it is empty: the command was killed at the end of the removal
        with suppress(OSError, MedprobeError):
            if (folder / _RUN).read_text(encoding="utf-8") == fingerprint(dict(Run.load(out).info)):
                _remove(folder)
    check_output_dir(out, overwrite=overwrite)


class WorkFolder:
    """The unfinished work of one configuration; further seeds of it may be added.

    Every file is written whole, so that a kill at any moment loses at most the epoch in hand. One process opens the
    folder and holds its lock; the processes that it starts write other files of it.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any], *, overwrite: bool = False) -> None:
        """Takes up the work in `folder`, or begins it; `config`, JSON-like, is all that decides a fit but its seed.

        With `overwrite` the work of another configuration is removed instead of refused.

        Raises:
            OutputError: another process is at work there; it holds the work of another configuration (says what
                differs), or no such work at all; or it cannot be written.
        """
        self.folder, self.fits = folder, Fits(folder)
        with writing(folder):
            self._descriptor = _lock(folder)
        try:
            with writing(folder):
                self._begin(json.loads(canonical_json(config)), overwrite=overwrite)
        except BaseException:
            os.close(self._descriptor)
            raise

    def _begin(self, config: dict[str, Any], *, overwrite: bool) -> None:
        sweep(self.folder)
        there = _read_config(self.folder)
        if there is not None and there != config:
            if not overwrite:
                names = sorted(name for name in {*there, *config} if there.get(name) != config.get(name))
                raise OutputError(
                    f"{self.folder}: holds unfinished work of another configuration: it differs in {one_of(names)}."
                    " Finish it with the command that began it, choose another --out, or add --overwrite to remove it."
                )
            _remove_all_but(_LOCK, self.folder)
            there = None
        if there is None:
            with atomic_path(self.folder / _CONFIG) as temporary:
                temporary.write_text(json.dumps({"kind": _KIND, **config}, indent=2) + "\n", encoding="utf-8")

    def close(self) -> None:
        """Lets another process take up the work; a folder in which nothing was done is removed."""
        with suppress(OSError):
            if {path.name for path in self.folder.iterdir()} <= {_CONFIG, _LOCK}:
                self.remove()
        os.close(self._descriptor)

    def remove(self) -> None:
        """Removes the folder; what it held is published."""
        with suppress(OSError):
            _remove(self.folder)

    def publish(self, run: Run, out: Path, *, overwrite: bool, weights: Sequence[Path]) -> None:
        """Saves the run that the fits make, as `Run.save`, and removes the folder.

        Raises:
            OutputError: as `Run.save`; the work is kept.
        """
        with atomic_path(self.folder / _RUN) as draft:  # by which `check_place` knows that the work is done
            draft.write_text(fingerprint(json.loads(json.dumps(run.info))), encoding="utf-8")
        run.save(out, overwrite=overwrite, weights=weights)
        self.remove()


class Fits:
    """The finished fits of a work folder; a process needs no lock for those that are its own to make."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def checkpoint(self, key: SystemKey, resample: Resample) -> Path:
        """Where the state of an unfinished fit is kept after each epoch."""
        return self.folder / f"{_name(key, resample)}.checkpoint"

    def weights(self, name: str) -> Path:
        """Where a trained network is kept, by a name for people."""
        return self.folder / _WEIGHTS / name

    def read(self, key: SystemKey, resample: Resample) -> FitResult | None:
        """A finished fit; None where it is not finished, or its file is damaged or another fit's."""
        name = _name(key, resample)
        try:
            with np.load(self.folder / f"{name}.npz") as file:
                arrays = dict(file)
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
            return None
        facts = json.loads(str(arrays.pop("facts")))
        if facts.pop("name") != name:
            return None
        proba = {name: arrays.pop(name) for name in ("val_proba", "test_proba")}
        return FitResult(Resample(resample.seed, **arrays, fold=resample.fold), **proba, **facts)

    def write(self, key: SystemKey, resample: Resample, result: FitResult) -> None:
        """Keeps a finished fit, and removes its checkpoint."""
        names = ("params", "converged", "gradient", "notes", "fit_s", "predict_s", "peak_bytes", "curves")
        name = _name(key, resample)
        facts = json.dumps({"name": name, **{fact: getattr(result, fact) for fact in names}})
        parts = {part: getattr(result.resample, part) for part in ("train", "val", "test")}
        proba = {"val_proba": result.val_proba, "test_proba": result.test_proba}
        arrays: dict[str, Any] = {"facts": np.array(facts), **parts, **proba}
        with atomic_path(self.folder / f"{name}.npz") as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)
        # Those of a search have a number after the name.
        for path in (*self.folder.glob(f"{name}.checkpoint"), *self.folder.glob(f"{name}-[0-9]*.checkpoint")):
            path.unlink()


def _name(key: SystemKey, resample: Resample) -> str:
    """A name for a fit that no character of a backbone or a mode can spoil."""
    fold = f"-fold-{resample.fold}" if resample.fold else ""
    return f"{fingerprint(list(key))}-seed-{resample.seed}{fold}"


def _remove(folder: Path) -> None:
    """Removes a folder, at the end the file that says that its work is done: a kill leaves what `check_place` knows."""
    _remove_all_but(_RUN, folder)
    shutil.rmtree(folder)


def _remove_all_but(name: str, folder: Path) -> None:
    for path in folder.iterdir():
        if path.name != name:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _lock(folder: Path) -> int:
    make_folder(folder)
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        # Not `base.files.lock`, which a forked process inherits: decoding workers may outlive a killed command.
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        os.close(descriptor)
        message = f"{folder}: another command is at work there; wait for it, or choose another --out."
        raise OutputError(message) from None
    except OSError:
        pass  # a file system without locks
    return descriptor


def _read_config(folder: Path) -> dict[str, Any] | None:
    """The configuration of the work in a folder; None where there is none yet."""
    path = folder / _CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        if config.pop("kind") == _KIND:
            return config
    except FileNotFoundError:
        if {path.name for path in folder.iterdir()} <= {_LOCK}:
            return None
    except (ValueError, KeyError, AttributeError):
        pass
    raise OutputError(
        f"{folder}: holds something else than unfinished fine-tuning; move it away, or choose another --out."
    )

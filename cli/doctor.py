"""The command `doctor`: whether this machine has what the stages need, and how to install what is missing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from ..base.text import install_command
from .terminal.console import say, show_table

_LOW_DISK_BYTES = 5 * 2**30
"""Below so much free space a run over a large cohort may well fill the disk."""

_DRIVER = Path("/proc/driver/nvidia")


@dataclass(frozen=True)
class Check:
    """One thing that was checked."""

    what: str
    found: str
    grade: Literal["ok", "note", "error"] = "ok"
    advice: str = ""


def doctor(
    store: Annotated[
        Path, typer.Option("--cache", help="Folder of caches whose file system to test; it need not exist yet.")
    ] = Path("embeddings"),
) -> None:
    """Checks Python, torch, the device, BLAS, HDF5, file locks, free disk and the extras, and shows how to fix them.

    Exit status 1 if a stage cannot work.

    Example: `medprobe doctor --cache /scratch/embeddings`
    """
    checks = [*_versions(), _semaphores(), _blas(), *_torch(), *_file_system(store), *_extras()]
    show_table(["", "what", "found"], [(check.grade, check.what, check.found) for check in checks], whole=["", "what"])
    for check in checks:
        if check.advice:
            say(f"{check.what}: {check.advice}")
    if any(check.grade == "error" for check in checks):
        raise typer.Exit(1)


def _versions() -> list[Check]:
    import platform
    from importlib.metadata import version

    import h5py
    from joblib import cpu_count

    return [
        Check("python", f"{platform.python_version()} ({platform.system()}), medprobe {version('medprobe')}"),
        Check("hdf5", f"{h5py.version.hdf5_version}, h5py {h5py.__version__}"),
        Check("threads", f"{cpu_count()} at once, for probes"),
    ]


def _semaphores() -> Check:
    import multiprocessing

    try:
        multiprocessing.Semaphore()
    except OSError as error:
        advice = "medprobe does without; a scikit-learn estimator with an n_jobs of its own may use one process alone."
        return Check("semaphores", f"none in /dev/shm ({error.strerror})", "note", advice)
    return Check("semaphores", "work")


def _blas() -> Check:
    import numpy as np
    from threadpoolctl import threadpool_info

    np.dot(np.ones((2, 2)), np.ones((2, 2)))  # loads the library, where that is done at first use
    found = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    if not found:
        return Check("blas", "none found", "note", "probes may be slow; install numpy from its wheel.")
    one = found[0]
    kind = one.get("architecture") or ""
    return Check("blas", f"{one['internal_api']} {one['version']} {kind}, {one['num_threads']} threads")


def _torch() -> list[Check]:
    from importlib.util import find_spec

    from ..base.hardware import gpu_files

    spec = find_spec("torch")
    if spec is None:
        advice = f"to embed images on this machine: {install_command('extract')}. Probes and reports work without it."
        return [Check("torch", "not installed", "note", advice)]
    try:
        return _torch_and_gpu() if gpu_files() or _DRIVER.exists() else _torch_on_cpu(Path(spec.origin or ""))
    except (ImportError, OSError) as error:  # a CUDA library that does not load, say
        return [Check("torch", f"cannot be loaded: {error}", "error", "install torch again.")]


def _torch_on_cpu(module: Path) -> list[Check]:
    """Without a GPU, loads torch's libraries only, since all of torch takes longer to import than all else here."""
    import ctypes
    import platform
    from importlib.metadata import version

    from ..base.hardware import cpu_is_quick_at_bf16, openvino_is_installed

    for library in (module.parent / "lib").glob("libtorch_python.*"):
        ctypes.CDLL(str(library))
    runtime = "openvino" if openvino_is_installed() else "torch"
    precision = "bf16" if cpu_is_quick_at_bf16() else "fp32"
    chosen = f"{platform.machine()} CPU; {runtime} in {precision} by default"
    return [Check("torch", version("torch")), Check("device", chosen)]


def _torch_and_gpu() -> list[Check]:
    import torch

    from ..extract.device import choose_device, choose_precision, choose_runtime, describe

    device = choose_device()
    precision = choose_precision("auto", device)
    runtime = choose_runtime("auto", precision, device)
    chosen = f"{describe(device)}; {runtime} in {precision} by default"
    checks = [Check("torch", torch.__version__), Check("device", chosen)]
    if device.type == "cpu" and torch.version.cuda and _DRIVER.exists():
        advice = "an NVIDIA driver is installed but torch finds no GPU; compare `nvidia-smi` with torch's CUDA version."
        checks.append(Check("gpu", f"not usable (torch is built for CUDA {torch.version.cuda})", "note", advice))
    return checks


def _file_system(store: Path) -> list[Check]:
    """Tests in the store's folder, or its nearest existing parent, what a cache needs: lock, write, read, rename."""
    import shutil
    import tempfile

    folder = next(path for path in (store.absolute(), *store.absolute().parents) if path.is_dir())
    free = shutil.disk_usage(folder).free
    disk = Check("free disk", f"{free / 2**30:,.1f} GiB at {store}")
    if free < _LOW_DISK_BYTES:
        disk = Check("free disk", disk.found, "note", "low; a cache of a million images takes 1 to 4 GB per backbone.")
    try:
        with tempfile.TemporaryDirectory(prefix=".medprobe-doctor-", dir=folder) as trial:
            return [disk, _locks(Path(trial)), _write_and_read(Path(trial))]
    except OSError as error:
        fault = f"{store}: cannot be written ({error.strerror or error})"
        return [disk, Check("cache folder", fault, "error", "choose another folder with --cache.")]


def _locks(folder: Path) -> Check:
    """Locks only avoid duplicate work, so their absence is not an error."""
    import fcntl

    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            advice = "caches work without locks: two processes may do the same work twice, and nothing is lost."
            return Check("file locks", f"none on this file system ({error.strerror})", "note", advice)
    return Check("file locks", "flock works on this file system")


def _write_and_read(folder: Path) -> Check:
    import h5py
    import numpy as np

    from ..base import atomic_path
    from ..base.text import first_line

    values, back = np.arange(4096, dtype=np.float32).reshape(64, 64), np.empty((64, 64), np.float32)
    try:
        with atomic_path(folder / "trial.h5") as temporary, h5py.File(temporary, "w", locking=False) as file:
            file.create_dataset("values", data=values, chunks=(16, 64), fletcher32=True)
        with h5py.File(folder / "trial.h5", "r", locking=False) as file:
            file.require_dataset("values", values.shape, values.dtype).read_direct(back)
    except Exception as error:  # noqa: BLE001  whatever goes wrong is what to report
        return Check("cache folder", f"HDF5 fails here: {first_line(error)}", "error", "choose another --cache.")
    if not np.array_equal(back, values):
        return Check("cache folder", "HDF5 reads back other data than written", "error", "use another file system.")
    return Check("cache folder", "writing, reading back and renaming HDF5 files works")


_EXTRAS = {
    "extract": ("torch", "torchvision", "timm", "transformers", "open_clip", "onnx"),
    "medical": ("pydicom", "pylibjpeg", "nibabel", "zarr"),
    "openvino": ("openvino",),
    "errors": ("cleanlab",),
    "map": ("umap",),
}


def _extras() -> list[Check]:
    from importlib.util import find_spec

    checks = []
    for extra, modules in _EXTRAS.items():
        absent = [module for module in modules if find_spec(module) is None]
        check = Check(f"[{extra}]", "installed")
        if absent:
            advice = install_command(extra) if extra != "extract" else ""  # shown with torch
            check = Check(f"[{extra}]", f"missing: {', '.join(absent)}", "note", advice)
        checks.append(check)
    return checks

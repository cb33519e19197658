"""`medprobe doctor` looks at the real machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import h5py
import pytest
import torch


def test_doctor_tells_what_this_machine_has(medprobe, tmp_path) -> None:
    said = medprobe("doctor", "--cache", tmp_path / "embeddings")
    assert said.status == 0, said.out
    words = " ".join(said.out.split())
    for word in (
        sys.version.split()[0],
        torch.__version__.partition("+")[0],
        h5py.version.hdf5_version,
        "CPU" if not torch.cuda.is_available() else torch.cuda.get_device_name(),
        "threads",
        "GiB",
        "file locks",
        "cache folder",
        "[extract]",
    ):
        assert word in words
    assert list(tmp_path.iterdir()) == [], "the trial must leave nothing behind"


def test_a_cache_folder_that_cannot_be_is_a_fault(medprobe) -> None:
    said = medprobe("doctor", "--cache", "/proc/embeddings")
    assert said.status == 1
    assert "--cache" in said.out


def test_without_torch_doctor_says_how_to_get_it(tmp_path, without_torch) -> None:
    code = f"{without_torch}\nfrom medprobe.cli.app import main\nmain()"
    words = ("doctor", "--cache", tmp_path)
    run = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert re.search(r"pip install 'torch>=\S+' torchvision .*onnx", run.stdout)
    assert "medprobe[" not in run.stdout
    assert "not installed" in run.stdout


def test_a_torch_whose_libraries_cannot_be_loaded_is_a_fault(tmp_path) -> None:
    (tmp_path / "torch" / "lib").mkdir(parents=True)
    (tmp_path / "torch" / "__init__.py").write_text("raise OSError('libcudart.so: cannot open shared object file')")
    (tmp_path / "torch" / "lib" / "libtorch_python.so").write_text("not a library")
    command = [sys.executable, "-m", "medprobe.cli", "doctor", "--cache", tmp_path]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "torch: install torch again" in run.stdout


def test_without_torch_extract_says_how_to_get_it(tmp_path, without_torch) -> None:
    code = f"{without_torch}\nfrom medprobe.cli.app import main\nmain()"
    (tmp_path / "m.csv").write_text("sample_id,path,label\na,a,x\nb,b,y\n")
    (tmp_path / "m.yaml").write_text("name: m\ntask: binary\nclasses: [x, y]\n")
    words = ("extract", tmp_path / "m.csv", "-b", "resnet50")
    run = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert re.search(r"pip install 'torch>=\S+' torchvision .*onnx", run.stderr)
    assert "Traceback" not in run.stderr


def test_without_semaphores_doctor_says_what_does_without_them(tmp_path) -> None:
    command = f"mount -t tmpfs -o ro none /dev/shm && {sys.executable} -m medprobe.cli doctor --cache {tmp_path}"
    run = subprocess.run(["unshare", "-rm", "bash", "-c", command], capture_output=True, text=True, check=False)
    if "mount" in run.stderr or "unshare" in run.stderr:
        pytest.skip("this user may not mount anything")
    assert run.returncode == 0, run.stderr
    assert "none in /dev/shm (Read-only file system)" in run.stdout
    assert "serial mode" not in run.stderr

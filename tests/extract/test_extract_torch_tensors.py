"""Files of tensors, which need torch, among embeddings of other programs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from medprobe.base import CacheError
from medprobe.cache.exchange.torch_tensors import read_tensor, write_tensor


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.bfloat16, torch.int64])
def test_tensors_are_those_of_torch(tmp_path, dtype) -> None:
    tensor = (torch.arange(24).reshape(4, 6) * 1.25).to(dtype)[:, ::2]
    torch.save(tensor, tmp_path / "theirs.pt")
    wide = tensor.float() if dtype == torch.bfloat16 else tensor
    assert np.array_equal(read_tensor(tmp_path / "theirs.pt"), wide.numpy())
    write_tensor(wide.numpy(), tmp_path / "ours.pt")
    ours = torch.load(tmp_path / "ours.pt", weights_only=True)
    assert ours.dtype == wide.dtype
    assert torch.equal(ours, wide)


class _Harm:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.trace,))


def test_a_tensor_file_executes_nothing(tmp_path) -> None:
    torch.save(_Harm(tmp_path / "harm"), tmp_path / "x.pt")
    with pytest.raises(CacheError, match=r"x\.pt.*never loaded"):
        read_tensor(tmp_path / "x.pt")
    assert not (tmp_path / "harm").exists()
    for other in ([torch.zeros(2)], {"a": 1}):
        torch.save(other, tmp_path / "x.pt")
        with pytest.raises(CacheError, match=r"x\.pt.*one tensor"):
            read_tensor(tmp_path / "x.pt")


def test_without_torch_one_error_names_the_file_and_the_package(tmp_path, without_torch) -> None:
    torch.save(torch.zeros(2, 3), tmp_path / "x.pt")
    code = f"{without_torch}\nfrom medprobe.cache.exchange.torch_tensors import read_tensor, Path\n"
    code += f"try:\n    read_tensor(Path({str(tmp_path / 'x.pt')!r}))\nexcept Exception as error:\n    print(error)"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert "x.pt" in found
    assert "pip install torch" in found

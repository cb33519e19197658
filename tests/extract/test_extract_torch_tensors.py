"""Tensors read and written without torch are those of torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from medprobe.base import CacheError
from medprobe.cache.exchange.torch_tensors import read_tensor, write_tensor


def test_tensors_are_those_of_torch(tmp_path) -> None:
    for dtype in (torch.float16, torch.float32, torch.bfloat16, torch.int64):
        tensor = (torch.arange(12).reshape(4, 3) * 1.25).to(dtype)
        torch.save(tensor, tmp_path / "theirs.pt")
        wide = tensor.float() if dtype == torch.bfloat16 else tensor
        assert np.array_equal(read_tensor(tmp_path / "theirs.pt"), wide.numpy())
        write_tensor(wide.numpy(), tmp_path / "ours.pt")
        ours = torch.load(tmp_path / "ours.pt", weights_only=True)
        assert ours.dtype == wide.dtype
        assert torch.equal(ours, wide)
    torch.save(torch.zeros(4, 6)[:, ::2], tmp_path / "theirs.pt")
    with pytest.raises(CacheError, match="contiguous"):
        read_tensor(tmp_path / "theirs.pt")

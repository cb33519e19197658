"""Tensors in files of `torch.save`; only plain ones are read, and nothing in a file is executed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...base import CacheError
from .contents import reading


def read_tensor(path: Path) -> np.ndarray:
    """The one tensor of a file; bfloat16 becomes float32, which holds its values. CacheError for anything else."""
    torch = _torch(path)
    with reading(path, "a PyTorch tensor"):
        tensor = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(tensor, torch.Tensor):
            raise TypeError("it holds something else than one tensor")
        return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy(force=True)


def write_tensor(values: np.ndarray, path: Path) -> None:
    """Writes an array as a tensor on the CPU."""
    torch = _torch(path)
    with path.open("wb") as file:  # to a path, torch writes the name of the file into it
        torch.save(torch.from_numpy(values), file)


def _torch(path: Path) -> Any:
    try:
        import torch
    except ModuleNotFoundError as error:
        raise CacheError(f"{path}: files of tensors need torch, which is not installed: pip install torch.") from error
    return torch

"""What the machine has, as far as the system says it without torch: cores, arithmetic, GPUs."""

from __future__ import annotations

import os
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

_FAST_BF16 = {"avx512_bf16", "amx_bf16", "amx_tile"}
_GPUS = ("nvidia*", "kfd", "dxg")
"""Device files of CUDA, ROCm, and CUDA under Windows."""


def usable_cores() -> int:
    """The cores that this process may use: where the system can tell, those it is confined to; else all.

    Examples:
        >>> usable_cores() >= 1
        True
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def processor_flags() -> str:
    """The instructions that the processor has, as Linux lists them; empty elsewhere."""
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"^flags.*$", cpuinfo.read_text(), re.MULTILINE) if cpuinfo.is_file() else None
    return found[0] if found else ""


def cpu_is_quick_at_bf16() -> bool:
    """Whether the processor multiplies bfloat16 in hardware (AVX512-BF16 or AMX); emulated it is slower than fp32."""
    return bool(_FAST_BF16 & set(processor_flags().split()))


def openvino_is_installed() -> bool:
    """Whether the extra `[openvino]` is there."""
    return find_spec("openvino") is not None


def gpu_files() -> list[str]:
    """Names of the system's files for GPUs that torch could use; where there is none, it finds no GPU."""
    return sorted(path.name for pattern in _GPUS for path in Path("/dev").glob(pattern))

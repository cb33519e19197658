"""What to compute on, and in which precision; the only file that asks torch what the hardware can do."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from ..base import BackboneError
from ..base.hardware import cpu_is_quick_at_bf16, openvino_is_installed
from ..base.text import first_line, install_command
from ..cache.spec import Precision, Runtime

OPENVINO_STREAMS = 4
"""Batches that OpenVINO has under way at once, at most: with more, those of one call would not go round."""
_NO_MEMORY = ("out of memory", "STATUS_ALLOC_FAILED", "can't allocate memory", "bad_alloc", "bad allocation")
"""What CUDA, its libraries, torch on CPUs and OpenVINO say when there is none left."""
RequestedRuntime = Literal["auto", "torch", "openvino"]


def choose_device(requested: str = "auto", runtime: RequestedRuntime = "auto") -> torch.device:
    """The device requested; `auto` is the first GPU if there is one and the runtime uses it, else the CPU."""
    if requested == "auto":
        # OpenVINO runs on CPUs alone here.
        return torch.device("cuda" if runtime != "openvino" and torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(requested)
    except RuntimeError as error:
        raise BackboneError(f'"{requested}" is not a device; use auto, cpu, cuda or cuda:N.') from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise BackboneError(f"there is no {requested} here ({torch.cuda.device_count()} GPUs found); use auto or cpu.")
    return device


def choose_devices(requested: str = "auto", runtime: RequestedRuntime = "auto") -> list[str]:
    """The devices that `requested` names, separated by commas; `auto` is all GPUs where `choose_device` takes one.

    Raises:
        BackboneError: there is no such device.

    Examples:
        >>> from medprobe.extract import choose_devices
        >>> choose_devices("cpu")
        ['cpu']
    """
    if requested == "auto":
        device = choose_device(requested, runtime).type
        gpus = torch.cuda.device_count() if device == "cuda" else 0
        return [f"cuda:{number}" for number in range(gpus)] if gpus > 1 else [device]
    return [str(choose_device(one.strip())) for one in requested.split(",")]


def choose_precision(requested: Literal["auto", "fp32", "bf16"], device: torch.device) -> Precision:
    """`auto` is bf16 where the device is quick at it, else fp32."""
    if requested != "auto":
        return requested
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if cpu_is_quick_at_bf16() else "fp32"


def choose_runtime(requested: RequestedRuntime, precision: Precision, device: torch.device) -> Runtime:
    """`auto` is OpenVINO on a CPU where it is installed, else torch."""
    obstacle = _obstacle_to_openvino(precision, device)
    if requested == "openvino" and obstacle:
        raise BackboneError(f"--runtime openvino: {obstacle}.")
    return "torch" if requested == "torch" or obstacle else "openvino"


def _obstacle_to_openvino(precision: Precision, device: torch.device) -> str:
    """Why OpenVINO cannot be used, or an empty text."""
    if device.type != "cpu":
        return f"it runs on CPUs here, not on {device}; add --device cpu, or use --runtime torch"
    if not openvino_is_installed():
        return f"it is not installed; {install_command('openvino')}, or use --runtime torch"
    if precision == "bf16" and not cpu_is_quick_at_bf16():
        # OpenVINO takes bf16 for a hint and would compute in fp32, which the spec would then not say.
        return "this processor has no bf16 arithmetic; use --precision fp32, or --runtime torch, which emulates it"
    return ""


def openvino_batch(size: tuple[int, int]) -> int:
    """Images of (height, width) pixels that OpenVINO is always given together; fewer when they are large.

    Eight fill the processor's caches at 224 px. At 1,024 px one does, and eight would need many gigabytes for the
    attention of a transformer.
    """
    return max(1, min(8, 8 * 384 * 384 // (size[0] * size[1])))


def openvino_reason(error: Exception) -> str:
    """What a message of OpenVINO lists, or its first line that is not about a place in its own source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    places = ("Check '", "Exception from", "Exception:", "Couldn't get")
    listed = [line.removeprefix("-- ") for line in lines if line.startswith("-- ")]
    return next(iter([*listed, *(line for line in lines if not line.startswith(places))]), first_line(error))


def describe(device: torch.device) -> str:
    """The device in words, e.g. `NVIDIA H100` or `x86_64 CPU, 2 threads`."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"


def fixed_batch(device: torch.device, precision: Precision) -> int | None:
    """Images that a network is always given together, a batch that is smaller being filled up; None for any number.

    Kernels for bfloat16 on CPUs add up in an order that depends on the batch's size, and over a transformer's layers
    the difference grows to 1 %: an image must not get another vector because it came last. Eight images are also about
    as many as the processor's caches hold, which makes larger batches slower.
    """
    return 8 if device.type == "cpu" and precision == "bf16" else None


def filled_up(images: torch.Tensor, size: int) -> torch.Tensor:
    """The images with the last one repeated until there are `size` of them."""
    lacking = size - len(images)
    return torch.cat([images, images[-1:].expand(lacking, -1, -1, -1)]) if lacking > 0 else images


def batch_sizes(device: torch.device) -> tuple[int, int]:
    """Images a batch to begin with, and the most that it may grow to."""
    return (32, 256) if device.type == "cuda" else (8, 32)


@contextmanager
def exact_fp32(device: torch.device, precision: Precision) -> Iterator[None]:
    """Keeps an fp32 backbone on CUDA from computing in TF32: torch allows it for convolutions, a program for all.

    TF32 has bfloat16's range and 10 bits of fraction: what it gives must not be called fp32 in a spec.
    """
    if device.type != "cuda" or precision != "fp32":
        yield
        return
    convolutions, products = torch.backends.cudnn, torch.backends.cuda.matmul
    # torch 2.9 has settings per operation, and its older ones fail where a program has used the new ones.
    new = hasattr(products, "fp32_precision")
    name, exact = ("fp32_precision", "ieee") if new else ("allow_tf32", False)
    settings = (convolutions.conv if new else convolutions, products)
    before, of_products = [getattr(one, name) for one in settings], "highest"
    try:
        for one in settings:
            setattr(one, name, exact)
        of_products = torch.get_float32_matmul_precision()
        if of_products != "highest":  # torch.compile fails where this older setting is not the same as the newer one
            torch.set_float32_matmul_precision("highest")
        yield
    finally:
        if of_products != "highest":
            torch.set_float32_matmul_precision(of_products)
        for one, value in zip(settings, before, strict=True):
            setattr(one, name, value)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception of torch means that the batch was too large."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _NO_MEMORY)


def is_lost(error: BaseException) -> bool:
    """Whether an exception of torch means that the device itself has failed (it fell off the bus, a kernel crashed)."""
    return isinstance(error, RuntimeError) and "CUDA error" in str(error) and not is_out_of_memory(error)

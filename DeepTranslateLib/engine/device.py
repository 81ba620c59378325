"""The device that networks run on, and how much fits on it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import nn

from DeepTranslateLib.engine.convolution import with_halved_volumes
from DeepTranslateLib.recipe import Recipe

DEVICES = ("auto", "cpu", "cuda", "mps")


class DeviceError(RuntimeError):
    """A device was asked for that this machine does not have."""


def choose_device(name: str = "auto") -> torch.device:
    """The device called "auto", "cpu", "cuda" or "mps"; "auto" prefers a GPU.

    Raises:
        DeviceError: The device is not there; the message says what is.
    """
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next((kind for kind, there in present.items() if there), "cpu")
    if name != "cpu" and not present.get(name, False):
        there = ", ".join(["cpu", *(kind for kind, found in present.items() if found)])
        raise DeviceError(
            f"The device '{name}' was asked for, and PyTorch {torch.__version__} finds only: "
            f"{there}. Use --device auto, or install a PyTorch build for this device."
        )
    return torch.device(name)


@contextmanager
def without_denormals() -> Iterator[None]:
    """Treat numbers too small for a normal float as 0; on a CPU they cost up to 100 times as much.

    The caller's own arithmetic is as before when the block ends.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def accelerators() -> list[tuple[str, str]]:
    """Name and description of each GPU that PyTorch can use."""
    found = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        found.append(
            (f"cuda:{index}", f"{properties.name}, {properties.total_memory / 2**30:.0f} GB")
        )
    if torch.backends.mps.is_available():
        found.append(("mps", "Apple GPU"))
    return found


def place(network: nn.Module, recipe: Recipe, device: torch.device) -> nn.Module:
    """Move a network to its device, in the memory format that is faster there.

    Channels last was faster for the U-Net of slices without norm and slower with instance norm;
    so it was for volumes, on CPUs. The rule is fixed rather than timed, so that a resumed training
    computes in the same order. Single volumes are convolved in halves on a CPU (`HalvedConv3d`).
    """
    wanted = recipe.network
    if wanted.name == "unet" and wanted.norm in ("none", "batch"):
        if wanted.dimension == 2 and device.type != "mps":
            network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        elif wanted.dimension == 3 and device.type == "cpu":
            network = network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    if wanted.dimension == 3 and device.type == "cpu":
        network = with_halved_volumes(network)
    return network.to(device)


def autocast(device: torch.device, learning_in_3d: bool = False) -> AbstractContextManager[object]:
    """Mixed precision where the device computes it faster; full precision elsewhere.

    bf16 on GPUs and CPUs that have it (AVX512-bf16, AMX), else fp16 on a CUDA GPU.

    Args:
        device: Where to compute.
        learning_in_3d: Gradients of 3D convolutions follow. On a CPU, PyTorch 2.13 computes those
            of bf16 weights from memory that was never written where the image has few slices:
            they differ from run to run, and are no numbers at times.
    """
    if device.type == "cpu" and _cpu_has_bf16() and not learning_in_3d:
        return torch.autocast("cpu", dtype=torch.bfloat16)
    if device.type != "cuda":
        return nullcontext()
    dtype = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.autocast("cuda", dtype=dtype)


def _cpu_has_bf16() -> bool:
    """In instructions: emulated, bf16 is slower than full precision."""
    questions = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    asked = (getattr(torch.cpu, question, None) for question in questions)
    return any(ask is not None and ask() for ask in asked)


@contextmanager
def full_precision() -> Iterator[None]:
    """fp32 with all of its bits; a GPU left to itself multiplies with 10 of them (TF32)."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def batch_that_fits(recipe: Recipe, size: Sequence[int], device: torch.device) -> int:
    """Slices (rows, columns) or patches (slices, rows, columns) of a size to translate at a time.

    On a CPU one at a time is fastest and needs least memory. On a GPU as many as fit into
    half of the memory that is free, at most 32: the features of the two finest levels, which
    are alive together, are by far the largest part.
    """
    if device.type != "cuda":
        return 1
    free, _ = torch.cuda.mem_get_info(device)
    features = 4 * 6 * recipe.network.channels * math.prod(size)
    return int(max(1, min(32, free / 2 // features)))

"""Choose the device; make float32 arithmetic exact and deterministic for the whole process."""

import os
import re

import torch

from pipeline.errors import ConfigError
from pipeline.suggest import did_you_mean, format_suggestions

DEVICE_TYPES = {"cpu", "cuda", "meta", "mps", "xpu", "hpu", "xla", "mtia", "vulkan"}
"""Types of device that torch knows. Only cpu and cuda are supported here."""


def choose_device(name: str = "auto") -> torch.device:
    """Return the device for `auto` (the GPU if there is one), `cpu`, `cuda`, `cuda:N` or N.

    With torchrun, `auto` and `cuda` select one GPU for each process of a host, by `LOCAL_RANK`.

    Raises:
        ConfigError: there is no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.isascii() and name.isdecimal():
        name = f"cuda:{name}"
    if name.startswith("cuda:") and (processes := os.environ.get("LOCAL_WORLD_SIZE", "1")) != "1":
        raise ConfigError(f"--device {name}: each of {processes} processes needs its own GPU; use auto, cpu or cuda")
    if name == "cuda" and "LOCAL_RANK" in os.environ:
        name = f"cuda:{os.environ['LOCAL_RANK']}"
    if not re.fullmatch(r"[a-z]+(:\d+)?", name) or name.partition(":")[0] not in DEVICE_TYPES:
        hint = format_suggestions(["cuda"]) if name.startswith("gpu") else did_you_mean(name, ["auto", "cpu", "cuda"])
        raise ConfigError(f"--device {name}: there is no such device{hint}; use auto, cpu or cuda")
    try:
        device = torch.device(name)
        if device.type in {"cpu", "cuda"}:
            torch.empty(1, device=device)
            return device
        reason = f"{device.type} devices are not supported"
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
    raise ConfigError(f"--device {name}: {reason}; use auto, cpu or cuda")


def make_arithmetic_exact() -> None:
    """Disable TF32 and select deterministic algorithms, so that the same run twice gives the same numbers on a GPU.

    By default, cuDNN rounds the inputs of convolutions to TF32's ten bits and may add in any order. This changes
    settings of torch for the whole process, so only commands call it, and programs that use this package may.
    """
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.deterministic = True


def describe_device(device: torch.device) -> str:
    """Return the name of the device, for logs and results."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'s' if threads > 1 else ''}"

"""Where the work is done, and that a float32 there is one."""

import os
import re

import torch

from pipeline.errors import ConfigError
from pipeline.suggest import did_you_mean, format_suggestions

DEVICE_TYPES = {"cpu", "cuda", "meta", "mps", "xpu", "hpu", "xla", "mtia", "vulkan"}
"""Kinds of device that torch has a name for, though nothing here is made for most."""


def choose_device(name: str = "auto") -> torch.device:
    """`auto` (the GPU when there is one), `cpu`, `cuda` or `cuda:N`.

    With torchrun, which counts the processes of a host in `LOCAL_RANK`, `auto` and `cuda` mean a GPU for each of them.

    float32 then means float32, and the same run twice the same numbers: by default cuDNN rounds the inputs of
    convolutions to TF32's ten bits, and picks algorithms that add up in any order.

    Raises:
        ConfigError: there is no such device.
    """
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda:") and (processes := os.environ.get("LOCAL_WORLD_SIZE", "1")) != "1":
        raise ConfigError(
            f"--device {name}: each of {processes} processes takes a GPU of its own; use auto, cpu or cuda"
        )
    if name == "cuda" and "LOCAL_RANK" in os.environ:
        name = f"cuda:{os.environ['LOCAL_RANK']}"
    if not re.fullmatch(r"[a-z]+(:\d+)?", name) or name.partition(":")[0] not in DEVICE_TYPES:
        near = format_suggestions(["cuda"]) if name.startswith("gpu") else did_you_mean(name, ["auto", "cpu", "cuda"])
        raise ConfigError(f"--device {name}: there is no such device{near}; use auto, cpu or cuda")
    try:
        device = torch.device(name)
        if device.type in {"cpu", "cuda"}:
            torch.empty(1, device=device)
            return device
        reason = f"nothing here is made for {device.type}"
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
    raise ConfigError(f"--device {name}: {reason}; use auto, cpu or cuda")


def describe_device(device: torch.device) -> str:
    """The device in words, for logs and results."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads"

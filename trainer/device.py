"""Where the work is done."""

import torch

from pipeline.errors import ConfigError


def pick(name: str) -> torch.device:
    """`auto` (the GPU when there is one), `cpu`, `cuda` or `cuda:N`.

    Raises:
        ConfigError: there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"--device {name}: {str(error).splitlines()[0]}; use auto, cpu or cuda") from error
    return device


def describe(device: torch.device) -> str:
    """The device in words, for logs and results."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads"

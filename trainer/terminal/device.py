"""The device of a command, with exact and deterministic arithmetic."""

import torch

from trainer.runtime.device import choose_device, make_arithmetic_exact


def command_device(name: str) -> torch.device:
    """Return the device that `--device` names, and make the arithmetic of this process exact.

    Raises:
        ConfigError: there is no such device.
    """
    make_arithmetic_exact()
    return choose_device(name)

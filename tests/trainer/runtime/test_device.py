"""Choosing a device; and, with `--device cuda`, comparing a GPU with the CPU."""

from collections.abc import Callable

import pytest
import torch

from pipeline.errors import ConfigError
from tests.support import device_checks
from trainer.runtime.device import choose_device
from trainer.terminal.device import command_device


def test_only_processors_and_gpus_are_devices() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    for name in ("meta", "mps", "tpu", "", "cuda:99"):
        with pytest.raises(ConfigError, match=f"--device {name}: .*; use auto, cpu or cuda"):
            choose_device(name)


def test_processes_of_one_host_do_not_share_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "98")
    with pytest.raises(ConfigError, match="--device cuda:0: each of 2 processes needs its own GPU"):
        choose_device("cuda:0")
    with pytest.raises(ConfigError, match="--device cuda:98: "):
        choose_device("cuda")
    assert choose_device("cpu") == torch.device("cpu")


@pytest.fixture
def default_arithmetic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set torch's defaults for this process."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)


def arithmetic() -> tuple[bool, bool]:
    return torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic


@pytest.mark.usefixtures("default_arithmetic")
def test_choosing_a_device_changes_no_setting_of_the_process() -> None:
    choose_device("cpu")
    assert arithmetic() == (True, False)


@pytest.mark.usefixtures("default_arithmetic")
def test_a_command_makes_the_arithmetic_exact() -> None:
    assert command_device("cpu") == torch.device("cpu")
    assert arithmetic() == (False, True)


@pytest.mark.parametrize("check", [*device_checks.CHECKS, *device_checks.GPU_CHECKS], ids=lambda check: check.__name__)
def test_another_device_gives_the_results_of_the_cpu(
    check: Callable[[torch.device], None], device: torch.device
) -> None:
    if device.type == "cpu":
        pytest.skip("compares the CPU with --device cuda")
    check(device)

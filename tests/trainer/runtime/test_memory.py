from pathlib import Path

import pytest
import torch

from trainer.runtime import memory
from trainer.runtime.memory import available_memory


@pytest.mark.parametrize(("left", "available"), [(1 << 62, 4_096_000), (1_500_000, 1_500_000), (0, 0)])
def test_available_memory_is_limited_by_machine_and_batch_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: int, available: int
) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable: 4000 kB\n")
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "memory_left", lambda: left)
    assert available_memory(torch.device("cpu")) == available

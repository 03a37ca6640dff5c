"""Available memory of the host (within cgroup limits) and of a GPU."""

import os
from pathlib import Path

import torch

from pipeline.files.cgroups import memory_left

MEMINFO = Path("/proc/meminfo")


def available_memory(device: torch.device) -> int:
    """Return bytes: free on a GPU, or available on the host without swapping and within a batch system's limit."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return min(_available_on_host(), memory_left())


def format_bytes(count: float) -> str:
    """Return a size in MB or GB, for messages."""
    return f"{count / 1e9:,.2f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def _available_on_host() -> int:
    if MEMINFO.is_file():
        for line in MEMINFO.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2  # not Linux: leave half to others

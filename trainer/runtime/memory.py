"""Available memory of the host (within cgroup limits) and of a GPU."""

import os
from pathlib import Path

import torch

MEMINFO, CGROUP_ROOT, OWN_CGROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def available_memory(device: torch.device) -> int:
    """Return bytes: free on a GPU, or available on the host without swapping and within a batch system's limit."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return min(_available_on_host(), *_available_in_cgroups())


def _available_on_host() -> int:
    if MEMINFO.is_file():
        for line in MEMINFO.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2  # not Linux: leave half to others


def _available_in_cgroups() -> list[int]:
    """Return the bytes that each control group (version 2) of this process still allows; file caches can be evicted."""
    available = [1 << 62]
    lines = OWN_CGROUP.read_text(encoding="utf-8").splitlines() if OWN_CGROUP.is_file() else []
    for name in (line.removeprefix("0::/") for line in lines if line.startswith("0::/")):
        for folder in [CGROUP_ROOT / name, *(CGROUP_ROOT / name).parents]:
            if (folder / "memory.max").is_file() and (limit := (folder / "memory.max").read_text().strip()) != "max":
                used = int((folder / "memory.current").read_text())
                stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
                available.append(max(0, int(limit) - used + int(stat.get("inactive_file", 0))))
    return available

"""Memory and cores of this process within the limits of its control groups (cgroups), versions 1 and 2.

A batch system or a container sets the limits. They hold for a group and everything below it, so the smallest limit of
all ancestors applies.
"""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from pipeline.files.regular_files import read_bytes

CGROUP_ROOT, OWN_CGROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
UNLIMITED = 1 << 62
"""Version 1 writes a number near 2**63 where there is no limit."""


def memory_left() -> int:
    """Return the bytes that the control groups still allow; `UNLIMITED` if there is no limit.

    Caches of files that are not in use count as free, because the kernel evicts them.
    """
    left = [UNLIMITED]
    for folder in _groups(""):
        limits = [_read_number(folder / name) for name in ("memory.max", "memory.high")]
        left += _left(folder, limits, "memory.current", "inactive_file")
    for folder in _groups("memory"):
        left += _left(
            folder, [_read_number(folder / "memory.limit_in_bytes")], "memory.usage_in_bytes", "total_inactive_file"
        )
    return min(left)


def usable_cores() -> int:
    """Return the number of cores that this process may use, at least 1: of its affinity, and by the CPU quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [cores]
    for folder in _groups(""):
        quota, _, period = _read(folder / "cpu.max").partition(" ")
        quotas += _cores(quota, period)
    for folder in _groups("cpu"):
        quotas += _cores(_read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us"))
    return max(1, min(quotas))


def _groups(controller: str) -> Iterator[Path]:
    """Yield the folders of this process's group and of its ancestors.

    Args:
        controller: of version 1, such as `memory`; empty for version 2.
    """
    for line in _read(OWN_CGROUP).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, name = rest.partition(":")
        if controller not in controllers.split(","):
            continue
        # In a container, the name may be that of the host, while the container's own group is mounted as the root.
        parts = [] if ".." in (parts := PurePosixPath(name).parts[1:]) else list(parts)
        mounts = dict.fromkeys((controllers, controller)) if controller else ("", "unified")
        for root in (CGROUP_ROOT / mount for mount in mounts):
            yield from (root.joinpath(*parts[:depth]) for depth in range(len(parts), -1, -1))


def _left(folder: Path, limits: list[int | None], usage_file: str, cache_key: str) -> list[int]:
    """Return what a group still allows, as a list of one number; empty without a limit or where files are missing."""
    known = [limit for limit in limits if limit is not None and limit < UNLIMITED]
    used = _read_number(folder / usage_file)
    if not known or used is None:
        return []
    stat = dict(line.split(maxsplit=1) for line in _read(folder / "memory.stat").splitlines() if " " in line)
    cache = stat.get(cache_key, "0")
    return [max(0, min(known) - used + (int(cache) if cache.isdecimal() else 0))]


def _cores(quota: str, period: str) -> list[int]:
    """Return the number of whole cores of a quota, as a list of one number; empty without a quota (`max` or -1)."""
    return [int(quota) // int(period)] if quota.isdecimal() and period.isdecimal() and int(period) else []


def _read_number(path: Path) -> int | None:
    """Return the number in a file; None if it has none (`max`) or cannot be read."""
    text = _read(path)
    return int(text) if text.isdecimal() else None


def _read(path: Path) -> str:
    """Return the text of a file; empty if it cannot be read."""
    try:
        return read_bytes(path).decode().strip()
    except (OSError, ValueError):
        return ""

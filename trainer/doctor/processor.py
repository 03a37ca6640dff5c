"""The processor and the memory: what there is, and how much of it this process may use."""

import os
import platform
import re
import resource
from collections.abc import Iterator
from pathlib import Path

from trainer.doctor.findings import Finding

INFO, MEMORY = Path("/proc/cpuinfo"), Path("/proc/meminfo")
GROUPS, OWN_GROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
FEATURES = {
    "AVX2": {"avx2"},
    "AVX-512": {"avx512f"},
    "bf16": {"avx512_bf16", "bf16"},
    "AMX": {"amx_bf16", "amx_tile"},
    "SVE": {"sve"},
}
"""What makes a difference here, and the names that the kernel has for it."""
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
LITTLE = 4e9
"""Bytes of memory below which it is said: training on a CPU takes about 1 GB, an ingest's processes 0.35 GB each."""
FEW_FILES = 256


def examine() -> Iterator[Finding]:
    """Processor, threads, memory and limits."""
    yield from cores()
    yield from threads()
    yield from memory()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    said = f"open files: {soft if soft != resource.RLIM_INFINITY else 'no limit'}"
    few = soft != resource.RLIM_INFINITY and soft < FEW_FILES
    yield Finding("limits", "note" if few else "ok", said, f"ulimit -n {min(hard, 4096)}" if few else "")


def features() -> list[str]:
    """Those of FEATURES that the processor has."""
    found = re.search(r"(?m)^(?:flags|Features)\s*: (.*)$", _text(INFO))
    flags = set(found[1].split()) if found else set()
    return [feature for feature, names in FEATURES.items() if names & flags]


def usable() -> tuple[int, float | None]:
    """Cores that this process may run on, and how many of them a control group gives it time for; None: all."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return allowed, min(_quotas(), default=None)


def cores() -> Iterator[Finding]:
    """The processor."""
    allowed, quota = usable()
    there = os.cpu_count() or 1
    said = f"{processor_name()}, {there} cores, {', '.join(features()) or 'no AVX2'}"
    if allowed < there:
        said += f"; this process may use {allowed}"
    yield Finding("processor", "ok", said)
    if quota is not None and quota < allowed:
        yield Finding(
            "processor",
            "note",
            f"a control group gives this process the time of {quota:g} of {allowed} cores",
            f"OMP_NUM_THREADS={max(1, int(quota))} and ingest --workers {max(1, int(quota))}",
        )


def threads() -> Iterator[Finding]:
    """What the environment says of threads."""
    allowed, _ = usable()
    for variable in THREADS:
        given = os.environ.get(variable)
        if given is None:
            continue
        if not given.isdecimal() or int(given) < 1:
            yield Finding("threads", "problem", f"{variable} is {given!r}", f"unset {variable}, or give it a number")
        elif int(given) > allowed:
            yield Finding("threads", "note", f"{variable} is {given} for {allowed} cores", f"{variable}={allowed}")
        else:
            yield Finding("threads", "ok", f"{variable} is {given}")
    if not any(variable in os.environ for variable in THREADS):
        yield Finding("threads", "ok", "not set in the environment: as many as cores")


def memory() -> Iterator[Finding]:
    """How much memory there is, is free, and is allowed."""
    sizes = {found[1]: int(found[2]) * 1024 for found in re.finditer(r"(?m)^(\w+):\s+(\d+) kB", _text(MEMORY))}
    total = sizes.get("MemTotal", os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    free = sizes.get("MemAvailable", total)
    limits = [limit for limit in _memory_limits() if limit < total]
    said = f"{total / 1e9:.1f} GB, {free / 1e9:.1f} GB free"
    if limits:
        said += f"; a control group allows {min(limits) / 1e9:.1f} GB"
    little = min(free, *limits, free) < LITTLE
    todo = "close other programs; ingest --workers 1, pretrain --residency stream" if little else ""
    yield Finding("memory", "note" if little else "ok", said, todo)


def _groups() -> Iterator[Path]:
    """The folders of the control groups that this process is in, in either version of them, and of those above."""
    for line in _text(OWN_GROUP).splitlines():
        _, controllers, path = line.split(":", 2)
        for top in (GROUPS, GROUPS / "cpu", GROUPS / "memory") if not controllers else (GROUPS / controllers,):
            here = top / path.lstrip("/")
            yield from (folder for folder in [here, *here.parents] if folder.is_relative_to(GROUPS))


def _quotas() -> list[float]:
    """Cores' worth of time that each control group gives."""
    found = []
    for folder in _groups():
        most, _, period = _text(folder / "cpu.max").strip().partition(" ")
        most = most or _text(folder / "cpu.cfs_quota_us").strip()
        period = period or _text(folder / "cpu.cfs_period_us").strip()
        if most.isdecimal() and period.isdecimal() and int(period):
            found.append(int(most) / int(period))
    return found


def _memory_limits() -> list[int]:
    texts = (_text(folder / file).strip() for folder in _groups() for file in ("memory.max", "memory.limit_in_bytes"))
    return [int(text) for text in texts if text.isdecimal()]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def processor_name() -> str:
    """The CPU's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())

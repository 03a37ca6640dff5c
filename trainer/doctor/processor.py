"""Probe of `skelepipe doctor`: processor, usable cores and thread settings; and the processor's name."""

import os
import platform
from collections.abc import Iterator
from pathlib import Path

from pipeline.files.cgroups import usable_cores
from trainer.doctor.findings import Finding

CPU_INFO = Path("/proc/cpuinfo")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def examine() -> Iterator[Finding]:
    """Report the processor and the number of threads."""
    cores = usable_cores()
    yield Finding("processor", "ok", f"{processor_name()}, {os.cpu_count() or 1} cores, {cores} usable by this process")
    yield from check_threads(cores)


def check_threads(cores: int) -> Iterator[Finding]:
    """Compare the thread counts that the environment sets with the number of usable cores."""
    variables = {name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ}
    for name, value in variables.items():
        if not value.isdecimal() or int(value) < 1:
            yield Finding("threads", "problem", f"{name} is {value!r}", f"unset {name}, or set it to a number")
        elif int(value) > cores:
            yield Finding("threads", "note", f"{name} is {value}, but there are {cores} cores", f"{name}={cores}")
        else:
            yield Finding("threads", "ok", f"{name} is {value}")
    if not variables:
        yield Finding("threads", "ok", "not set in the environment: one per core")


def processor_name() -> str:
    """Return the processor's model name."""
    lines = CPU_INFO.read_text(encoding="utf-8").splitlines() if CPU_INFO.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())

"""What torch has to work with, and why it sees no GPU where it sees none: for `doctor`, in a process of its own."""

import os
import re
import shutil
import subprocess
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from trainer.doctor.findings import Finding

DRIVER = Path("/proc/driver/nvidia/version")
CUDA_BUILD = "pip install --force-reinstall torch --index-url https://download.pytorch.org/whl/cu128"
LITTLE = 8e9
"""Bytes of a GPU's memory that a full-width step of 128 clips takes in bf16, with some to spare: 4.3 GB, or
6.3 GB with `--fast off` (benchmarks/RESULTS.md)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gpu:
    """A device as torch sees it."""

    name: str
    free: int
    total: int
    """Bytes."""
    bf16: bool
    fault: str
    """What went wrong when something small was computed there; empty when nothing did."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Torch:
    """What there is."""

    version: str
    cuda: str | None
    """The CUDA that torch is built with; None: it is built for CPUs (or for AMD's ROCm)."""
    rocm: str | None
    driver: str
    """NVIDIA's driver on this machine; empty when there is none."""
    hidden: str | None
    """CUDA_VISIBLE_DEVICES."""
    why: str
    """What torch says when it is to use CUDA and cannot."""
    gpus: tuple[Gpu, ...]
    threads: int
    capability: str
    """The instructions that torch's own CPU code takes."""
    fault: str
    """What went wrong between numpy and torch on the CPU; empty when nothing did."""


def examine() -> Iterator[Finding]:
    """Torch, its threads, its GPUs."""
    yield from judge(look())


def look() -> Torch:
    """Ask torch and the machine."""
    why = ""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
    if not available and torch.version.cuda:
        try:
            torch.zeros(1, device="cuda")
        except (RuntimeError, AssertionError) as error:
            why = str(error)
    said = [str(warning.message) for warning in told] or [why]
    return Torch(
        version=torch.__version__,
        cuda=torch.version.cuda,
        rocm=torch.version.hip,
        driver=driver(),
        hidden=os.environ.get("CUDA_VISIBLE_DEVICES"),
        why=" ".join(said[0].split()).partition(" (Triggered internally")[0],
        gpus=tuple(gpu(number) for number in range(torch.cuda.device_count())) if available else (),
        threads=torch.get_num_threads(),
        capability=torch.backends.cpu.get_cpu_capability(),
        fault=computed(torch.device("cpu")),
    )


def judge(found: Torch) -> Iterator[Finding]:
    """What it means."""
    build = f"CUDA {found.cuda}" if found.cuda else f"ROCm {found.rocm}" if found.rocm else "CPU"
    text = f"torch {found.version}, {build} build; {found.threads} threads, {found.capability}"
    if found.fault:
        yield Finding("torch", "problem", f"{text}; {found.fault}", "pip install --force-reinstall torch numpy")
    else:
        yield Finding("torch", "ok", text)
    for number, one in enumerate(found.gpus):
        yield _of(number, one)
    if found.gpus:
        return
    if not found.cuda and not found.rocm:
        if found.driver:
            yield Finding(
                "gpu", "note", f"driver {found.driver} is there, but this torch is built for CPUs", CUDA_BUILD
            )
        else:
            yield Finding("gpu", "ok", "none: no driver here, and a torch for CPUs; preset quick is made for that")
    elif not found.driver and found.cuda:
        todo = "train with preset quick, or install NVIDIA's driver; in a container, start it with --gpus all"
        yield Finding("gpu", "note", "none: torch is built for CUDA, but there is no NVIDIA driver here", todo)
    elif found.hidden is not None and not re.match(r"\d|GPU-|MIG-", found.hidden.strip()):
        said = f"none: CUDA_VISIBLE_DEVICES is {found.hidden!r}, which hides all"
        yield Finding("gpu", "note", said, "unset CUDA_VISIBLE_DEVICES if that is not on purpose")
    else:
        said = f"none, though driver {found.driver or '?'} is there: {found.why or 'torch does not say why'}"
        todo = f"a driver for CUDA {found.cuda} or later, or a torch for an older CUDA; nvidia-smi says what there is"
        yield Finding("gpu", "problem", said, todo)


def _of(number: int, one: Gpu) -> Finding:
    text = f"cuda:{number} {one.name}, {one.free / 1e9:.1f} of {one.total / 1e9:.1f} GB free"
    text += "" if one.bf16 else ", no bf16"
    if one.fault:
        todo = "take a torch that is built for this GPU: https://pytorch.org/get-started"
        return Finding("gpu", "problem", f"{text}; {one.fault}", todo)
    if one.free < LITTLE:
        return Finding(
            "gpu", "note", f"{text}: little", "end what else runs there (nvidia-smi), or --set micro_batch=32"
        )
    return Finding("gpu", "ok", text)


def gpu(number: int) -> Gpu:
    """One device, tried out."""
    device = torch.device("cuda", number)
    name, free, total, bf16 = "a GPU", 0, 0, False
    try:
        name = torch.cuda.get_device_name(device)
        free, total = torch.cuda.mem_get_info(device)
        with torch.cuda.device(device):
            bf16 = torch.cuda.is_bf16_supported()
        fault = computed(device)
    except (RuntimeError, AssertionError) as error:
        fault = str(error).splitlines()[0]
    return Gpu(name=name, free=free, total=total, bf16=bf16, fault=fault)


def computed(device: torch.device) -> str:
    """Multiply two small matrices and hold that against numpy; what went wrong, or nothing."""
    values = np.arange(64, dtype=np.float32).reshape(8, 8)
    try:
        given = torch.from_numpy(values).to(device)
        found = (given @ given).cpu().numpy()
    except (RuntimeError, AssertionError, TypeError) as error:
        return str(error).splitlines()[0]
    return "" if np.allclose(found, values @ values, rtol=1e-2) else "it multiplies matrices otherwise than numpy"


def driver() -> str:
    """The version of NVIDIA's driver; empty when there is none."""
    if DRIVER.is_file():
        found = re.search(r"(?:Module|x86_64|aarch64)\s+(\d+\.[\d.]+)", DRIVER.read_text(encoding="utf-8"))
        return found[1] if found else "of unknown version"
    if program := shutil.which("nvidia-smi"):
        asked = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
        try:
            done = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return done.stdout.split("\n")[0].strip() if done.returncode == 0 else ""
    return ""

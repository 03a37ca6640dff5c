"""Probe of `skelepipe doctor`: torch, its threads and GPUs, or the reason why there is no GPU."""

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

DRIVER_FILE = Path("/proc/driver/nvidia/version")
CUDA_INSTALL = "pip install --force-reinstall torch --index-url https://download.pytorch.org/whl/cu128"
LOW_GPU_BYTES = 8e9
"""Free GPU memory below which a note is reported: a full-width step of 128 clips in bf16 takes 4.3 GB, or 6.3 GB with
`--fast off` (benchmarks/RESULTS.md)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gpu:
    """A GPU that torch can see."""

    name: str
    free: int
    """Bytes."""
    total: int
    """Bytes."""
    bf16: bool
    fault: str
    """The error of a small computation on it; empty if there was none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TorchState:
    """What torch and the system report."""

    version: str
    cuda: str | None
    """CUDA version of this torch build; None: it was built for CPUs (or for AMD's ROCm)."""
    rocm: str | None
    driver: str
    """Version of the NVIDIA driver; empty if there is none."""
    visible_devices: str | None
    """CUDA_VISIBLE_DEVICES."""
    cuda_error: str
    """Torch's message if it was built for CUDA and cannot use it."""
    gpus: tuple[Gpu, ...]
    threads: int
    fault: str
    """The error of a small computation with numpy and torch on the CPU; empty if there was none."""


def examine() -> Iterator[Finding]:
    """Check torch and its GPUs."""
    yield from judge(collect_state())


def collect_state() -> TorchState:
    """Query torch and the NVIDIA driver."""
    error_text = ""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        is_available = torch.cuda.is_available()
    if not is_available and torch.version.cuda:
        try:
            torch.zeros(1, device="cuda")
        except (RuntimeError, AssertionError) as error:
            error_text = str(error)
    messages = [str(warning.message) for warning in caught] or [error_text]
    return TorchState(
        version=torch.__version__,
        cuda=torch.version.cuda,
        rocm=torch.version.hip,
        driver=driver_version(),
        visible_devices=os.environ.get("CUDA_VISIBLE_DEVICES"),
        cuda_error=" ".join(messages[0].split()).partition(" (Triggered internally")[0],
        gpus=tuple(probe_gpu(index) for index in range(torch.cuda.device_count())) if is_available else (),
        threads=torch.get_num_threads(),
        fault=find_fault(torch.device("cpu")),
    )


def judge(state: TorchState) -> Iterator[Finding]:
    """Turn the state into findings: one for torch, then one for each GPU, or one that says why there is none."""
    build = f"CUDA {state.cuda}" if state.cuda else f"ROCm {state.rocm}" if state.rocm else "CPU"
    text = f"torch {state.version}, {build} build; threads: {state.threads}"
    if state.fault:
        yield Finding("torch", "problem", f"{text}; {state.fault}", "pip install --force-reinstall torch numpy")
    else:
        yield Finding("torch", "ok", text)
    for index, gpu in enumerate(state.gpus):
        yield _judge_gpu(index, gpu)
    if not state.gpus:
        yield _explain_no_gpu(state)


def _explain_no_gpu(state: TorchState) -> Finding:
    if not state.cuda and not state.rocm:
        if state.driver:
            text = f"none: the NVIDIA driver {state.driver} is installed, but this torch was built for CPUs"
            return Finding("gpu", "note", text, CUDA_INSTALL)
        return Finding("gpu", "ok", "none: no NVIDIA driver, and a CPU build of torch; train with preset quick")
    if not state.driver and state.cuda:
        todo = "train with preset quick, or install the NVIDIA driver; start a container with --gpus all"
        return Finding("gpu", "note", "none: torch was built for CUDA, but there is no NVIDIA driver", todo)
    if state.visible_devices is not None and not re.match(r"\d|GPU-|MIG-", state.visible_devices.strip()):
        text = f"none: CUDA_VISIBLE_DEVICES is {state.visible_devices!r}, which hides all GPUs"
        return Finding("gpu", "note", text, "unset CUDA_VISIBLE_DEVICES if that is not intended")
    reason = state.cuda_error or "torch gives no reason"
    text = f"none, although driver {state.driver or '?'} is installed: {reason}"
    todo = f"install a driver for CUDA {state.cuda} or later, or a torch for an older CUDA; see nvidia-smi"
    return Finding("gpu", "problem", text, todo)


def _judge_gpu(index: int, gpu: Gpu) -> Finding:
    text = f"cuda:{index} {gpu.name}, {gpu.free / 1e9:.1f} of {gpu.total / 1e9:.1f} GB free"
    text += "" if gpu.bf16 else ", no bf16"
    if gpu.fault:
        todo = "install a torch that was built for this GPU: https://pytorch.org/get-started"
        return Finding("gpu", "problem", f"{text}; {gpu.fault}", todo)
    if gpu.free < LOW_GPU_BYTES:
        todo = "stop other programs on it (nvidia-smi), or use --set micro_batch=32"
        return Finding("gpu", "note", f"{text}: little memory", todo)
    return Finding("gpu", "ok", text)


def probe_gpu(index: int) -> Gpu:
    """Query one GPU and run a small computation on it."""
    device = torch.device("cuda", index)
    name, free, total, bf16 = "a GPU", 0, 0, False
    try:
        name = torch.cuda.get_device_name(device)
        free, total = torch.cuda.mem_get_info(device)
        with torch.cuda.device(device):
            bf16 = torch.cuda.is_bf16_supported()
        fault = find_fault(device)
    except (RuntimeError, AssertionError) as error:
        fault = str(error).splitlines()[0]
    return Gpu(name=name, free=free, total=total, bf16=bf16, fault=fault)


def find_fault(device: torch.device) -> str:
    """Multiply two small matrices and compare the result with numpy's; return the error, or an empty text."""
    values = np.arange(64, dtype=np.float32).reshape(8, 8)
    try:
        tensor = torch.from_numpy(values).to(device)
        product = (tensor @ tensor).cpu().numpy()
    except (RuntimeError, AssertionError, TypeError) as error:
        return str(error).splitlines()[0]
    return "" if np.allclose(product, values @ values, rtol=1e-2) else "its matrix product differs from numpy's"


def driver_version() -> str:
    """Return the version of the NVIDIA driver; empty if there is none."""
    if DRIVER_FILE.is_file():
        found = re.search(r"(?:Module|x86_64|aarch64)\s+(\d+\.[\d.]+)", DRIVER_FILE.read_text(encoding="utf-8"))
        return found[1] if found else "of unknown version"
    if program := shutil.which("nvidia-smi"):
        command = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return done.stdout.split("\n")[0].strip() if done.returncode == 0 else ""
    return ""

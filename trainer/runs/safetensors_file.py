"""Read and write named tensors in the safetensors format, which cannot contain code.

Files are read and written as bytes with Python's own I/O, so that disk errors are the usual OSError.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import Tensor

from pipeline.errors import ArtifactError
from pipeline.files.regular_files import open_buffered, read_bytes
from trainer.models.size_estimate import TensorSpec

MAX_HEADER_BYTES = 100_000_000
"""Limit of the safetensors library."""
DTYPES = {"F32": torch.float32, "F64": torch.float64, "I64": torch.int64}
"""The types that checkpoints and classifiers contain, by their names in the format."""


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors of any device to a file.

    Raises:
        OSError: the disk reports an error.
    """
    path.write_bytes(save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a file to the CPU.

    Raises:
        ArtifactError: the file is missing or not in the safetensors format.
    """
    try:
        return load(read_bytes(path, max_bytes=None))
    except Exception as error:  # safetensors and torch raise many exception types for damaged files
        reason = str(error).partition("\n")[0]
        raise ArtifactError(
            f"{path}: cannot be read as safetensors ({reason}); restore the file or create it again"
        ) from error


def require_tensors(path: Path, expected: Mapping[str, TensorSpec], remedy: str) -> None:
    """Check that a file contains the expected tensors, without reading them. Only its header is read.

    Raises:
        ArtifactError: the file is missing or not in the safetensors format, or a tensor is missing, unknown, or has
            another shape or type.
    """
    found = _read_header(path)
    for name, spec in expected.items():
        if name not in found:
            raise ArtifactError(f"{path}: tensor {name} is missing, expected shape {spec.shape}; {remedy}")
        if found[name].shape != spec.shape:
            problem = f"has shape {found[name].shape}, expected shape {spec.shape}"
            raise ArtifactError(f"{path}: tensor {name} {problem}; {remedy}")
        if _is_float(found[name].dtype) != _is_float(spec.dtype):
            raise ArtifactError(f"{path}: tensor {name} has another type than {spec.dtype}; {remedy}")
    if unknown := sorted(found.keys() - expected.keys()):
        raise ArtifactError(f"{path}: tensor {unknown[0]} is not expected; {remedy}")


def _is_float(dtype: torch.dtype | None) -> bool | None:
    """Whether a type is a floating-point type; None if it is unknown."""
    return None if dtype is None else dtype.is_floating_point


def _read_header(path: Path) -> dict[str, TensorSpec]:
    """Read shape and type of each tensor of a file by its name.

    Raises:
        ArtifactError: the file is missing or not in the safetensors format.
    """
    try:
        with open_buffered(path) as handle:
            length = int.from_bytes(handle.read(8), "little")
            header = json.loads(handle.read(min(length, MAX_HEADER_BYTES)))
        header.pop("__metadata__", None)
        return {
            name: TensorSpec(tuple(map(int, entry["shape"])), DTYPES.get(entry["dtype"]))
            for name, entry in header.items()
        }
    except (
        FileNotFoundError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        ArithmeticError,
        RecursionError,
    ) as error:
        raise ArtifactError(
            f"{path}: cannot be read as safetensors ({error}); restore the file or create it again"
        ) from error


def first_not_finite(tensors: Mapping[str, Tensor]) -> str:
    """Name of the first tensor that has a NaN or infinite value; empty if there is none."""
    return next((name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()), "")


def tensors_size(tensors: Mapping[str, Tensor]) -> int:
    """Total size of tensors in bytes, without file headers."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())

"""Read and write named tensors in the safetensors format, which cannot contain code.

Files are read and written as bytes with Python's own I/O, so that disk errors are the usual OSError.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import Tensor

from pipeline.errors import ArtifactError
from pipeline.files.regular_files import read_bytes


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


def first_not_finite(tensors: Mapping[str, Tensor]) -> str:
    """Name of the first tensor that has a NaN or infinite value; empty if there is none."""
    return next((name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()), "")


def tensors_size(tensors: Mapping[str, Tensor]) -> int:
    """Total size of tensors in bytes, without file headers."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())

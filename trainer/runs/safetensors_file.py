"""Named tensors in a file of safetensors' format, which holds numbers and nothing that could run.

Written and read as bytes through Python's own files: the library's writer tells of a full disk in words of its own.
"""

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load, save
from torch import Tensor

from pipeline.errors import ArtifactError


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors, wherever they lie, to a file.

    Raises:
        OSError: the disk refuses.
    """
    path.write_bytes(save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, on the CPU.

    Raises:
        ArtifactError: it is gone, or no such file.
    """
    try:
        return load(path.read_bytes())
    except Exception as error:  # safetensors and torch raise nearly anything over a damaged file
        reason = str(error).partition("\n")[0]
        raise ArtifactError(f"{path}: cannot be read as safetensors ({reason}); restore it or make it again") from error


def tensors_size(tensors: Mapping[str, Tensor]) -> int:
    """Bytes of the values of some tensors."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())

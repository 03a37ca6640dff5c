"""Read tensors from a file written by `torch.save` (old or new format) without running any code in it."""

import hashlib
import io
import os
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pipeline.errors import ArtifactError, ArtifactNotFound
from pipeline.files.regular_files import open_file

WRAPPERS = ("state_dict", "model")
"""Keys under which training loops save the state_dict, next to their counters."""

_MAGIC_BYTES = (b"PK\x03\x04", b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19")
"""Of zip files, the format since PyTorch 1.6, and of the older format."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TorchFile:
    """The tensors of a file by name, with its size and checksum."""

    path: Path
    size: int
    """Bytes."""
    sha256: str
    tensors: dict[str, Tensor]
    """On the CPU; without DataParallel's prefix `module.`."""
    ignored: tuple[str, ...]
    """Other keys next to the state_dict."""


class _Bounded(io.BufferedReader):
    """A file that never reads more than it has left, so that a false length in a pickle cannot exhaust the memory."""

    def __init__(self, path: Path) -> None:
        super().__init__(open_file(path))
        self._size = os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(0, self._size - self.tell())
        return super().read(left if size is None or size < 0 else min(size, left))


def read_torch_file(path: Path) -> TorchFile:
    """Read a state_dict, either bare or under one of WRAPPERS.

    Raises:
        ArtifactNotFound: there is no such file.
        ArtifactError: it has more than tensors (it is then not loaded), is damaged, or is not a state_dict.
    """
    if not path.is_file():
        if not path.exists():
            raise ArtifactNotFound(path)
        kind = "a folder" if path.is_dir() else "a pipe, a socket or a device"
        raise ArtifactError(f"{path}: is {kind}, expected a file")
    with _Bounded(path) as handle:
        sha256 = hashlib.file_digest(handle, "sha256").hexdigest()
        size = handle.tell()
        handle.seek(0)
        is_torch_format = handle.read(32).startswith(_MAGIC_BYTES)
        handle.seek(0)
        try:
            with warnings.catch_warnings():  # torch warns about TorchScript files and then does not load them
                warnings.simplefilter("ignore")
                plain = torch.load(handle, map_location="cpu", weights_only=True)  # noqa: TID251 (weights_only=True)
        except Exception as error:  # invalid pickles can raise any exception
            raise ArtifactError(f"{path}: {_reason(str(error), is_torch_format)}") from error
    ignored: tuple[str, ...] = ()
    for wrapper in WRAPPERS:
        if isinstance(plain, dict) and isinstance(plain.get(wrapper), dict):
            ignored = tuple(str(key) for key in plain if key != wrapper)
            plain = plain[wrapper]
    if not isinstance(plain, dict) or not plain:
        raise ArtifactError(f"{path}: has {_kind(plain)}, expected a state_dict: tensors by name")
    for name, value in plain.items():
        if not isinstance(name, str) or not isinstance(value, Tensor) or value.layout != torch.strided:
            raise ArtifactError(f"{path}: has {_kind(value)} under {name!r}, expected only tensors by name")
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            stored = value.untyped_storage().nbytes()
            raise ArtifactError(
                f"{path}: {name!r} has shape {tuple(value.shape)} but only {stored} bytes (an expanded tensor); "
                "ask for, or save, contiguous tensors"
            )
    has_prefix = all(name.startswith("module.") for name in plain)
    tensors = {name.removeprefix("module.") if has_prefix else name: value for name, value in plain.items()}
    return TorchFile(path=path, size=size, sha256=sha256, tensors=tensors, ignored=ignored)


def _reason(message: str, is_torch_format: bool) -> str:
    """Explain torch's error message in one line."""
    if match := re.search(r"GLOBAL (\S+)", message):
        return (
            f"has {match[1]}, which is not a tensor: loading it could run code, so it was not loaded; "
            "ask for, or save, only the model's state_dict"
        )
    if "TorchScript" in message:
        return "is a TorchScript program, which is not loaded; ask for, or save, only the model's state_dict"
    if is_torch_format:
        return "is damaged or truncated, or is not a state_dict; download it again"
    return "is not a PyTorch checkpoint"


def _kind(value: object) -> str:
    """A value's type in words."""
    if isinstance(value, Tensor):
        return f"a {value.layout} tensor" if value.layout != torch.strided else "a tensor"
    return "nothing" if isinstance(value, dict) else f"a {type(value).__name__}"

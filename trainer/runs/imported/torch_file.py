"""Tensors out of a file that `torch.save` wrote, old format or new; nothing in it is ever run."""

import hashlib
import io
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pipeline.errors import ArtifactError, ArtifactNotFound

WRAPPERS = ("state_dict", "model")
"""Under which a training loop may have put the state_dict, beside its own counters."""

_BEGINNINGS = (b"PK\x03\x04", b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19")
"""Of a zip, as PyTorch has written since 1.6, and of the magic number before."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TorchFile:
    """A file's tensors by name, and what it is."""

    path: Path
    size: int
    """Bytes."""
    sha256: str
    tensors: dict[str, Tensor]
    """On the CPU; without the `module.` that DataParallel puts before every name."""
    beside: tuple[str, ...]
    """What else lies beside the state_dict, left alone."""


class _Bounded(io.BufferedReader):
    """A file of which nothing more is asked than it has left: a text of a gigabyte that a pickle claims takes none."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self._size = path.stat().st_size

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(0, self._size - self.tell())
        return super().read(left if size is None or size < 0 else min(size, left))


def read_torch_file(path: Path) -> TorchFile:
    """Read a state_dict, bare or under one of WRAPPERS.

    Raises:
        ArtifactNotFound: there is no such file.
        ArtifactError: it holds more than plain data (it is then not loaded), is damaged, or is no state_dict.
    """
    if not path.is_file():
        raise ArtifactError(f"{path}: is a folder, expected a file") if path.exists() else ArtifactNotFound(path)
    with _Bounded(path) as handle:
        sha256 = hashlib.file_digest(handle, "sha256").hexdigest()
        size = handle.tell()
        handle.seek(0)
        like_torchs = handle.read(32).startswith(_BEGINNINGS)
        handle.seek(0)
        try:
            with warnings.catch_warnings():  # of a program torch says that it runs it, and then does not
                warnings.simplefilter("ignore")
                plain = torch.load(handle, map_location="cpu", weights_only=True)  # noqa: TID251 (weights_only=True)
        except Exception as error:  # bytes that are no pickle can end in any error
            raise ArtifactError(f"{path}: {_reason(str(error), like_torchs)}") from error
    beside: tuple[str, ...] = ()
    for wrapper in WRAPPERS:
        if isinstance(plain, dict) and isinstance(plain.get(wrapper), dict):
            beside = tuple(str(key) for key in plain if key != wrapper)
            plain = plain[wrapper]
    if not isinstance(plain, dict) or not plain:
        raise ArtifactError(f"{path}: holds {_kind(plain)}, expected a state_dict: tensors by name")
    for name, value in plain.items():
        if not isinstance(name, str) or not isinstance(value, Tensor) or value.layout != torch.strided:
            raise ArtifactError(f"{path}: holds {_kind(value)} under {name!r}, expected tensors by name, nothing else")
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise ArtifactError(
                f"{path}: {name!r} is {tuple(value.shape)} out of {value.untyped_storage().nbytes()} bytes, which are "
                "repeated; ask for, or save, tensors with all their numbers"
            )
    wrapped = all(name.startswith("module.") for name in plain)
    tensors = {name.removeprefix("module.") if wrapped else name: value for name, value in plain.items()}
    return TorchFile(path=path, size=size, sha256=sha256, tensors=tensors, beside=beside)


def _reason(message: str, like_torchs: bool) -> str:
    """What torch says, in one line."""
    if found := re.search(r"GLOBAL (\S+)", message):
        return (
            f"holds {found[1]}, which is more than tensors: loading it could run code, so it was not loaded; "
            "ask for, or save, the model's state_dict alone"
        )
    if "TorchScript" in message:
        return "is a TorchScript program, which is not loaded; ask for, or save, the model's state_dict alone"
    if like_torchs:
        return "is damaged or cut short, or is no state_dict; fetch it again"
    return "is not a checkpoint of PyTorch's"


def _kind(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a {value.layout} tensor" if value.layout != torch.strided else "a tensor"
    return "nothing" if isinstance(value, dict) else f"a {type(value).__name__}"

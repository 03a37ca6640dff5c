"""Distributed training: process group, ranks and collective operations (torchrun, torch.distributed).

A single process has rank 0 of 1, without any overhead. Sums have the same bits on every rank.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from hashlib import sha256
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from pipeline.errors import ConfigError, SkelepipeError

TIMEOUT = timedelta(minutes=5)
"""How long a rank waits for the others before it considers them lost. A killed process is noticed at once."""

Result = TypeVar("Result")


class PeerLost(SkelepipeError):
    """Another rank has died or does not answer."""


class ReportedByRankZero(SkelepipeError):
    """Rank 0 has failed and reports why; this rank ends with the same exit code and without a message."""

    def __init__(self, exit_code: int) -> None:
        super().__init__("")
        self.exit_code = exit_code


def rank() -> int:
    """Return the rank of this process."""
    return dist.get_rank() if _is_distributed() else 0


def world_size() -> int:
    """Return the number of processes that train together."""
    return dist.get_world_size() if _is_distributed() else 1


@contextmanager
def process_group(device: torch.device, timeout: timedelta = TIMEOUT) -> Iterator[None]:
    """Join the process group of torchrun, if `RANK` and `WORLD_SIZE` are set.

    Raises:
        ConfigError: environment variables are missing, or the processes cannot be connected.
    """
    if "RANK" not in os.environ or os.environ.get("WORLD_SIZE", "1") == "1":
        yield
        return
    if missing := [name for name in ("MASTER_ADDR", "MASTER_PORT") if name not in os.environ]:
        raise ConfigError(f"WORLD_SIZE is {os.environ['WORLD_SIZE']} but {missing[0]} is not set; start with torchrun")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=timeout)
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"the {os.environ['WORLD_SIZE']} processes cannot be connected at {os.environ['MASTER_ADDR']}:"
            f"{os.environ['MASTER_PORT']}: {str(error).splitlines()[0]}"
        ) from error
    try:
        yield
    finally:
        dist.destroy_process_group()


def all_reduce_sum(tensor: Tensor) -> None:
    """Replace a tensor by its sum over all ranks.

    Raises:
        PeerLost: another rank is lost.
    """
    if world_size() > 1:
        with _peer_errors():
            dist.all_reduce(tensor)


def all_gather(tensor: Tensor) -> Tensor:
    """Stack a tensor of every rank: (ranks, ...).

    Raises:
        PeerLost: another rank is lost.
    """
    stacked = tensor.new_empty(world_size(), *tensor.shape)
    with _peer_errors():
        dist.all_gather(list(stacked.unbind()), tensor.contiguous())
    return stacked


def all_reduce_max(number: int) -> int:
    """Return the maximum of a number over all ranks. Ranks wait for each other, up to the timeout.

    Raises:
        PeerLost: another rank is lost.
    """
    if world_size() == 1:
        return number
    largest = torch.tensor(number)
    with _peer_errors():
        dist.all_reduce(largest, dist.ReduceOp.MAX)
    return int(largest)


def run_on_rank_zero(work: Callable[[], Result]) -> Result | None:
    """Run a function on rank 0 while the other ranks wait. They return None.

    Raises:
        ReportedByRankZero: on the other ranks, if it fails on rank 0.
        PeerLost: another rank is lost.
    """
    result, code = None, 0
    if rank() == 0:
        code = 1
        try:
            result, code = work(), 0
        except SkelepipeError as error:
            code = error.exit_code
            raise
        finally:
            all_reduce_max(code)
    elif code := all_reduce_max(code):
        raise ReportedByRankZero(code)
    return result


def same_on_all_ranks(text: str) -> bool:
    """Return whether a text is the same on all ranks.

    Raises:
        PeerLost: another rank is lost.
    """
    digest = int.from_bytes(sha256(text.encode()).digest()[:7])
    return all_reduce_max(digest) == -all_reduce_max(-digest)


def _is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized()


@contextmanager
def _peer_errors() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        reason = re.sub(r"^\[\S+\] ", "", str(error)).splitlines()[0].split(". ")[0]  # gloo prefixes its source file
        raise PeerLost(f"rank {rank()}: another process has died or does not answer ({reason})") from error

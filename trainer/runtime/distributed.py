"""Processes that train together, each a rank from 0: torchrun starts them, torch.distributed connects them.

Alone there is one rank, and nothing here costs anything. Sums are the same bits on every rank.
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
"""How long a rank waits for the others before it takes them for lost; a killed one is noticed at once."""

Done = TypeVar("Done")


class PeerLost(SkelepipeError):
    """Another rank has died, or has not answered for long."""


class ReportedByRankZero(SkelepipeError):
    """This rank ends as rank 0 does, which says why: no text, only the exit code."""

    def __init__(self, exit_code: int) -> None:
        super().__init__("")
        self.exit_code = exit_code


def rank() -> int:
    """This process among those that train together."""
    return dist.get_rank() if _is_distributed() else 0


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if _is_distributed() else 1


@contextmanager
def process_group(device: torch.device, patience: timedelta = TIMEOUT) -> Iterator[None]:
    """Be one of the processes that torchrun started, if it did (`RANK` and `WORLD_SIZE` say so).

    Raises:
        ConfigError: the environment is half set, or the processes cannot be connected.
    """
    if "RANK" not in os.environ or os.environ.get("WORLD_SIZE", "1") == "1":
        yield
        return
    if missing := [name for name in ("MASTER_ADDR", "MASTER_PORT") if name not in os.environ]:
        raise ConfigError(f"WORLD_SIZE is {os.environ['WORLD_SIZE']} but {missing[0]} is not set; start with torchrun")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=patience)
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
    """Replace a tensor by its sum over the ranks.

    Raises:
        PeerLost: a rank is gone.
    """
    if world_size() > 1:
        with _peers():
            dist.all_reduce(tensor)


def all_gather(tensor: Tensor) -> Tensor:
    """A tensor of every rank, one on the other: (ranks, ...).

    Raises:
        PeerLost: a rank is gone.
    """
    found = tensor.new_empty(world_size(), *tensor.shape)
    with _peers():
        dist.all_gather(list(found.unbind()), tensor.contiguous())
    return found


def all_reduce_max(number: int) -> int:
    """The greatest of a number over the ranks, known to all; as long as it takes, they wait for one another.

    Raises:
        PeerLost: a rank is gone.
    """
    if world_size() == 1:
        return number
    found = torch.tensor(number)
    with _peers():
        dist.all_reduce(found, dist.ReduceOp.MAX)
    return int(found)


def run_on_rank_zero(work: Callable[[], Done]) -> Done | None:
    """What rank 0 alone does while the others wait; they get nothing.

    Raises:
        SaidElsewhere: on the others, when it fails on rank 0.
        PeerLost: a rank is gone.
    """
    done, code = None, 0
    if rank() == 0:
        code = 1
        try:
            done, code = work(), 0
        except SkelepipeError as error:
            code = error.exit_code
            raise
        finally:
            all_reduce_max(code)
    elif code := all_reduce_max(code):
        raise ReportedByRankZero(code)
    return done


def same_on_all_ranks(text: str) -> bool:
    """Whether a text is the same on all ranks.

    Raises:
        PeerLost: a rank is gone.
    """
    number = int.from_bytes(sha256(text.encode()).digest()[:7])
    return all_reduce_max(number) == -all_reduce_max(-number)


def _is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized()


@contextmanager
def _peers() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        reason = re.sub(r"^\[\S+\] ", "", str(error)).splitlines()[0].split(". ")[0]  # gloo names its own source first
        raise PeerLost(f"rank {rank()}: another process has died or does not answer ({reason})") from error

"""Start several training processes on this machine's CPU, as torchrun does."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch.distributed as dist

ROOT = Path(__file__).parents[2]


@contextmanager
def started(
    count: int, command: Sequence[object], cwd: Path = ROOT, **environment: str
) -> Iterator[list[subprocess.Popen[str]]]:
    """`python COMMAND` as each of `count` ranks; those that still run at the end are killed.

    The store by which they meet is held here, as torchrun's agent holds it: no port is guessed.
    """
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    processes = []
    for rank in range(count):
        own = {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(count),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(store.port),
            "TORCHELASTIC_USE_AGENT_STORE": "True",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT),
        }
        processes.append(
            subprocess.Popen(
                [sys.executable, *map(str, command)],
                cwd=cwd,
                env=os.environ | own | environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def ended(processes: Sequence[subprocess.Popen[str]], seconds: float) -> list[tuple[int, str, str]]:
    """Exit code, stdout and stderr of each; none may take longer than that."""
    said = [process.communicate(timeout=seconds) for process in processes]
    return [(process.returncode, *both) for process, both in zip(processes, said, strict=True)]

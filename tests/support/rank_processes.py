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
    """Start `python COMMAND` as `count` ranks. Kill the processes that are still running at the end.

    The rendezvous store lives in this process, as in the agent of torchrun, so no port has to be guessed.
    """
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    processes = []
    for rank in range(count):
        variables = {
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
                env=os.environ | variables | environment,
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
    """Wait at most `seconds` for each process; return exit code, stdout and stderr of each."""
    outputs = [process.communicate(timeout=seconds) for process in processes]
    return [(process.returncode, *output) for process, output in zip(processes, outputs, strict=True)]

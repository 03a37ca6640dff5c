"""Work on a GPU as one CUDA graph: its kernels are started together, where starting each takes longer than it runs."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from pipeline.errors import ConfigError

WARM_UP_CALLS = 3
"""Runs before the work is recorded, for the libraries to choose and set up what they use (PyTorch's own advice)."""


class CudaGraph:
    """Work that is recorded when it is first asked for, and from then on repeated on other inputs of the same shapes.

    Args:
        work: from tensors on a GPU to tensors there. What it reads besides must stay where it is, and what it does may
            not depend on values: it is not called again.
        moved: the tensors that the work changes in place; it is tried before it is recorded, and they are put back.
    """

    def __init__(self, work: Callable[..., tuple[Tensor, ...]], moved: Iterable[Tensor]) -> None:
        self._work, self._moved = work, tuple(moved)
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The work's answers, which the next call overwrites.

        Raises:
            ConfigError: the work does something that cannot be recorded.
        """
        if self._graph is None:
            self._record(inputs)
        assert self._graph is not None
        for held, given in zip(self._inputs, inputs, strict=True):
            held.copy_(given)
        self._graph.replay()
        return self._answers

    def _record(self, inputs: tuple[Tensor, ...]) -> None:
        device = inputs[0].device
        self._inputs = tuple(tensor.clone() for tensor in inputs)
        before = [tensor.clone() for tensor in self._moved]
        random = torch.cuda.get_rng_state(device)
        main, side = torch.cuda.current_stream(device), torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # of torch
        side.wait_stream(main)
        with torch.cuda.stream(side):
            for _ in range(WARM_UP_CALLS):
                self._work(*self._inputs)
        main.wait_stream(side)
        with torch.no_grad():
            for tensor, was in zip(self._moved, before, strict=True):
                tensor.copy_(was)
        graph = torch.cuda.CUDAGraph()
        try:
            # Of this thread alone: others may be pinning memory for the next batches meanwhile.
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self._answers = self._work(*self._inputs)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise ConfigError(f"a step cannot be recorded as a CUDA graph: {reason}; use --fast off") from error
        torch.cuda.set_rng_state(random, device)
        self._graph = graph

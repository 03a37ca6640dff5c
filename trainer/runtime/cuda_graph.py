"""Capture GPU work as a CUDA graph, to avoid kernel-launch overhead."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from pipeline.errors import ConfigError

WARM_UP_CALLS = 3
"""Calls before capture, in which libraries select and initialise their kernels (recommended by PyTorch)."""


class CudaGraph:
    """A function that is captured on its first call and then replayed on other inputs of the same shapes.

    Args:
        work: maps tensors on a GPU to tensors on that GPU. It is not called again after capture, so other tensors that
            it reads must keep their addresses, and its control flow may not depend on values.
        state: the tensors that the work changes in place. They are restored after the warm-up calls.
    """

    def __init__(self, work: Callable[..., tuple[Tensor, ...]], state: Iterable[Tensor]) -> None:
        self._work, self._state = work, tuple(state)
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the results of the work. The next call overwrites them.

        Raises:
            ConfigError: the work contains an operation that cannot be captured.
        """
        if self._graph is None:
            self._capture(inputs)
        assert self._graph is not None
        for captured, given in zip(self._inputs, inputs, strict=True):
            captured.copy_(given)
        self._graph.replay()
        return self._results

    def _capture(self, inputs: tuple[Tensor, ...]) -> None:
        device = inputs[0].device
        self._inputs = tuple(tensor.clone() for tensor in inputs)
        saved_state = [tensor.clone() for tensor in self._state]
        rng_state = torch.cuda.get_rng_state(device)
        main, side = torch.cuda.current_stream(device), torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # of torch
        side.wait_stream(main)
        with torch.cuda.stream(side):
            for _ in range(WARM_UP_CALLS):
                self._work(*self._inputs)
        main.wait_stream(side)
        with torch.no_grad():
            for tensor, saved in zip(self._state, saved_state, strict=True):
                tensor.copy_(saved)
        graph = torch.cuda.CUDAGraph()
        try:
            # Only for this thread: other threads may be pinning memory for the next batches.
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self._results = self._work(*self._inputs)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise ConfigError(f"a step cannot be captured as a CUDA graph: {reason}; use --fast off") from error
        torch.cuda.set_rng_state(rng_state, device)
        self._graph = graph

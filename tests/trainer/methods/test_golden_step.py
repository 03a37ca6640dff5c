"""One training step compared with the reference code's, in both precisions, on the device of `--device`."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.support import golden_step


@pytest.fixture(scope="module", params=[torch.float32, torch.float64], ids=["float32", "float64"])
def golden(request: pytest.FixtureRequest, device: torch.device) -> golden_step.Golden:
    return golden_step.Golden(request.param, device)


@pytest.fixture(scope="module")
def stepped(golden: golden_step.Golden) -> Any:
    return golden_step.step(golden)


@pytest.mark.parametrize("check", golden_step.CHECKS, ids=lambda check: check.__name__)
def test_the_step_matches_the_reference_code(
    check: Callable[..., None], golden: golden_step.Golden, stepped: Any
) -> None:
    check(golden, stepped)

"""Several processes give the results of a single process: training step, queue and batch norm."""

import pytest
import torch
from safetensors.torch import load_file

from pipeline.errors import ConfigError
from tests.support import rank_processes, rank_work
from trainer.models.batchnorm import BatchNorm1d, BatchNorm2d
from trainer.runtime import distributed

Found = list[dict[str, torch.Tensor]]


@pytest.fixture(scope="module")
def alone() -> dict[str, torch.Tensor]:
    return rank_work.steps()


TWO, THREE = pytest.param(2, id="two"), pytest.param(3, id="three", marks=pytest.mark.thorough)


@pytest.fixture(scope="module", params=[TWO, THREE])
def together(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Found:
    """Results of each rank, for two and three ranks."""
    folder = tmp_path_factory.mktemp("ranks")
    with rank_processes.started(
        request.param, [rank_processes.ROOT / "tests" / "support" / "rank_work.py", folder]
    ) as processes:
        for code, _, errors in rank_processes.ended(processes, 120):
            assert code == 0, errors
    return [load_file(folder / f"{rank}.safetensors") for rank in range(request.param)]


def test_all_ranks_end_with_the_same_bits(together: Found) -> None:
    kept = [name for name in together[0] if name.startswith("steps/")]
    assert any("queue" in name for name in kept)
    for other in together[1:]:
        for name in kept:
            assert torch.equal(other[name], together[0][name]), name


def test_ten_steps_match_a_single_process(together: Found, alone: dict[str, torch.Tensor]) -> None:
    kept = [name.removeprefix("steps/") for name in together[0] if name.startswith("steps/")]
    assert {name.split("/")[0] for name in kept} == (set(rank_work.CASES) if len(together) == 2 else {"in parts"})
    for name in kept:
        found, expected = together[0][f"steps/{name}"], alone[name]
        torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}")


def test_the_losses_move_so_that_agreement_means_something(alone: dict[str, torch.Tensor]) -> None:
    for case in rank_work.CASES:
        assert len(set(alone[f"{case}/loss.total"].tolist())) == rank_work.STEPS


def test_ranks_drop_different_activations(together: Found) -> None:
    first, *others = together
    for other in others:
        assert torch.equal(first["dropout/queue"], other["dropout/queue"])
        assert not torch.equal(first["dropout/drawn"], other["dropout/drawn"])


@pytest.mark.parametrize("case", rank_work.SHAPES)
def test_batch_norm_matches_torch_on_the_data_of_all_ranks(case: str, together: Found) -> None:
    norm, x, gradient = rank_work.norm_case(rank_work.SHAPES[case])
    plain = (torch.nn.BatchNorm2d if x.ndim == 4 else torch.nn.BatchNorm1d)(4).double()
    plain.load_state_dict(norm.state_dict())
    expected = rank_work.normalised(plain, x, gradient)
    expected["evaluated"] = plain.eval()(x).detach()
    for name, value in expected.items():
        parts = [found[f"norms/{case}/{name}"] for found in together]
        if name in ("y", "dx", "evaluated"):
            found = torch.cat(parts)
        elif name in ("dweight", "dbias"):
            found = torch.stack(parts).sum(dim=0)
        else:
            assert all(torch.equal(part, parts[0]) for part in parts)
            found = parts[0]
        torch.testing.assert_close(found, value, rtol=0, atol=1e-12, msg=lambda text, name=name: f"{name}: {text}")


def test_batch_norm_in_half_precision_has_float32_statistics(together: Found) -> None:
    norm, x, gradient = rank_work.norm_case(rank_work.SHAPES["plane"])
    expected = rank_work.normalised(norm.float(), x.bfloat16().float(), gradient.bfloat16().float())
    assert together[0]["norms/half/y"].dtype == together[0]["norms/half/dx"].dtype == torch.bfloat16
    torch.testing.assert_close(together[0]["norms/half/running_mean"], expected["running_mean"], rtol=1e-3, atol=0)
    torch.testing.assert_close(together[0]["norms/half/running_var"], expected["running_var"], rtol=1e-2, atol=0)
    for name in ("y", "dx"):
        found = torch.cat([part[f"norms/half/{name}"] for part in together]).float()
        torch.testing.assert_close(found, expected[name], rtol=0.02, atol=0.02)


@pytest.mark.parametrize("case", rank_work.SHAPES)
def test_batch_norm_of_one_process_is_torchs_bit_for_bit_with_the_same_names(case: str) -> None:
    norm, x, gradient = rank_work.norm_case(rank_work.SHAPES[case])
    plain = (torch.nn.BatchNorm2d if x.ndim == 4 else torch.nn.BatchNorm1d)(4).double()
    assert isinstance(norm, BatchNorm1d | BatchNorm2d)
    plain.load_state_dict(norm.state_dict(), strict=True)
    found, expected = rank_work.normalised(norm, x, gradient), rank_work.normalised(plain, x, gradient)
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_a_process_without_torchrun_is_not_distributed(monkeypatch: pytest.MonkeyPatch) -> None:
    for size in (None, "1"):
        for name, value in (("RANK", "0"), ("WORLD_SIZE", size)):
            monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)
        with distributed.process_group(torch.device("cpu")):
            assert (distributed.rank(), distributed.world_size()) == (0, 1)


def test_missing_torchrun_variables_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "localhost")):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MASTER_PORT", raising=False)
    with (
        pytest.raises(ConfigError, match="WORLD_SIZE is 2 but MASTER_PORT is not set; start with torchrun"),
        distributed.process_group(torch.device("cpu")),
    ):
        pass

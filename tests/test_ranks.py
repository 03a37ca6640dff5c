"""Several processes are one: the same step, the same queue, the same batch norm."""

from pathlib import Path

import pytest
import rank_work
import several
import torch
from safetensors.torch import load_file

from trainer import ranks
from trainer.batchnorm import BatchNorm1d, BatchNorm2d

Found = list[dict[str, torch.Tensor]]


def worked(work: str, count: int, folder: Path) -> Found:
    with several.started(count, [several.ROOT / "tests" / "rank_work.py", work, folder]) as processes:
        for code, _, errors in several.ended(processes, 120):
            assert code == 0, errors
    return [load_file(folder / f"{rank}.safetensors") for rank in range(count)]


@pytest.fixture(scope="module")
def alone() -> dict[str, torch.Tensor]:
    return rank_work.steps()


@pytest.fixture(scope="module", params=[2, 3], ids=["two", "three"])
def together(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Found:
    return worked("steps", request.param, tmp_path_factory.mktemp("steps"))


def test_all_ranks_end_in_the_same_bits(together: Found) -> None:
    first, *others = together
    for other in others:
        assert other.keys() == first.keys()
        for name, value in first.items():
            assert torch.equal(other[name], value), name


@pytest.mark.parametrize("case", rank_work.CASES)
def test_ten_steps_are_those_of_one_process(case: str, together: Found, alone: dict[str, torch.Tensor]) -> None:
    compared = [name for name in alone if name.startswith(f"{case}/")]
    assert any("queue" in name for name in compared)
    for name in compared:
        found, expected = together[0][name], alone[name]
        torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}")


def test_the_losses_move_so_that_agreement_means_something(alone: dict[str, torch.Tensor]) -> None:
    for case in rank_work.CASES:
        assert len(set(alone[f"{case}/loss.total"].tolist())) == rank_work.STEPS


def test_ranks_drop_different_activations(tmp_path: Path) -> None:
    first, second = worked("dropout", 2, tmp_path)
    assert torch.equal(first["queue"], second["queue"])
    assert not torch.equal(first["drawn"], second["drawn"])
    keys = first["queue"].T[:4]
    assert not torch.allclose(keys[0], keys[2])


@pytest.fixture(scope="module", params=[2, 3], ids=["two", "three"])
def normed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Found:
    return worked("norms", request.param, tmp_path_factory.mktemp("norms"))


@pytest.mark.parametrize("case", rank_work.SHAPES)
def test_batch_norm_is_torchs_on_all_that_the_ranks_have(case: str, normed: Found) -> None:
    norm, x, gradient = rank_work.norm_case(rank_work.SHAPES[case])
    plain = (torch.nn.BatchNorm2d if x.ndim == 4 else torch.nn.BatchNorm1d)(4).double()
    plain.load_state_dict(norm.state_dict())
    expected = rank_work.normalised(plain, x, gradient)
    expected["evaluated"] = plain.eval()(x).detach()
    for name, value in expected.items():
        parts = [found[f"{case}/{name}"] for found in normed]
        if name in ("y", "dx", "evaluated"):
            found = torch.cat(parts)
        elif name in ("dweight", "dbias"):
            found = torch.stack(parts).sum(dim=0)
        else:
            assert all(torch.equal(part, parts[0]) for part in parts)
            found = parts[0]
        torch.testing.assert_close(found, value, rtol=0, atol=1e-12, msg=lambda text, name=name: f"{name}: {text}")


def test_batch_norm_of_half_floats_has_statistics_in_float32(normed: Found) -> None:
    norm, x, gradient = rank_work.norm_case(rank_work.SHAPES["plane"])
    expected = rank_work.normalised(norm.float(), x.bfloat16().float(), gradient.bfloat16().float())
    assert normed[0]["half/y"].dtype == normed[0]["half/dx"].dtype == torch.bfloat16
    torch.testing.assert_close(normed[0]["half/running_mean"], expected["running_mean"], rtol=1e-3, atol=0)
    torch.testing.assert_close(normed[0]["half/running_var"], expected["running_var"], rtol=1e-2, atol=0)
    for name in ("y", "dx"):
        found = torch.cat([part[f"half/{name}"] for part in normed]).float()
        torch.testing.assert_close(found, expected[name], rtol=0.02, atol=0.02)


@pytest.mark.parametrize("case", rank_work.SHAPES)
def test_alone_batch_norm_is_torchs_to_the_bit_and_under_its_names(case: str) -> None:
    norm, x, gradient = rank_work.norm_case(rank_work.SHAPES[case])
    plain = (torch.nn.BatchNorm2d if x.ndim == 4 else torch.nn.BatchNorm1d)(4).double()
    assert isinstance(norm, BatchNorm1d | BatchNorm2d)
    plain.load_state_dict(norm.state_dict(), strict=True)
    found, expected = rank_work.normalised(norm, x, gradient), rank_work.normalised(plain, x, gradient)
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_a_process_that_nobody_started_with_others_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for size in (None, "1"):
        for name, value in (("RANK", "0"), ("WORLD_SIZE", size)):
            monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)
        with ranks.joined(torch.device("cpu")):
            assert (ranks.rank(), ranks.size()) == (0, 1)

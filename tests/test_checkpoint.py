import json
import shutil
import struct
from pathlib import Path

import pytest
import torch
from torch import nn

from pipeline import publish
from pipeline.errors import ArtifactError, ArtifactNotFound
from pipeline.verify import verify
from trainer import checkpoint, tensors


@pytest.fixture
def trained() -> tuple[nn.Module, torch.optim.SGD]:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.randn(5, 3)).square().sum().backward()
    optimiser.step()
    return model, optimiser


def save(folder: Path, trained: tuple[nn.Module, torch.optim.SGD], step: int) -> Path:
    return checkpoint.save(folder, *trained, {"step": step, "epoch": 0, "run": "x"})


def test_what_is_saved_comes_back_bit_for_bit(tmp_path: Path, trained: tuple[nn.Module, torch.optim.SGD]) -> None:
    model, optimiser = trained
    path = save(tmp_path, trained, 3)
    fresh = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    other = torch.optim.SGD(fresh.parameters(), lr=0.1, momentum=0.9)
    checkpoint.load_model(path, fresh)
    checkpoint.load_optimiser(path, other)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), fresh.state_dict().values(), strict=True))
    for mine, theirs in zip(model.parameters(), fresh.parameters(), strict=True):
        assert torch.equal(optimiser.state[mine]["momentum_buffer"], other.state[theirs]["momentum_buffer"])
    assert checkpoint.read_meta(path)["step"] == 3
    assert verify(path).findings == []


def test_the_last_two_are_kept(tmp_path: Path, trained: tuple[nn.Module, torch.optim.SGD]) -> None:
    for step in (1, 2, 10):
        save(tmp_path, trained, step)
    assert [path.name for path in checkpoint.listed(tmp_path)] == ["step-00000002", "step-00000010"]


def test_a_damaged_newest_gives_way_to_the_one_before(
    tmp_path: Path, trained: tuple[nn.Module, torch.optim.SGD]
) -> None:
    first, second = (save(tmp_path, trained, step) for step in (1, 2))
    weights = bytearray((second / checkpoint.MODEL).read_bytes())
    weights[-1] ^= 1
    (second / checkpoint.MODEL).write_bytes(weights)
    found, skipped = checkpoint.newest(tmp_path)
    assert found == first
    assert "step-00000002" in skipped[0]
    assert verify(second).findings


def test_a_damaged_newer_one_takes_no_whole_ones_place(
    tmp_path: Path, trained: tuple[nn.Module, torch.optim.SGD]
) -> None:
    for step in (1, 2):
        damaged = save(tmp_path, trained, step)
    (damaged / checkpoint.MODEL).unlink()
    (tmp_path / ".step-00000003.partial").mkdir()  # by a process killed while it saved
    fresh = save(tmp_path, trained, 1)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["step-00000001", "step-00000002"]
    shutil.copytree(damaged, tmp_path / "step-00000009")
    save(tmp_path, trained, 3)
    save(tmp_path, trained, 4)
    assert checkpoint.newest(tmp_path)[0].name == "step-00000004"
    assert [path.name for path in checkpoint.listed(tmp_path)] == ["step-00000003", "step-00000004", "step-00000009"]
    assert not fresh.exists()


def test_a_failed_save_never_costs_the_last_good_one(
    tmp_path: Path, trained: tuple[nn.Module, torch.optim.SGD], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = save(tmp_path, trained, 1)
    monkeypatch.setattr(publish, "publish_folder", lambda made, output: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, trained, 2)
    assert checkpoint.newest(tmp_path) == (first, [])


def test_nothing_there_and_another_model_are_refused(
    tmp_path: Path, trained: tuple[nn.Module, torch.optim.SGD]
) -> None:
    with pytest.raises(ArtifactNotFound, match="the run has no checkpoint"):
        checkpoint.newest(tmp_path)
    path = save(tmp_path, trained, 1)
    with pytest.raises(ArtifactError, match="does not fit this model"):
        checkpoint.load_model(path, nn.Linear(3, 4))
    with pytest.raises(ArtifactError, match="belongs to another model"):
        checkpoint.load_optimiser(path, torch.optim.SGD(nn.Linear(3, 4, bias=False).parameters(), lr=0.1))


@pytest.mark.parametrize("shape", [[0, 2**63], [2**62, 4], [2**64], [-1], "x", [2, "3"]])
def test_a_shape_that_no_tensor_can_have_is_damage(tmp_path: Path, shape: object) -> None:
    about = json.dumps({"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]}}).encode()
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(about)) + about)
    with pytest.raises(
        ArtifactError, match=r"x\.safetensors: cannot be read as safetensors \(.*\); restore it"
    ) as refused:
        tensors.read(tmp_path / "x.safetensors")
    assert len(str(refused.value)) < 400

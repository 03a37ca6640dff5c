import errno
import json
import shutil
import struct
from pathlib import Path

import pytest
import torch
from torch import nn

from pipeline.errors import ArtifactError, ArtifactNotFound, OutputFailed
from pipeline.store.verify import verify
from trainer.runs import checkpoint
from trainer.runs.safetensors_file import read_tensors


@pytest.fixture
def trained() -> tuple[nn.Module, torch.optim.SGD]:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.randn(5, 3)).square().sum().backward()
    optimiser.step()
    return model, optimiser


def save(folder: Path, trained: tuple[nn.Module, torch.optim.SGD], step: int) -> Path:
    return checkpoint.save(folder, *trained, {"step": step, "epoch": 0, "run": "x"})


def test_a_checkpoint_is_restored_bit_for_bit(tmp_path: Path, trained: tuple[nn.Module, torch.optim.SGD]) -> None:
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


def test_the_last_two_checkpoints_are_kept(tmp_path: Path, trained: tuple[nn.Module, torch.optim.SGD]) -> None:
    for step in (1, 2, 10):
        save(tmp_path, trained, step)
    assert [path.name for path in checkpoint.list_checkpoints(tmp_path)] == ["step-00000002", "step-00000010"]


def test_the_recorded_best_checkpoint_is_kept(tmp_path: Path) -> None:
    model = nn.Linear(2, 2)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    for step, best in ((1, None), (2, 2), (3, 2), (4, 2), (5, 5), (6, 5), (7, 5)):
        about = {} if best is None else {"best": {"step": best, "epoch": best, "held_out_knn": 50.0}}
        checkpoint.save(tmp_path, model, optimiser, {"step": step, "epoch": step, "run": "x", **about})
        if step == 5:  # were it damaged, the one before would go on, and its best is another one
            assert [path.name[-1] for path in checkpoint.list_checkpoints(tmp_path)] == ["2", "4", "5"]
    assert [path.name[-1] for path in checkpoint.list_checkpoints(tmp_path)] == ["5", "6", "7"]
    for step, best in ((1, 1), (2, 1), (3, 3)):
        about = {"best": {"step": best, "epoch": best, "held_out_knn": 50.0}}
        checkpoint.save(tmp_path / "other", model, optimiser, {"step": step, "epoch": step, "run": "x", **about})
    assert [path.name[-1] for path in checkpoint.list_checkpoints(tmp_path / "other")] == ["1", "2", "3"]


def test_a_missing_or_damaged_best_checkpoint_does_not_affect_others(
    tmp_path: Path, trained: tuple[nn.Module, torch.optim.SGD]
) -> None:
    best = {"best": {"step": 1, "epoch": 0, "held_out_knn": 50.0}}
    for step in (1, 2):
        checkpoint.save(tmp_path, *trained, {"step": step, "epoch": 0, "run": "x", **best})
    (tmp_path / "step-00000002" / "meta.json").write_text("{}")
    third = save(tmp_path, trained, 3)
    assert checkpoint.best_of(tmp_path, tmp_path / "step-00000002") is None
    assert checkpoint.best_of(tmp_path, third) is None
    assert [path.name[-1] for path in checkpoint.list_checkpoints(tmp_path)] == ["2", "3"]
    assert checkpoint.best_of(tmp_path, tmp_path / "step-00000009") is None


def test_a_damaged_newest_checkpoint_is_skipped(tmp_path: Path, trained: tuple[nn.Module, torch.optim.SGD]) -> None:
    first, second = (save(tmp_path, trained, step) for step in (1, 2))
    weights = bytearray((second / checkpoint.MODEL).read_bytes())
    weights[-1] ^= 1
    (second / checkpoint.MODEL).write_bytes(weights)
    found, skipped = checkpoint.newest_intact(tmp_path)
    assert found == first
    assert "step-00000002" in skipped[0]
    assert verify(second).findings


def test_a_damaged_newer_checkpoint_does_not_displace_an_intact_one(
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
    assert checkpoint.newest_intact(tmp_path)[0].name == "step-00000004"
    assert [path.name for path in checkpoint.list_checkpoints(tmp_path)] == [
        "step-00000003",
        "step-00000004",
        "step-00000009",
    ]
    assert not fresh.exists()


def test_a_failed_save_keeps_the_previous_checkpoint(
    tmp_path: Path, trained: tuple[nn.Module, torch.optim.SGD], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = save(tmp_path, trained, 1)
    monkeypatch.setattr(
        "trainer.runs.checkpoint.atomic.publish_folder", lambda made, output: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, trained, 2)
    assert checkpoint.newest_intact(tmp_path) == (first, [])


def test_a_full_disk_is_reported_with_the_space_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two numbers of a megabyte: one of the model's, one the momentum of it."""
    model = nn.Linear(250_000, 1, bias=False)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(1, 250_000)).backward()
    optimiser.step()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("trainer.runs.checkpoint.write_tensors", full)
    with pytest.raises(OutputFailed, match=r"step-00000001: .* \(needs about 2 MB, .*; nothing was written there"):
        save(tmp_path, (model, optimiser), 1)


def test_weights_without_an_optimiser_have_no_momenta(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path / "folder", nn.Linear(2, 1), None, {"step": 0, "epoch": 0, "run": "x"})
    assert path.name == "step-00000000"
    assert sorted(part.name for part in path.iterdir()) == ["MANIFEST.json", "meta.json", "model.safetensors"]


def test_tensors_that_are_not_finite_are_named(trained: tuple[nn.Module, torch.optim.SGD]) -> None:
    model, optimiser = trained
    assert checkpoint.find_not_finite(model, optimiser) == ""
    momentum = optimiser.state[model[1].weight]["momentum_buffer"]  # type: ignore[index]
    momentum[2] = torch.nan
    assert checkpoint.find_not_finite(model, optimiser) == "momentum 2"
    model[1].running_var[0] = torch.inf  # type: ignore[index]
    assert checkpoint.find_not_finite(model, optimiser) == "1.running_var"
    assert checkpoint.find_not_finite(model, torch.optim.SGD(model.parameters(), lr=0.1)) == "1.running_var"


def test_a_parameter_without_momentum_is_restored_without_momentum(tmp_path: Path) -> None:
    """The first of two layers is not trained; the momentum of the second comes back to the second."""
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model[1](torch.ones(1, 2)).sum().backward()
    optimiser.step()
    path = save(tmp_path, (model, optimiser), 1)
    fresh = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    checkpoint.load_optimiser(path, fresh)
    assert "momentum_buffer" not in fresh.state[model[0].weight]
    assert torch.equal(fresh.state[model[1].weight]["momentum_buffer"], torch.ones(2, 2))


def test_skipped_checkpoints_are_listed_newest_first(
    tmp_path: Path, trained: tuple[nn.Module, torch.optim.SGD]
) -> None:
    for step in (1, 2):
        (save(tmp_path, trained, step) / "meta.json").unlink()
    with pytest.raises(
        ArtifactError, match=r"all checkpoints are damaged; skipped .*step-00000002: .*; skipped .*step-00000001"
    ):
        checkpoint.newest_intact(tmp_path)


def test_a_missing_checkpoint_and_another_model_are_rejected(
    tmp_path: Path, trained: tuple[nn.Module, torch.optim.SGD]
) -> None:
    with pytest.raises(ArtifactNotFound, match="the run has no checkpoint"):
        checkpoint.newest_intact(tmp_path)
    path = save(tmp_path, trained, 1)
    with pytest.raises(ArtifactError, match="does not fit this model"):
        checkpoint.load_model(path, nn.Linear(3, 4))
    with pytest.raises(ArtifactError, match="belongs to another model"):
        checkpoint.load_optimiser(path, torch.optim.SGD(nn.Linear(3, 4, bias=False).parameters(), lr=0.1))


@pytest.mark.parametrize("shape", [[0, 2**63], [2**62, 4], [2**64], [-1], "x", [2, "3"]])
def test_an_impossible_tensor_shape_is_damage(tmp_path: Path, shape: object) -> None:
    about = json.dumps({"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]}}).encode()
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(about)) + about)
    with pytest.raises(
        ArtifactError, match=r"x\.safetensors: cannot be read as safetensors \(.*\); restore the file"
    ) as refused:
        read_tensors(tmp_path / "x.safetensors")
    assert len(str(refused.value)) < 400


def test_a_checkpoint_does_not_recreate_the_folder_of_a_run(
    tmp_path: Path, trained: tuple[nn.Module, torch.optim.SGD]
) -> None:
    with pytest.raises(OutputFailed, match="run was removed or moved"):
        save(tmp_path / "run" / "checkpoints", trained, 1)
    assert not (tmp_path / "run").exists()


def test_a_full_disk_leaves_no_partial_checkpoint(
    tmp_path: Path, trained: tuple[nn.Module, torch.optim.SGD], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, _: object) -> None:
        path.write_bytes(b"some")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("trainer.runs.checkpoint.write_tensors", full)
    with pytest.raises(OutputFailed):
        save(tmp_path / "checkpoints", trained, 1)
    assert list((tmp_path / "checkpoints").iterdir()) == []

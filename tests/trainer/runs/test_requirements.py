"""A training that cannot fit is refused with the numbers before anything is allocated or written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import Result

from pipeline.errors import ConfigError, OutputFailed, SkelepipeError
from pipeline.files import disk
from pipeline.skeleton.layout import KINECT_V2
from trainer.config.evaluation import compose_eval
from trainer.config.presets import compose_pretrain, load_preset
from trainer.config.pretrain import MAX_STEPS
from trainer.models.fast import cpu as fast_cpu
from trainer.models.registry import build_encoder
from trainer.models.size_estimate import encoder_specs, pass_size, total_bytes
from trainer.pretrain import pretrain as pretrain_module
from trainer.pretrain.pretrain import PretrainRequest, pretrain
from trainer.runs import checkpoint, requirements
from trainer.runs.requirements import estimate_memory, require_countable_steps, require_memory

CPU = torch.device("cpu")


def config_of(*settings: str) -> Any:
    return compose_pretrain(load_preset("quick"), None, ["frames=64", "batch_size=32", *settings])


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> int:
    """Return the memory of the machine: 20 GB."""
    monkeypatch.setattr(requirements, "available_memory", lambda _: 20_000_000_000)
    return 20_000_000_000


@pytest.mark.parametrize(("setting", "part"), [
    ("pair.queue_size=100000000000", "the queue"), ("encoder.hidden_channels=100000", "the model"),
    ("encoder.hidden_dim=100000", "the model"), ("encoder.temporal_kernel=60001", "the model"),
    ("frames=1000000", "views and mixed clips"), ("method.mix.repeats=1000", "passes"),
    ("encoder.feature_dim=130000", "the queue"),
])  # fmt: skip
def test_settings_that_need_too_much_memory_are_refused_with_the_numbers(free: int, setting: str, part: str) -> None:
    with pytest.raises(ConfigError, match=rf"needs at least [\d,.]+ GB, 20\.00 GB are free in memory: .*for {part}"):
        require_memory(KINECT_V2, config_of(setting), CPU)


@pytest.mark.parametrize("setting", [
    "pair.queue_size=1000000", "encoder.hidden_channels=256", "frames=600", "encoder.temporal_kernel=301",
    "epochs=1000000", "method.mix.repeats=20", "batch_size=256",
])  # fmt: skip
def test_settings_that_are_large_but_fit_are_accepted(free: int, setting: str) -> None:
    require_memory(KINECT_V2, config_of("micro_batch=16", setting), CPU)


def test_the_estimate_is_a_lower_bound_of_what_a_step_keeps() -> None:
    config = config_of()
    saved: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    encoder = build_encoder(KINECT_V2, config.encoder, seed=0)
    estimate = pass_size(KINECT_V2, config.encoder, 16, 2)
    for feature_map in (encoder.feature_map, lambda x: fast_cpu.feature_map(
        x, encoder.input_norm, encoder.blocks, encoder.adjacency)):  # fmt: skip
        saved.clear()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            feature_map(torch.zeros(4, 3, 16, 25, 2))
        assert 0 < 4 * estimate.training < sum(saved.values()) + total_bytes(encoder_specs(KINECT_V2, config.encoder))
    assert estimate.encoding < estimate.training


def test_bf16_halves_the_passes_and_micro_batches_divide_them() -> None:
    def passes(*settings: str) -> int:
        return next(size for part, size in estimate_memory(KINECT_V2, config_of(*settings)).items() if "passes" in part)

    assert passes("precision=bf16") == pytest.approx(passes() / 2, rel=0.01)
    assert passes("micro_batch=8") == pytest.approx(passes() / 4, rel=0.01)


def test_more_steps_than_checkpoints_can_be_named_for_are_refused() -> None:
    require_countable_steps(config_of("epochs=33333333"), 3)
    with pytest.raises(ConfigError, match=r"102,000,000 steps, at most 99,999,999 .*N up to 33333333"):
        require_countable_steps(config_of("epochs=34000000"), 3)
    assert len(checkpoint._name(MAX_STEPS)) == len(checkpoint._name(0))


@pytest.mark.parametrize("key", [
    "epochs", "frames", "batch_size", "pair.queue_size", "encoder.temporal_kernel", "encoder.hidden_channels",
    "method.mix.repeats", "learning_rate",
])  # fmt: skip
@pytest.mark.parametrize("value", ["1e40", "99999999999999999999999999999999"])
def test_absurd_numbers_name_their_setting(key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=rf"--set {key}: "):
        config_of(f"{key}={value}")


@pytest.mark.parametrize("key", [
    "linear.epochs", "finetune.epochs", "semi.epochs", "knn.k", "linear.batch_size", "finetune.batch_size",
    "linear.learning_rate", "finetune.learning_rate", "linear.init_std", "linear.weight_decay",
])  # fmt: skip
@pytest.mark.parametrize("value", ["1e40", "99999999999999999999999999999999"])
def test_absurd_numbers_of_an_evaluation_name_their_setting(key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=rf"--set {key}: "):
        compose_eval([f"{key}={value}"])


def test_a_refused_training_writes_no_run(
    train_request: Callable[..., PretrainRequest], tmp_path: Path, free: int
) -> None:
    for setting in ("pair.queue_size=100000000000", "epochs=90000000"):
        with pytest.raises(ConfigError):
            pretrain(train_request(tmp_path / "run", setting))
    assert not (tmp_path / "run").exists()


def test_a_disk_without_room_for_a_checkpoint_is_reported_before_the_first_step(
    train_request: Callable[..., PretrainRequest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "free_bytes", lambda _: 1000)
    monkeypatch.setattr(pretrain_module, "train_step", lambda *_: pytest.fail("a step was made"))
    with pytest.raises(OutputFailed, match=r"run: needs about \d+ MB"):
        pretrain(train_request(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_config_show_says_that_a_training_is_too_large(skelepipe: Callable[..., Result], own_store: Path) -> None:
    result = skelepipe("config", "show", own_store, "--set", "batch_size=12", "pair.queue_size=100000000000")
    assert result.exit_code == 0
    assert "pretrain rejects this configuration: this training needs at least" in result.output


def test_an_allocation_that_fails_is_an_error_in_one_line(
    skelepipe: Callable[..., Result], own_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried")

    monkeypatch.setattr("trainer.pretrain.pretrain.pretrain", fail)
    result = skelepipe("pretrain", own_store, "--set", "batch_size=12", "--out", "run")
    assert result.exit_code == 1
    assert result.output.splitlines()[-1].startswith("Error: the memory is not enough")


LEFTOVERS = ["checkpoints/.step-00000003.partial/model.safetensors", "checkpoints/step-00000001/meta.json", "log.jsonl",
             "eval/knn.json", "eval/linear.classifier/meta.json"]  # fmt: skip


@pytest.mark.parametrize("left", [LEFTOVERS, LEFTOVERS[:1], LEFTOVERS[2:3]], ids=["all", "a checkpoint", "the log"])
def test_leftovers_without_run_json_are_explained_and_replaced_with_force(
    train_request: Callable[..., PretrainRequest], tmp_path: Path, left: list[str]
) -> None:
    for name in left:
        (tmp_path / "run" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / name).write_text("{}")
    with pytest.raises(SkelepipeError, match=r"only leftovers of a training .*; .* --force"):
        pretrain(train_request(tmp_path / "run"))
    assert pretrain(train_request(tmp_path / "run", force=True)).outcome == "trained"


@pytest.mark.parametrize("name", ["mine.txt", "checkpoints/model.pt", "eval/notes.md", "eval", "other/log.jsonl"])
def test_files_of_the_user_next_to_leftovers_are_not_replaced(
    train_request: Callable[..., PretrainRequest], tmp_path: Path, name: str
) -> None:
    path = tmp_path / "run" / name
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    (tmp_path / "run" / "log.jsonl").touch()
    with pytest.raises(SkelepipeError, match="is not a run"):
        pretrain(train_request(tmp_path / "run", force=True))
    assert path.read_text() == "mine"

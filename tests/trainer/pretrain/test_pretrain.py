import json
import os
import shutil
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pipeline.artifacts.manifest import encode_document
from pipeline.artifacts.schemas import RUN
from pipeline.errors import ArtifactError, ConfigError, NotFinite, OutputExists
from pipeline.store.store import Store
from pipeline.store.verify import verify
from trainer.config.presets import compose_pretrain, load_preset, preset_names
from trainer.methods.method import Method
from trainer.pretrain import pretrain as pretrain_module
from trainer.pretrain.pretrain import PretrainProgress, PretrainRequest, pretrain
from trainer.pretrain.step import train_step
from trainer.runs import checkpoint
from trainer.runs.log import RunLog, read_log
from trainer.runs.run import Run, find_run_split, find_run_store, load_finished_run, load_run, named_checkpoint
from trainer.runtime.signals import STOP_SIGNALS, Interrupted

Requests = Callable[..., PretrainRequest]


def weights(path: Path) -> dict[str, torch.Tensor]:
    newest, _ = checkpoint.newest_intact(path / "checkpoints")
    return load_file(newest / checkpoint.MODEL) | {
        f"optimiser.{name}": value for name, value in load_file(newest / checkpoint.OPTIMISER).items()
    }


def losses(path: Path) -> list[tuple[int, float]]:
    return [(line["step"], line["total"]) for line in read_log(path / "log.jsonl")]


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_run_logs_every_step_and_ends_in_a_checkpoint(shared_run: Run) -> None:
    log = read_log(shared_run.path / "log.jsonl")
    assert [line["step"] for line in log] == list(range(shared_run.total_steps)) == list(range(6))
    for line in log:
        assert line["total"] == pytest.approx(line["instance"] + line["mixed"], rel=1e-5)
    times = [line["seconds"] for line in log]
    assert times == sorted(times)
    assert times[0] > 0
    assert [line["device"] for line in log if "device" in line] == ["CPU, 1 thread"]
    assert load_finished_run(shared_run.path).digest == shared_run.digest


def test_the_same_seed_gives_the_same_weights_and_another_one_others(
    shared_run: Run, train_request: Requests, tmp_path: Path
) -> None:
    pretrain(train_request(tmp_path / "same"))
    pretrain(train_request(tmp_path / "other", "seed=1"))
    assert same(weights(tmp_path / "same"), weights(shared_run.path))
    assert not same(weights(tmp_path / "other"), weights(shared_run.path))


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_stopped_and_resumed_run_equals_an_uninterrupted_one(
    shared_run: Run, train_request: Requests, tmp_path: Path, number: signal.Signals
) -> None:
    before = signal.getsignal(number)

    def ask_to_stop(tick: PretrainProgress) -> None:
        if tick.step == 4:  # in mid-epoch
            os.kill(os.getpid(), number)

    request = train_request(tmp_path / "run")
    with pytest.raises(Interrupted, match=f"{number.name} at step 4 of 6") as caught:
        pretrain(request, ask_to_stop)
    assert caught.value.exit_code == 128 + number
    assert signal.getsignal(number) == before
    with pytest.raises(ArtifactError, match="training stopped at step 4 of 6"):
        load_finished_run(tmp_path / "run")
    report = pretrain(request)
    assert (report.outcome, report.steps) == ("resumed", 2)
    assert same(weights(tmp_path / "run"), weights(shared_run.path))
    assert losses(tmp_path / "run") == losses(shared_run.path)


def test_log_lines_after_the_checkpoint_are_removed_on_resume(
    shared_run: Run, train_request: Requests, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretrain_module, "CHECKPOINT_SECONDS", 0.0)

    def die(tick: PretrainProgress) -> None:
        if tick.step == 5:
            raise MemoryError  # like a kill: no checkpoint of step 5

    with pytest.raises(MemoryError):
        pretrain(train_request(tmp_path / "run"), die)
    assert losses(tmp_path / "run")[-1][0] == 4
    with (tmp_path / "run" / "log.jsonl").open("a") as log:
        log.write('{"step": 5, "tot')
    pretrain(train_request(tmp_path / "run"))
    assert losses(tmp_path / "run") == losses(shared_run.path)
    assert same(weights(tmp_path / "run"), weights(shared_run.path))


def test_a_damaged_line_of_the_log_is_reported_when_a_training_is_resumed(
    train_request: Requests, tmp_path: Path
) -> None:
    def stop(state: PretrainProgress) -> None:
        if state.step == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    request, messages = train_request(tmp_path / "run"), list[str]()
    with pytest.raises(Interrupted):
        pretrain(request, stop)
    log = tmp_path / "run" / "log.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([lines[0], b"damaged\n", *lines[2:]]))
    pretrain(request, notify=messages.append)
    assert f"{log}: line 2 is damaged and ignored; all other lines are used" in messages
    assert [step for step, _ in losses(tmp_path / "run")] == [0, 2, 3, 4, 5]


def test_a_finished_run_is_up_to_date_and_another_is_rejected(train_request: Requests, tmp_path: Path) -> None:
    pretrain(train_request(tmp_path / "run"))
    assert pretrain(train_request(tmp_path / "run")).outcome == "up to date"
    assert pretrain(train_request(tmp_path / "run", force=True)).outcome == "up to date"
    with pytest.raises(OutputExists, match="another config: epochs is 2 in the run, 3 was requested"):
        pretrain(train_request(tmp_path / "run", "epochs=3"))
    with pytest.raises(OutputExists, match=r"method.temperature is 0.2 in the run, 0.3 was requested"):
        pretrain(train_request(tmp_path / "run", "method.temperature=0.3"))
    assert pretrain(train_request(tmp_path / "run", "epochs=3", force=True)).steps == 9


def test_partial_files_of_a_killed_process_do_not_block_a_new_run(train_request: Requests, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".run.json.123.partial").write_text("{")
    assert pretrain(train_request(tmp_path / "run")).outcome == "trained"


def test_force_replaces_a_run_with_a_damaged_run_json(train_request: Requests, tmp_path: Path) -> None:
    pretrain(train_request(tmp_path / "run"))
    (tmp_path / "run" / "run.json").write_text("{")
    with pytest.raises(ArtifactError, match="is not JSON"):
        pretrain(train_request(tmp_path / "run"))
    assert pretrain(train_request(tmp_path / "run", force=True)).outcome == "trained"
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "run.json").write_text("{}")
    with pytest.raises(ArtifactError, match="is not a skelepipe-run"):
        pretrain(train_request(tmp_path / "theirs", force=True))


def test_a_kill_while_the_log_is_rewritten_loses_no_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text("".join(f'{{"step": {step}}}\n' for step in range(9)) + "5\n")
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        RunLog(log, 9)
    assert len(read_log(log)) == 9


def test_checkpoints_of_another_run_or_version_are_rejected(train_request: Requests, tmp_path: Path) -> None:
    run, other = (pretrain(train_request(tmp_path / name, f"seed={name}")).run for name in "01")
    shutil.rmtree(run.checkpoints)
    shutil.copytree(other.checkpoints, run.checkpoints)
    for attempt in (lambda: pretrain(train_request(tmp_path / "0")), lambda: load_finished_run(run.path)):
        with pytest.raises(ArtifactError, match="belongs to another run"):
            attempt()
    plain = json.loads((run.path / "run.json").read_bytes())
    for change, complaint in (
        ({"format_version": 2}, "format version 2"),
        ({"config": {"epoch": 1}}, "'epoch' is unknown"),
    ):
        body = {key: value for key, value in plain.items() if key != "digest"} | change
        (run.path / "run.json").write_bytes(encode_document(RUN, body))
        with pytest.raises(ArtifactError, match=complaint):
            load_run(run.path)


def test_a_renamed_store_is_the_same_store(own_store: Path, train_request: Requests, tmp_path: Path) -> None:
    pretrain(train_request(tmp_path / "run", store=Store(own_store)))
    own_store.rename(own_store.with_name("renamed.zarr"))
    folder = own_store.parent / "splits"
    (folder / own_store.stem).rename(folder / "renamed")
    again = pretrain(train_request(tmp_path / "run", store=Store(own_store.with_name("renamed.zarr"))))
    assert again.outcome == "up to date"


def test_a_folder_that_is_not_a_run_is_never_replaced(train_request: Requests, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").write_text("x")
    for force in (False, True):
        with pytest.raises(ArtifactError, match="is not a run"):
            pretrain(train_request(tmp_path / "mine", force=force))
    assert (tmp_path / "mine" / "notes").exists()


def test_a_loss_that_is_not_finite_stops_and_names_the_batch(train_request: Requests, tmp_path: Path) -> None:
    with pytest.raises(NotFinite, match=r"the loss is (nan|inf) at step \d; samples of its batch: S\d{3}C"):
        pretrain(train_request(tmp_path / "run", "learning_rate=1e30"))


def test_a_loss_that_is_not_finite_keeps_the_best_checkpoint(
    train_request: Requests, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request, step = train_request(tmp_path / "run", "validate_every=1", "epochs=4"), train_step
    before: dict[Path, bytes] = {}

    def spoil(method: Method, *others: object) -> dict[str, torch.Tensor]:
        if others[3] == 7:
            best, *_ = named_checkpoint(load_run(tmp_path / "run"), "best")
            before.update({path: path.read_bytes() for path in best.iterdir()})
            next(method.pair.query.parameters()).data[0] = torch.nan
        return step(method, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(pretrain_module, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(pretrain_module, "train_step", spoil)
    with pytest.raises(NotFinite, match=r"the loss is nan at step 7; samples of its batch: S\d{3}C"):
        pretrain(request)
    best, *_ = named_checkpoint(load_run(tmp_path / "run"), "best")
    assert {path: path.read_bytes() for path in best.iterdir()} == before
    assert verify(tmp_path / "run").findings == []


@pytest.mark.parametrize("residency", ["host", "stream"])
def test_no_checkpoint_is_written_of_a_state_that_is_not_finite(
    train_request: Requests, tmp_path: Path, residency: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss of step 3 is a number, its gradient is not; a signal asks for a checkpoint just then."""
    request = train_request(tmp_path / "run", "stream_buffer=8", residency=residency, workers=2)
    before, step = threading.active_count(), train_step

    def spoil(method: Method, *others: object) -> dict[str, torch.Tensor]:
        loss = step(method, *others)  # type: ignore[arg-type]
        if others[3] == 3:
            next(method.pair.query.parameters()).data[0] = torch.nan
            os.kill(os.getpid(), signal.SIGTERM)
        return loss

    monkeypatch.setattr(pretrain_module, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(pretrain_module, "train_step", spoil)
    with pytest.raises(NotFinite, match=r"run: query\S+ is not finite after step 3; samples of its batch: S\d{3}C"):
        pretrain(request)
    assert threading.active_count() == before
    assert [path.name for path in checkpoint.list_checkpoints(tmp_path / "run" / "checkpoints")] == [
        "step-00000002",
        "step-00000003",
    ]
    monkeypatch.setattr(pretrain_module, "train_step", step)
    assert pretrain(request).steps == 3


@pytest.mark.parametrize("residency", ["host", "stream"])
def test_a_signal_before_the_first_step_stops_and_the_run_resumes(
    shared_run: Run, train_request: Requests, tmp_path: Path, residency: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes while the store is read: a stream stops after the step that was read for, others at once."""
    motion = Store.motion
    request = train_request(tmp_path / "run", residency=residency, workers=2)

    def ask_to_stop(self: Store, first: int, last: int) -> np.ndarray:
        os.kill(os.getpid(), signal.SIGUSR1)
        return motion(self, first, last)

    with monkeypatch.context() as patched:
        patched.setattr(Store, "motion", ask_to_stop)
        with pytest.raises(Interrupted, match=f"SIGUSR1 at step {int(residency == 'stream')} of 6") as caught:
            pretrain(request)
    assert caught.value.exit_code == 138
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith(("stream", "ahead"))] == []
    pretrain(request)
    assert same(weights(tmp_path / "run"), weights(shared_run.path))
    assert losses(tmp_path / "run") == losses(shared_run.path)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("buffer", [16, 1000])
def test_residency_and_workers_do_not_change_results(
    train_request: Requests, tmp_path: Path, workers: int, buffer: int
) -> None:
    for residency in ("host", "stream"):
        setting = f"stream_buffer={buffer}"
        pretrain(train_request(tmp_path / residency, setting, residency=residency, workers=workers))
    assert same(weights(tmp_path / "host"), weights(tmp_path / "stream"))
    assert losses(tmp_path / "host") == losses(tmp_path / "stream")


def test_a_store_of_another_recipe_is_rejected_without_any_recipe(train_request: Requests, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="recipe clean, the configuration is for skelemixclr"):
        pretrain(train_request(tmp_path / "run", "recipe=skelemixclr"))
    assert pretrain(train_request(tmp_path / "run", "recipe=skelemixclr", any_recipe=True)).steps == 6


@pytest.mark.parametrize(
    "setting",
    [
        "method.name=skeletonclr",
        "method.name=skelemixclr",
        "stream=motion",
        "stream=bone",
        "method.decoupled=true",
        "method.mix.per=sample",
        "method.mix.joints=random",
        "method.mix.fill=noise",
        "pair.start=apart",
        "augment.same_every_epoch=true",
        "encoder.body_mean=present",
        "frames=37",
        "frames=4",
        "pair.queue_size=5",
    ],
)
def test_every_setting_changes_the_loss(train_request: Requests, tmp_path: Path, setting: str, shared_run: Run) -> None:
    assert np.isfinite(pretrain(train_request(tmp_path / "run", setting)).last_loss)
    assert losses(tmp_path / "run") != losses(shared_run.path)


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_trains(train_request: Requests, tmp_path: Path, name: str) -> None:
    narrow = ("encoder.hidden_channels=2", "encoder.hidden_dim=8", "encoder.feature_dim=4", "pair.queue_size=64")
    shipped = load_preset(name)
    short = ("epochs=2", "milestones=[1]") if shipped.config.get("schedule") == "step" else ("epochs=1",)
    request = replace(
        train_request(tmp_path / "run", any_recipe=True),
        preset=name,
        config=compose_pretrain(shipped, None, [*short, "batch_size=12", *narrow]),
    )
    assert np.isfinite(pretrain(request).last_loss)


def test_impossible_mixing_is_rejected_before_a_run_is_created(train_request: Requests, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"mix.parts: 5 of layout kinect-v2's 5 parts"):
        pretrain(train_request(tmp_path / "run", "method.mix.parts=[2, 5]"))
    assert pretrain(train_request(tmp_path / "run", "epochs=1")).outcome == "trained"


def test_a_run_finds_its_store_and_split_and_rejects_others(
    own_store: Path, train_request: Requests, tmp_path: Path
) -> None:
    run = pretrain(train_request(tmp_path / "runs" / "r", store=Store(own_store))).run
    assert find_run_split(run, find_run_store(run), None).name == "xsub"
    own_store.rename(own_store.with_name("moved.zarr"))
    with pytest.raises(ArtifactError, match="if it was moved, name it with --store"):
        find_run_store(run)
    assert find_run_store(run, own_store.with_name("moved.zarr")).digest == run.lineage["store"]["digest"]


def test_a_damaged_run_json_is_rejected(train_request: Requests, tmp_path: Path) -> None:
    pretrain(train_request(tmp_path / "run"))
    described = tmp_path / "run" / "run.json"
    described.write_text(described.read_text().replace('"epochs": 2', '"epochs": 9'))
    with pytest.raises(ArtifactError, match="does not match its digest"):
        load_run(tmp_path / "run")


def test_a_run_with_another_layout_is_rejected(train_request: Requests, shared_store: Store, tmp_path: Path) -> None:
    run = pretrain(train_request(tmp_path / "run")).run
    other = replace(run, layout=replace(run.layout, name="other-25"))
    with pytest.raises(ArtifactError, match=r"has kinect-v2 skeletons, but .*run was trained on other-25"):
        find_run_store(other, shared_store.path)

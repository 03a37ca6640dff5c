"""`pretrain --resume RUN`, its options, and the short forms of settings."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from pipeline.store.store import Store
from tests.conftest import TINY
from trainer.runs.run import Run, load_run, newest_checkpoint
from trainer.runtime.device import choose_device
from trainer.runtime.signals import catch_stop_signals

Skelepipe = Callable[..., Result]


@pytest.fixture
def train(skelepipe: Skelepipe, shared_store: Store) -> Callable[..., Result]:
    """Train a tiny run on the shared store."""
    return lambda *args: skelepipe("pretrain", shared_store.path, "--preset", "quick", "--set", *TINY, *args)


def weights(run: Path) -> bytes:
    return (newest_checkpoint(load_run(run))[0] / "model.safetensors").read_bytes()


@pytest.mark.slow
def test_a_run_is_resumed_by_its_name_and_trained_longer(train: Skelepipe, skelepipe: Skelepipe) -> None:
    """The longer training has the same weights as one that was planned with as many epochs."""
    constant = "schedule=constant"
    assert train(constant, "epochs=3", "--name", "planned").exit_code == 0
    assert train(constant, "--epochs", "1", "--name", "short").exit_code == 0
    done = skelepipe("pretrain", "--resume", "runs/short")
    assert "up to date, trained to step 3" in done.stdout, done.output
    done = skelepipe("pretrain", "--resume", "runs/short", "--epochs", "3", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["outcome"] == "resumed"
    assert weights(Path("runs/short")) == weights(Path("runs/planned"))
    run = load_run(Path("runs/short"))
    assert (run.config.epochs, run.total_steps, (run.origins or {})["epochs"]) == (3, 9, "--set")
    done = skelepipe("pretrain", "--resume", "runs/short", "--set", "epochs=2")
    assert (done.exit_code, "epochs=2: the run has 3; it cannot be shortened" in done.stderr) == (2, True)


def test_what_a_resumed_run_cannot_change(skelepipe: Skelepipe, shared_run: Run, shared_store: Store) -> None:
    for given, message in (
        (["--set", "epochs=9"], "the learning rate of the run follows a cosine over its 2 epochs"),
        (["--set", "seed=1"], "only epochs can be changed, not seed"),
        (["--lr", "1"], "--resume and --lr cannot be combined: the run records it"),
        (["--preset", "quick"], "--resume and --preset cannot be combined"),
        (["--force"], "--resume and --force cannot be combined"),
    ):
        done = skelepipe("pretrain", "--resume", shared_run.path, *given)
        assert done.exit_code in (1, 2)
        assert message in done.stderr
    done = skelepipe("pretrain", shared_store.path, "--resume", shared_run.path)
    assert "--resume and STORE cannot be combined" in done.stderr


def test_errors_end_with_the_command_that_resumes(skelepipe: Skelepipe, shared_run: Run, train: Skelepipe) -> None:
    command = f"skelepipe pretrain --resume {shared_run.path}\n"
    assert skelepipe("pretrain", shared_run.path).stderr.endswith(command)
    assert train("--out", shared_run.path, "--batch-size", "6").stderr.endswith(command)


def test_short_options_are_settings(skelepipe: Skelepipe, shared_store: Store) -> None:
    given = ("--epochs", "1", "--batch-size", "9", "--lr", "0.25", "--name", "mine")
    others = [setting for setting in TINY if not setting.startswith(("epochs", "batch_size"))]
    done = skelepipe("pretrain", shared_store.path, "--preset", "quick", *given, "--set", *others)
    assert done.exit_code == 0, done.output
    run = load_run(Path("runs/mine"))
    assert (run.config.epochs, run.config.batch_size, run.config.learning_rate) == (1, 9, 0.25)
    origins = run.origins or {}
    assert [origins[key] for key in ("epochs", "batch_size", "learning_rate")] == ["--epochs", "--batch-size", "--lr"]
    assert "the loss rises at first, until the queue has its" in done.stderr
    for name in ("a/b", ".."):
        assert f"{name!r} is not a name" in skelepipe("pretrain", "--name", name).stderr


def test_a_number_is_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.empty", lambda *_, device: device)
    assert str(choose_device("0")) == "cuda:0"
    assert str(choose_device("cpu")) == "cpu"


def test_version_has_a_short_option(skelepipe: Skelepipe) -> None:
    shown = skelepipe("--version").stdout
    assert shown.startswith("skelepipe, version")
    assert skelepipe("-V").stdout == skelepipe("version").stdout == shown


def test_help_is_a_command_too(skelepipe: Skelepipe) -> None:
    assert skelepipe("help").stdout == skelepipe("--help").stdout
    assert skelepipe("help", "eval").stdout == skelepipe("eval", "--help").stdout


def test_ctrl_c_is_acknowledged_and_a_second_one_interrupts(capfd: pytest.CaptureFixture[str]) -> None:
    with catch_stop_signals() as flag:
        signal.raise_signal(signal.SIGINT)
        assert flag.number == signal.SIGINT
        assert "stopping after this step; press Ctrl-C again to stop at once" in capfd.readouterr().err
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)

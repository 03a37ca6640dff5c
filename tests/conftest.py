"""Shared fixtures: synthetic NTU RGB+D 60 recordings, their store and splits, and a tiny trained run."""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from cli import main
from pipeline.ingest.ingest import ingest
from pipeline.ingest.request import IngestRequest
from pipeline.recipes.recipe import load_recipe
from pipeline.store.build_splits import build_splits
from pipeline.store.splits import find_split
from pipeline.store.store import Store
from pipeline.synth.ntu import write_ntu
from trainer.config.evaluation import compose_eval
from trainer.config.presets import compose_pretrain, load_preset
from trainer.evaluation.evaluate import EvaluateRequest, evaluate
from trainer.pretrain.pretrain import PretrainRequest, pretrain
from trainer.runs.run import Run, load_run
from trainer.runtime.device import choose_device, make_arithmetic_exact

# For models this small, several threads are slower than one: they mostly wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(1)

pytest_plugins = ["tests.support.cpu_limit"]
GOLDEN = Path(__file__).parent / "golden"
CLIPS, BROKEN = 72, 3


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--device`: `--device cuda` runs training and inference tests on a GPU."""
    parser.addoption("--device", default="cpu", help="device for tests that use torch: cpu, cuda or cuda:N")


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> torch.device:
    """Return the device chosen with `--device`."""
    make_arithmetic_exact()
    return choose_device(request.config.getoption("--device"))


@pytest.fixture(scope="session")
def golden() -> Path:
    """Return the folder with results of reference implementations."""
    return GOLDEN


def file_digests(folder: Path) -> dict[str, str]:
    """Checksums of all files in a folder, except locks."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and ".lock" not in path.name)
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@contextmanager
def unchanged(folder: Path) -> Iterator[None]:
    """Fail if files of a shared folder have changed, been added or removed at the end. (Root may write anywhere.)"""
    before = file_digests(folder)
    yield
    after = file_digests(folder)
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    assert not changed, f"tests have changed the shared folder {folder}: {', '.join(changed)}; use own_store or copy"


@pytest.fixture(scope="session")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Write 72 synthetic recordings of three classes (one has two people) and 3 damaged ones. Do not change them."""
    folder = tmp_path_factory.mktemp("shared") / "raw"
    write_ntu("ntu60", folder, clips=CLIPS, seed=1, broken=BROKEN)
    with unchanged(folder):
        yield folder


@pytest.fixture(scope="session")
def request_for() -> Callable[..., IngestRequest]:
    """Return a function that builds an ingest request for a folder and an output."""

    def make(raw: Path, output: Path, name: str = "clean", **options: object) -> IngestRequest:
        roots = (raw,)
        return IngestRequest(dataset="ntu60", roots=roots, output=output, recipe=load_recipe(name), **options)  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def shared_store(raw: Path, request_for: Callable[..., IngestRequest]) -> Iterator[Store]:
    """Ingest `raw` and build all official splits. Tests must not change the store."""
    output = raw.parent / "processed" / "ntu60.zarr"
    ingest(request_for(raw, output, workers=1))
    store = Store(output)
    build_splits(store)
    with unchanged(output.parent):
        yield store


@pytest.fixture(scope="session")
def drawn_store(shared_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Return a copy of the store with two labelled subsets of a quarter of the training clips, of seeds 3 and 4."""
    folder = tmp_path_factory.mktemp("drawn") / "processed"
    shutil.copytree(shared_store.path.parent, folder)
    store = Store(folder / shared_store.path.name)
    build_splits(store, ["xsub"], [0.25], [3, 4])
    return store


@pytest.fixture
def own_store(shared_store: Store, tmp_path: Path) -> Path:
    """Return a copy of the store and its splits that a test may damage."""
    shutil.copytree(shared_store.path.parent, tmp_path / "processed")
    return tmp_path / "processed" / shared_store.path.name


@pytest.fixture
def copy(raw: Path, shared_store: Store, tmp_path: Path) -> Path:
    """Return a folder with the first twelve good recordings, which a test may change."""
    folder = tmp_path / "raw"
    folder.mkdir()
    for name in shared_store.names[:12]:
        shutil.copy(raw / f"{name}.skeleton", folder)
    return folder


@pytest.fixture
def skelepipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Return a function that runs a skelepipe command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *args: CliRunner().invoke(main, [str(arg) for arg in args])


TINY = (
    "frames=16",
    "epochs=2",
    "batch_size=12",
    "encoder.hidden_channels=2",
    "encoder.hidden_dim=8",
    "encoder.feature_dim=4",
    "method.mix.frames=[1, 3]",
    "method.mix.repeats=2",
)
"""Settings on top of the preset `quick`: a whole training takes about a second."""


@pytest.fixture(scope="session")
def train_request(shared_store: Store, device: torch.device) -> Callable[..., PretrainRequest]:
    """Return a function that builds a request for a tiny pre-training on the shared store, 3 steps per epoch."""

    def make(output: Path, *settings: str, store: Store = shared_store, **options: object) -> PretrainRequest:
        config = compose_pretrain(load_preset("quick"), None, [*TINY, *settings])
        split = find_split(store, "xsub")
        return PretrainRequest(
            store=store, split=split, preset="quick", config=config, output=output, device=device, **options  # type: ignore[arg-type]
        )  # fmt: skip

    return make


@pytest.fixture(scope="session")
def shared_run(train_request: Callable[..., PretrainRequest], shared_store: Store) -> Run:
    """Train a tiny run. Tests must not change it, except for its results."""
    return pretrain(train_request(shared_store.path.parents[1] / "runs" / "tiny")).run


@pytest.fixture(scope="session")
def evaluated_run(
    shared_run: Run, shared_store: Store, tmp_path_factory: pytest.TempPathFactory, device: torch.device
) -> Run:
    """Return a run next to its store, evaluated with kNN and with a short linear training."""
    folder = tmp_path_factory.mktemp("evaluated")
    shutil.copytree(shared_store.path.parent, folder / "processed")
    shutil.copytree(shared_run.path, folder / "runs" / "tiny", ignore=shutil.ignore_patterns("eval"))
    run = load_run(folder / "runs" / "tiny")
    config, split = compose_eval(["linear.epochs=3"]), find_split(shared_store, "xsub")
    request = {"run": run, "store": shared_store, "split": split, "device": device, "config": config}
    evaluate(EvaluateRequest(protocols=("knn", "linear"), **request))  # type: ignore[arg-type]
    return run

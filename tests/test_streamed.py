import numpy as np
import pytest
import torch
from large_store import repeated

from pipeline.store import Store
from trainer import loader
from trainer.loader import Clips, Host, Resident
from trainer.order import Order, batches
from trainer.streamed import Streamed

CLIPS, BATCH, STEPS = 400, 16, 60


@pytest.fixture(scope="module")
def large(shared_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Store:
    return repeated(shared_store, tmp_path_factory.mktemp("large") / "large.zarr", CLIPS)


@pytest.fixture
def rows(large: Store) -> np.ndarray:
    return np.delete(np.arange(len(large)), slice(7, None, 5))  # clips of no use stand between them


def order(store: Store, rows: np.ndarray, buffer: int = 64) -> Order:
    return Order(store.blocks(rows), buffer, seed=3)


def stream(store: Store, rows: np.ndarray, workers: int, buffer: int = 64) -> Streamed:
    return Streamed(store, rows, order(store, rows, buffer), 16, 2, BATCH, torch.device("cpu"), workers)


def followed(clips: Clips, order: Order, first: int = 0) -> list[tuple[int, int, list[int], torch.Tensor]]:
    plan = batches(order, BATCH, first, STEPS)
    return [(step, epoch, places.tolist(), batch) for step, epoch, places, batch in clips.follow(plan)]


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("first", [0, 13, 20, 41])
def test_every_residency_gives_the_same_batches_wherever_it_begins(
    large: Store, rows: np.ndarray, workers: int, first: int
) -> None:
    whole, plan = loader.load(large, rows, 16, 2), order(large, rows)
    expected = followed(Resident(whole), plan)[first:]
    assert [epoch for _, epoch, _, _ in expected[:: STEPS // 3]] != [0]
    for clips in (Host(whole, torch.device("cpu"), workers), stream(large, rows, workers)):
        found = followed(clips, plan, first)
        assert [entry[:3] for entry in found] == [entry[:3] for entry in expected]
        assert all(torch.equal(mine[3], theirs[3]) for mine, theirs in zip(found, expected, strict=True))

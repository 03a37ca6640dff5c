import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.errors import ArtifactError
from pipeline.store import store
from pipeline.store.store import Store
from trainer.bench.synthetic_store import repeat_store
from trainer.data import streaming
from trainer.data.loader import Clips, HostClips, ResidentClips, load_clips
from trainer.data.shuffle import ShuffleOrder, plan_batches
from trainer.data.streaming import StreamedClips

CLIPS, BATCH, STEPS = 400, 16, 60


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "BLOCK_BODY_FRAMES", 1024)  # about ten clips


@pytest.fixture(scope="module")
def large(shared_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Store:
    return repeat_store(shared_store, tmp_path_factory.mktemp("large") / "large.zarr", CLIPS)


@pytest.fixture
def rows(large: Store) -> np.ndarray:
    return np.delete(np.arange(len(large)), slice(7, None, 5))  # with unused clips in between


def order(store: Store, rows: np.ndarray, buffer: int = 64) -> ShuffleOrder:
    return ShuffleOrder(store.blocks(rows), buffer, seed=3)


def stream(store: Store, rows: np.ndarray, workers: int, buffer: int = 64) -> StreamedClips:
    return StreamedClips(store, rows, order(store, rows, buffer), 16, 2, BATCH, torch.device("cpu"), workers)


def collect(clips: Clips, order: ShuffleOrder, first: int = 0) -> list[tuple[int, int, list[int], torch.Tensor]]:
    plan = plan_batches(order, BATCH, first, STEPS)
    return [(step, epoch, places.tolist(), batch) for step, epoch, places, batch in clips.iterate(plan)]


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("first", [0, 13, 20, 41])
def test_every_residency_gives_the_same_batches_from_any_step(
    large: Store, rows: np.ndarray, workers: int, first: int
) -> None:
    whole, plan = load_clips(large, rows, 16, 2), order(large, rows)
    expected = collect(ResidentClips(whole), plan)[first:]
    assert [epoch for _, epoch, _, _ in expected[:: STEPS // 3]] != [0]
    for clips in (HostClips(whole, torch.device("cpu"), workers), stream(large, rows, workers)):
        found = collect(clips, plan, first)
        assert [entry[:3] for entry in found] == [entry[:3] for entry in expected]
        assert all(torch.equal(mine[3], theirs[3]) for mine, theirs in zip(found, expected, strict=True))


def test_a_plan_from_mid_epoch_reads_only_the_remaining_blocks(
    large: Store, rows: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, read = order(large, rows), list[int]()
    motion = Store.motion
    monkeypatch.setattr(Store, "motion", lambda self, first, last: read.append(first) or motion(self, first, last))
    per_epoch = len(rows) // BATCH
    list(stream(large, rows, 0).iterate(plan_batches(plan, BATCH, 2 * per_epoch - 2, 2 * per_epoch)))
    needed = {*large.blocks(rows)[plan.epoch_order(1)[(per_epoch - 2) * BATCH : per_epoch * BATCH]].tolist()}
    assert len(read) == len(needed) < len(np.unique(large.blocks(rows)))
    assert {first // store.BLOCK_BODY_FRAMES for first in read} == needed


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("buffer", [1, 40, 1000])
def test_memory_is_limited_to_the_announced_capacity(large: Store, rows: np.ndarray, workers: int, buffer: int) -> None:
    """Clips are read only into the slots of the pool, which suffice for all steps of several epochs."""
    clips, plan = stream(large, rows, workers, buffer), order(large, rows, buffer)
    largest = np.unique(plan.blocks, return_counts=True)[1].max()
    assert clips.capacity <= min(buffer, len(rows)) + BATCH + largest * (
        1 + streaming.BLOCKS_READ_AHEAD * max(workers, 1)
    )
    assert clips.max_bytes == clips.capacity * 3 * 16 * 25 * 2 * 4
    assert clips.total_bytes == len(rows) * 3 * 16 * 25 * 2 * 4
    assert len(collect(clips, plan)) == STEPS


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_threads_end_when_the_iterator_is_closed(large: Store, rows: np.ndarray, workers: int) -> None:
    before = threading.active_count()
    iterator = stream(large, rows, workers).iterate(plan_batches(order(large, rows), BATCH, 0, STEPS))
    next(iterator)
    assert threading.active_count() == before + (1 + workers if workers else 0)
    iterator.close()
    assert threading.active_count() == before


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("flip", "(the checksum|has changed)"),
        ("remove", "No such file"),
        ("empty", "(it has 0 bytes|has changed)"),
    ],
)
def test_damage_during_training_is_reported(
    large: Store, rows: np.ndarray, tmp_path: Path, workers: int, damage: str, message: str
) -> None:
    copy = Store(shutil.copytree(large.path, tmp_path / "copy.zarr"))
    before = threading.active_count()
    iterator = stream(copy, rows, workers).iterate(plan_batches(order(copy, rows), BATCH, 0, STEPS))
    next(iterator)
    shard = copy.path / "xyz" / "c" / "0" / "0" / "0"
    content = bytearray(shard.read_bytes())
    content[: len(content) // 2] = bytes(len(content) // 2)
    if damage == "remove":
        shard.unlink()
    else:
        (tmp_path / "damaged").write_bytes(content if damage == "flip" else b"")
        (tmp_path / "damaged").replace(shard)
    with pytest.raises(ArtifactError, match=rf"copy.zarr/xyz/c/0/0/0: {message}.*restore it"):
        list(iterator)
    assert threading.active_count() == before

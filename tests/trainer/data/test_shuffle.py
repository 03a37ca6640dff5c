import numpy as np
import pytest
from numpy.typing import NDArray

from trainer.data.shuffle import ShuffleOrder, plan_batches


def blocks(clips: int, each: int) -> NDArray[np.int64]:
    return np.arange(clips) // each


def test_every_epoch_contains_every_clip_once_in_a_different_order() -> None:
    for buffer in (1, 7, 49, 50, 1000):
        orders = [
            ShuffleOrder(blocks(50, 6), buffer, seed).epoch_order(epoch) for seed, epoch in ((0, 0), (0, 1), (1, 0))
        ]
        for order in orders:
            assert sorted(order.tolist()) == list(range(50))
        assert len({tuple(order.tolist()) for order in orders}) == 3


def test_a_training_set_that_fits_in_the_buffer_is_fully_permuted() -> None:
    for each in (1, 9, 50):
        order = ShuffleOrder(blocks(50, each), 50, seed=2).epoch_order(4)
        np.testing.assert_array_equal(order, np.random.default_rng([2, 4]).permutation(50))


@pytest.mark.parametrize("buffer", [5, 1000])
def test_a_plan_from_the_middle_has_the_same_batches(buffer: int) -> None:
    order = ShuffleOrder(blocks(25, 4), buffer, seed=5)
    whole = list(plan_batches(order, 8, first_step=0, last_step=9))
    assert [epoch for _, epoch, _ in whole] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    for start in range(10):
        part = list(plan_batches(order, 8, first_step=start, last_step=9))
        assert [(s, e, c.tolist()) for s, e, c in part] == [(s, e, c.tolist()) for s, e, c in whole[start:]]


@pytest.mark.parametrize(("clips", "each", "buffer"), [(1000, 10, 100), (1000, 90, 300), (997, 1, 5), (400, 399, 50)])
def test_a_reader_holds_at_most_the_buffer_and_a_block(clips: int, each: int, buffer: int) -> None:
    """A block is read at its first clip, and a clip is dropped after use."""
    names = blocks(clips, each)
    for epoch in range(3):
        held, read, most = 0, set(), 0
        for place in ShuffleOrder(names, buffer, seed=0).epoch_order(epoch):
            if names[place] not in read:
                read.add(names[place])
                held += int((names == names[place]).sum())
            most = max(most, held)
            held -= 1
        assert most <= buffer + each
        assert held == 0


def test_a_buffer_mixes_labels_that_are_sorted_in_the_store() -> None:
    """20,000 sorted clips of 60 classes, blocks of 80, buffer of 4,096: how far batches are from the whole."""
    clips, batch = 20_000, 128
    labels = np.arange(clips) * 60 // clips
    spread = {}
    for buffer in (128, 1024, 4096, clips):
        order = ShuffleOrder(blocks(clips, 80), buffer, seed=0).epoch_order(0)[: clips // batch * batch]
        counts = np.stack(
            [np.bincount(labels[order[at : at + batch]], minlength=60) for at in range(0, len(order), batch)]
        )
        spread[buffer] = counts.var(axis=0).mean() / (batch / 60 * 59 / 60)  # 1 when each clip is drawn by itself
    assert spread[128] > 10
    assert spread[1024] > spread[4096] > spread[clips]
    assert spread[4096] < 2.5
    assert 0.9 < spread[clips] < 1.1


def test_how_far_a_clip_travels_has_the_spread_of_a_permutation() -> None:
    clips, buffer = 20_000, 4096
    order = ShuffleOrder(blocks(clips, 80), buffer, seed=0).epoch_order(0)
    distance = np.abs(np.argsort(order) - np.arange(clips)) / clips
    # |x - y| of two uniform numbers: density 2 (1 - d), quantiles 1 - sqrt(1 - q).
    for quantile in (0.1, 0.25, 0.5, 0.75, 0.9):
        assert np.quantile(distance, quantile) == pytest.approx(1 - np.sqrt(1 - quantile), abs=0.04)

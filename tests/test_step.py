"""A step in parts is the step in one piece, but for batch-norm statistics, which are a part's."""

import numpy as np
import pytest
import torch

from pipeline.errors import ConfigError
from pipeline.layout import KINECT_V2
from trainer import ranks, runs
from trainer.config import PretrainConfig
from trainer.step import cut, require_clips_for_all, share, train_step

NAMES = ("skeletonclr", "skelemixclr", "skelemixclr+")


def run_of(name, batch, **changes):
    config = PretrainConfig(
        frames=16,
        bodies=1,
        batch_size=batch,
        method={"name": name, "mix": {"frames": (1, 3), "repeats": 2}},
        pair={"queue_size": 13, "momentum": 0.9},
        encoder={"hidden_channels": 2, "hidden_dim": 8, "feature_dim": 4, "dropout": 0.0},
        **changes,
    )
    return runs.Run(path=None, preset="", config=config, layout=KINECT_V2, lineage={}, total_steps=9, digest="")


def clips(count):
    return torch.randn(count, 3, 16, 25, 1, generator=torch.Generator().manual_seed(1))


def stepped(run, steps=3, train=False):
    """State and losses after some steps; batch norm with its start statistics unless `train`."""
    method = runs.start(run)
    method.pair.double().train(train)
    optimiser = torch.optim.SGD(method.pair.query.parameters(), lr=0.05, momentum=0.9)
    count = run.config.batch_size
    losses = [
        train_step(method, optimiser, clips(count).double(), np.arange(count), step, 0, run) for step in range(steps)
    ]
    return method.pair.state_dict(), losses


@pytest.mark.parametrize("count", [1, 2, 7, 12, 19])
@pytest.mark.parametrize("pieces", [1, 2, 7])
def test_a_cut_covers_everything_once_in_order_and_evenly(count, pieces):
    parts = cut(count, pieces)
    assert len(parts) == pieces
    assert [place for part in parts for place in range(count)[part]] == list(range(count))
    sizes = [part.stop - part.start for part in parts]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("batch", "micro_batch"), [(8, 4), (7, 3), (9, 4)])
def test_parts_end_in_the_weights_queue_and_losses_of_the_whole(name, batch, micro_batch):
    whole, losses = stepped(run_of(name, batch))
    parts, theirs = stepped(run_of(name, batch, micro_batch=micro_batch))
    for key, value in whole.items():
        torch.testing.assert_close(parts[key], value, rtol=1e-9, atol=1e-12, msg=lambda text, key=key: f"{key}: {text}")
    for ours, found in zip(losses, theirs, strict=True):
        torch.testing.assert_close(found, ours, rtol=1e-9, atol=1e-12)
    start = runs.start(run_of(name, batch)).pair.double().state_dict()
    assert not torch.allclose(whole["query.head.3.weight"], start["query.head.3.weight"], rtol=1e-4)


def test_batch_norm_alone_sees_the_parts():
    whole, _ = stepped(run_of("skelemixclr+", 8), steps=1, train=True)
    parts, _ = stepped(run_of("skelemixclr+", 8, micro_batch=4), steps=1, train=True)
    assert int(whole["query.input_norm.num_batches_tracked"]) == 3
    assert int(parts["query.input_norm.num_batches_tracked"]) == 6


def test_a_part_of_one_clip_is_refused():
    with pytest.raises(ValueError, match="a batch of 7 in parts of at most 2 leaves one of a single clip"):
        run_of("skeletonclr", 7, micro_batch=2)


def test_more_processes_than_clips_in_a_part_are_refused(monkeypatch):
    monkeypatch.setattr(ranks, "size", lambda: 3)
    require_clips_for_all(run_of("skeletonclr", 9, micro_batch=4).config)
    with pytest.raises(ConfigError, match="2 clips at a time leave some of 3 processes without any; start fewer"):
        require_clips_for_all(run_of("skeletonclr", 4, micro_batch=2).config)


@pytest.mark.parametrize(("start", "count", "ranks_"), [(0, 7, 2), (7, 8, 3), (4, 3, 3)])
def test_ranks_share_a_part_out(start, count, ranks_, monkeypatch):
    monkeypatch.setattr(ranks, "size", lambda: ranks_)
    places = []
    for rank in range(ranks_):
        monkeypatch.setattr(ranks, "rank", lambda rank=rank: rank)
        places += range(100)[share(slice(start, start + count))]
    assert places == list(range(start, start + count))

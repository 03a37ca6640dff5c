"""A step in parts is the step in one piece, but for batch-norm statistics, which are a part's."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.errors import ConfigError
from pipeline.skeleton.layout import KINECT_V2
from trainer.config.pretrain import PretrainConfig
from trainer.data import counter_rng
from trainer.pretrain.step import cut, require_clips_for_all, share, train_step
from trainer.runs.run import Run, build_run_method
from trainer.runtime import distributed

NAMES = ("skeletonclr", "skelemixclr", "skelemixclr+")


def run_of(name, batch, layout=KINECT_V2, **changes):
    settings = {
        "frames": 16,
        "bodies": 1,
        "method": {"name": name, "mix": {"frames": (1, 3), "repeats": 2}},
        "pair": {"queue_size": 13, "momentum": 0.9},
    }
    config = PretrainConfig(
        batch_size=batch,
        encoder={"hidden_channels": 2, "hidden_dim": 8, "feature_dim": 4, "dropout": 0.0},
        **(settings | changes),
    )
    return Run(path=None, preset="", config=config, layout=layout, lineage={}, total_steps=9, digest="")


def drawn_for(monkeypatch, run, *steps):
    """What the views of steps (step, epoch, rows) drew: for each step (2, N, COUNT)."""
    drawn, uniform = [], counter_rng.uniform
    monkeypatch.setattr(counter_rng, "uniform", lambda *address: drawn.append(uniform(*address)) or drawn[-1])
    method = build_run_method(run)
    optimiser = torch.optim.SGD(method.pair.query.parameters(), lr=0.05)
    for step, epoch, rows in steps:
        train_step(method, optimiser, clips(len(rows)), np.array(rows), step, epoch, run)
    monkeypatch.undo()
    return torch.stack(drawn).unflatten(0, (-1, 2))


def clips(count):
    return torch.randn(count, 3, 16, 25, 1, generator=torch.Generator().manual_seed(1))


def stepped(run, steps=3, train=False):
    """State and losses after some steps; batch norm with its start statistics unless `train`."""
    method = build_run_method(run)
    method.pair.double().train(train)
    optimiser = torch.optim.SGD(method.pair.query.parameters(), lr=0.05, momentum=0.9)
    count = run.config.batch_size
    losses = [
        train_step(method, optimiser, clips(count).double(), np.arange(count), step, 0, run) for step in range(steps)
    ]
    return method.pair.state_dict(), losses


@pytest.mark.parametrize("count", [1, 2, 7, 12, 19])
@pytest.mark.parametrize("pieces", [1, 2, 7])
def test_cut_covers_all_indices_in_even_slices(count, pieces):
    parts = cut(count, pieces)
    assert len(parts) == pieces
    assert [place for part in parts for place in range(count)[part]] == list(range(count))
    sizes = [part.stop - part.start for part in parts]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("batch", "micro_batch"), [(8, 4), (7, 3), (9, 4)])
def test_micro_batches_give_the_same_weights_queue_and_losses(name, batch, micro_batch):
    whole, losses = stepped(run_of(name, batch))
    parts, theirs = stepped(run_of(name, batch, micro_batch=micro_batch))
    for key, value in whole.items():
        torch.testing.assert_close(parts[key], value, rtol=1e-9, atol=1e-12, msg=lambda text, key=key: f"{key}: {text}")
    for ours, found in zip(losses, theirs, strict=True):
        torch.testing.assert_close(found, ours, rtol=1e-9, atol=1e-12)
    start = build_run_method(run_of(name, batch)).pair.double().state_dict()
    assert not torch.allclose(whole["query.head.3.weight"], start["query.head.3.weight"], rtol=1e-4)


def test_only_batch_norm_depends_on_micro_batches():
    whole, _ = stepped(run_of("skelemixclr+", 8), steps=1, train=True)
    parts, _ = stepped(run_of("skelemixclr+", 8, micro_batch=4), steps=1, train=True)
    assert int(whole["query.input_norm.num_batches_tracked"]) == 3
    assert int(parts["query.input_norm.num_batches_tracked"]) == 6


def test_a_micro_batch_of_one_clip_is_rejected():
    with pytest.raises(ValueError, match="a batch of 7 in micro-batches of at most 2 leaves one with a single clip"):
        run_of("skeletonclr", 7, micro_batch=2)


def test_more_processes_than_clips_in_a_micro_batch_are_rejected(monkeypatch):
    monkeypatch.setattr(distributed, "world_size", lambda: 3)
    require_clips_for_all(run_of("skeletonclr", 9, micro_batch=4).config)
    with pytest.raises(ConfigError, match="micro-batches of 2 clips are too small for 3 processes; start fewer"):
        require_clips_for_all(run_of("skeletonclr", 4, micro_batch=2).config)


@pytest.mark.parametrize(("start", "count", "ranks_"), [(0, 7, 2), (7, 8, 3), (4, 3, 3)])
def test_ranks_divide_a_micro_batch(start, count, ranks_, monkeypatch):
    monkeypatch.setattr(distributed, "world_size", lambda: ranks_)
    places = []
    for rank in range(ranks_):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        places += range(100)[share(slice(start, start + count))]
    assert places == list(range(start, start + count))


def test_views_of_a_sample_do_not_depend_on_the_batch_but_on_the_epoch(monkeypatch):
    run = run_of("skelemixclr+", 4)
    first, turned, fewer, later = drawn_for(
        monkeypatch, run, (0, 0, [5, 6, 7, 8]), (1, 0, [8, 7, 6, 5]), (0, 0, [6, 9, 5, 10]), (2, 1, [5, 6, 7, 8])
    )
    assert torch.equal(turned.flip(1), first)
    assert torch.equal(fewer[:, [2, 0]], first[:, :2])
    assert not (later == first).any()
    assert not (first[0] == first[1]).any()
    assert not (drawn_for(monkeypatch, run_of("skelemixclr+", 4, seed=1), (0, 0, [5, 6, 7, 8]))[0] == first).any()


def test_same_every_epoch_draws_depend_on_positions_not_on_samples(monkeypatch):
    run = run_of("skelemixclr+", 4, epochs=3, augment={"same_every_epoch": True})  # 3 steps an epoch
    steps = [(step, step // 3, [step, step + 20, step + 40, step + 60]) for step in range(9)]
    drawn = drawn_for(monkeypatch, run, *steps)
    assert torch.equal(drawn[:3], drawn[3:6])
    assert torch.equal(drawn[:3], drawn[6:])
    assert len(drawn[:3].unique()) == drawn[:3].numel()


@pytest.mark.parametrize(
    "mix", [{}, {"per": "sample", "joints": "random"}, {"fill": "noise"}, {"per": "sample", "fill": "zeros"}], ids=str
)
@pytest.mark.parametrize(("joints", "parts"), [(17, 5), (25, 5), (33, 8), (3, 3), (2, 2)])
@pytest.mark.parametrize(("frames", "batch"), [(4, 2), (37, 7), (50, 3), (60, 5)])
def test_any_layout_length_and_batch_size_trains(joints, parts, mix, frames, batch):
    members = {f"p{part}": tuple(range(part, joints, parts)) for part in range(parts)}
    layout = replace(
        KINECT_V2, name="other", joints=tuple(f"j{joint}" for joint in range(joints)), parts=members,
        parents=tuple((joint - 1) // 2 if joint else -1 for joint in range(joints)),
        centre=0, spine=(0, 1), shoulders=(0, 1),
    )  # fmt: skip
    method = {"name": "skelemixclr+", "mix": mix}
    run = run_of("", batch, layout, frames=frames, bodies=2, method=method, pair={"queue_size": 3})
    x = torch.randn(batch, 3, frames, joints, 2, generator=torch.Generator().manual_seed(1))
    made = build_run_method(run)
    optimiser = torch.optim.SGD(made.pair.query.parameters(), lr=0.05)
    for step in range(3):
        losses = train_step(made, optimiser, x, np.arange(batch), step, 0, run)
        assert all(value.isfinite() for value in losses.values())
    assert all(value.isfinite().all() for value in made.pair.state_dict().values())


@pytest.mark.slow
def test_half_precision_is_close_and_keeps_float32_state():
    losses = {}
    for precision in ("fp32", "bf16"):
        run = run_of("skelemixclr+", 8, precision=precision)
        made = build_run_method(run)
        optimiser = torch.optim.SGD(made.pair.query.parameters(), lr=0.05)
        losses[precision] = float(train_step(made, optimiser, clips(8), np.arange(8), 0, 0, run)["total"])
        assert {value.dtype for value in made.pair.state_dict().values()} == {torch.float32, torch.int64}
    assert losses["fp32"] != losses["bf16"]
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.02)

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.errors import ConfigError, OutputExists
from pipeline.store.store import Store
from trainer.config.layers import FITTED_ORIGIN
from trainer.config.pretrain import PretrainConfig
from trainer.data import residency
from trainer.data.loader import HostClips, ResidentClips
from trainer.data.residency import Residency, _choose_residency, fit_stream_buffer, open_feed
from trainer.data.shuffle import ShuffleOrder, plan_batches
from trainer.data.streaming import StreamedClips
from trainer.pretrain import open_run
from trainer.pretrain.pretrain import PretrainRequest, pretrain
from trainer.runtime.memory import format_bytes

CPU, GPU = torch.device("cpu"), torch.device("cuda")
CLIP = 4 * 3 * 16 * 25 * 2
"""Bytes of a clip in these tests."""


def choose(
    store: Store, monkeypatch: pytest.MonkeyPatch, asked: Residency, device: torch.device, **free: int
) -> tuple[str, str]:
    """The residency chosen for 72 clips, with a buffer of 10, if GPU and host have memory for `free` clips."""
    monkeypatch.setattr(residency, "available_memory", lambda where: CLIP * free[where.type])
    rows = np.arange(len(store))
    order = ShuffleOrder(store.blocks(rows), 10, 0)
    streamed = StreamedClips(store, rows, order, 16, 2, 8, device, 0)
    monkeypatch.setattr(streamed, "capacity", 30)
    streamed._shape = (30, *streamed._shape[1:])
    return _choose_residency(asked, device, streamed)


@pytest.mark.parametrize(
    ("device", "free", "chosen"),
    [
        (GPU, {"cuda": 181, "cpu": 0}, "gpu"),
        (GPU, {"cuda": 179, "cpu": 104}, "host"),
        (GPU, {"cuda": 179, "cpu": 102}, "stream"),
        (CPU, {"cuda": 999, "cpu": 104}, "host"),
        (CPU, {"cuda": 999, "cpu": 44}, "stream"),
    ],
)
def test_auto_chooses_the_first_residency_that_fits_and_gives_the_reason(
    shared_store: Store,
    monkeypatch: pytest.MonkeyPatch,
    device: torch.device,
    free: dict[str, int],
    chosen: str,
) -> None:
    found, reason = choose(shared_store, monkeypatch, "auto", device, **free)
    assert found == chosen
    assert f"of {format_bytes(CLIP * free['cuda' if chosen == 'gpu' else 'cpu'])} free" in reason
    assert ("host would take" in reason) == (chosen == "stream")


def test_clips_that_do_not_fit_are_refused_with_advice(shared_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"do not fit: host would take .*; stream would take .*stream_buffer=N"):
        choose(shared_store, monkeypatch, "auto", CPU, cuda=999, cpu=42)
    with pytest.raises(ConfigError, match=r"--residency host: the clips do not fit: host would take"):
        choose(shared_store, monkeypatch, "host", CPU, cuda=999, cpu=71)
    with pytest.raises(ConfigError, match=r"--residency gpu: training runs on cpu"):
        choose(shared_store, monkeypatch, "gpu", CPU, cuda=999, cpu=999)


def test_an_explicit_residency_can_use_all_memory(shared_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for asked, free in (("gpu", 73), ("host", 73), ("stream", 31)):
        assert choose(shared_store, monkeypatch, asked, GPU, cuda=free, cpu=free)[0] == asked  # type: ignore[arg-type]


def test_clips_are_held_in_the_requested_residency(shared_store: Store) -> None:
    rows, config = np.arange(40), PretrainConfig(frames=16, batch_size=8, stream_buffer=16)
    assert isinstance(open_feed(shared_store, rows, config, CPU).clips, ResidentClips)
    found = open_feed(shared_store, rows, config, CPU, "stream")
    assert isinstance(found.clips, StreamedClips)
    assert found.description.startswith("40 clips, residency stream: takes ")
    assert found.order.buffer == 16


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_every_residency_gives_the_same_batches(shared_store: Store) -> None:
    rows, config = np.arange(len(shared_store)), PretrainConfig(frames=16, batch_size=8, stream_buffer=16)
    found = []
    for asked in ("gpu", "host", "stream"):
        fed = open_feed(shared_store, rows, config, GPU, asked, workers=2)
        assert isinstance(fed.clips, {"gpu": ResidentClips, "host": HostClips, "stream": StreamedClips}[asked])
        plan = plan_batches(fed.order, 8, 0, 30)
        found.append([(places.tolist(), clips.cpu()) for _, _, places, clips in fed.clips.iterate(plan)])
        assert len(found[-1]) == 30
    for other in found[1:]:
        assert all(a[0] == b[0] and torch.equal(a[1], b[1]) for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize(
    ("asked", "room", "buffer"),
    [
        ("host", None, 64),
        ("auto", 10**6, 64),
        ("stream", 64, 64),
        ("stream", 63, 32),
        ("stream", 17, 16),
        ("auto", 0, 4),
    ],
)
def test_the_buffer_of_a_stream_shrinks_until_it_fits_in_the_memory(
    shared_store: Store, monkeypatch: pytest.MonkeyPatch, asked: Residency, room: int | None, buffer: int
) -> None:
    """There is memory for a buffer of `room` clips and what else a stream holds."""
    rows, config = np.arange(len(shared_store)), PretrainConfig(frames=16, batch_size=8, stream_buffer=64)
    others = StreamedClips(
        shared_store, rows, ShuffleOrder(shared_store.blocks(rows), 0, 0), 16, 2, 8, CPU, 0
    ).max_bytes
    free = 0 if room is None else (others + CLIP * room) / residency.HOST_SHARE + 1
    monkeypatch.setattr(residency, "available_memory", lambda _: free if room else 0)
    monkeypatch.setattr(residency, "MIN_STREAM_BUFFER", 4)
    found = fit_stream_buffer(shared_store, rows, config, CPU, asked, workers=0)
    assert found == config.model_copy(update={"stream_buffer": buffer})


def test_a_run_keeps_the_buffer_that_was_fitted_to_the_memory(
    train_request: Callable[..., PretrainRequest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = train_request(tmp_path / "run", residency="stream")
    monkeypatch.setattr(open_run, "fit_stream_buffer", lambda store, rows, config, *_: config.model_copy(
        update={"stream_buffer": 16}))  # fmt: skip
    run = pretrain(request).run
    assert (run.config.stream_buffer, run.origins["stream_buffer"]) == (16, FITTED_ORIGIN)  # type: ignore[index]
    monkeypatch.undo()
    assert pretrain(request).outcome == "up to date"
    with pytest.raises(OutputExists, match="stream_buffer is 16 in the run, 32 was requested"):
        pretrain(train_request(tmp_path / "run", "stream_buffer=32"))

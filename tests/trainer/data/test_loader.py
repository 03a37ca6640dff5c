import numpy as np
import pytest
import torch

from pipeline.errors import ConfigError
from pipeline.recipes.steps.resample import resized
from pipeline.store.batches import pad_clip
from pipeline.store.store import Store
from trainer.data.loader import load_clips


def test_clips_are_in_the_requested_order_resized_and_finite(shared_store: Store) -> None:
    rows = np.array([7, 3, 40, 0])
    clips = load_clips(shared_store, rows, frames=20, bodies=2)
    assert clips.shape == (4, 3, 20, 25, 2)
    assert torch.isfinite(clips).all()
    for place, row in enumerate(rows):
        np.testing.assert_array_equal(clips[place], pad_clip(resized(shared_store.clip(row), 20), 20))


def test_one_body_is_the_first_of_two(shared_store: Store) -> None:
    rows = np.flatnonzero(shared_store.columns["bodies"] == 2)
    both, one = (load_clips(shared_store, rows, 16, bodies) for bodies in (2, 1))
    assert len(rows)
    torch.testing.assert_close(one[..., 0], both[..., 0], rtol=0, atol=0)


def test_clips_that_do_not_fit_in_the_memory_are_refused_with_the_numbers(
    shared_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.data.loader.available_memory", lambda _: 5_000_000_000)
    with pytest.raises(ConfigError, match=r"3 clips of 10,000,000 frames take 18\.00 GB, 5\.00 GB are available"):
        load_clips(shared_store, np.arange(3), 10_000_000, 2)

"""`fit_to_data` and a second body that is rare."""

import numpy as np
import pytest

from pipeline.store.splits import find_split
from pipeline.store.store import Store
from trainer.config.pretrain import PretrainConfig
from trainer.data.holdout import fit_to_data, rare_bodies_notes


@pytest.mark.parametrize(("count", "bodies"), [(0, 1), (1, 1), (2, 2), (200, 2)])
def test_a_second_body_in_less_than_one_per_cent_of_the_clips_is_ignored(
    shared_store: Store, monkeypatch: pytest.MonkeyPatch, count: int, bodies: int
) -> None:
    split = find_split(shared_store, "xsub")
    object.__setattr__(split, "train", np.arange(200))
    columns = {"bodies": np.where(np.arange(200) < count, 2, 1)}
    monkeypatch.setattr(shared_store, "columns", columns)
    requested = PretrainConfig(fit_to_data=True, batch_size=8)
    config, _ = fit_to_data(shared_store, split, requested)
    assert config.bodies == bodies
    notes = rare_bodies_notes(shared_store, split, requested, config)
    assert [note.startswith("bodies = 1: only 1 of 200") for note in notes] == [True] * (count == 1)
    given = PretrainConfig(fit_to_data=True, batch_size=8, bodies=2)
    assert fit_to_data(shared_store, split, given)[0].bodies == 2
    assert rare_bodies_notes(shared_store, split, given, given) == []

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.recipes.steps.resample import resized
from pipeline.store.batches import fill_batch, pad_clip

pytestmark = pytest.mark.kernels


@settings(deadline=None)  # the first call loads compiled code
@given(
    seed=st.integers(0, 999),
    sizes=st.lists(st.tuples(st.integers(1, 3), st.integers(1, 40)), min_size=1, max_size=5),
    frames=st.integers(1, 40),
    bodies=st.integers(1, 3),
    data=st.data(),
)
def test_it_is_padding_what_was_resized_bit_for_bit(
    seed: int, sizes: list[tuple[int, int]], frames: int, bodies: int, data: st.DataObject
) -> None:
    """Clips (M, T, 4, 3) with gaps, one after another as a store has them; any of them, into any places."""
    rng = np.random.default_rng(seed)
    clips = [rng.normal(size=(M, T, 4, 3)).astype(np.float32) for M, T in sizes]
    for clip in clips:
        clip[rng.random(clip.shape[:3]) < 0.2] = np.nan
    columns = np.concatenate([clip.reshape(-1, 4, 3) for clip in clips]).transpose(2, 1, 0)
    store = SimpleNamespace(
        offset=np.concatenate([[0], np.cumsum([M * T for M, T in sizes])]),
        columns={"bodies": np.array([M for M, _ in sizes]), "frames": np.array([T for _, T in sizes])},
        motion=lambda first, last: np.ascontiguousarray(columns[:, :, first:last]),
    )
    rows = np.array(data.draw(st.lists(st.sampled_from(range(len(sizes))), min_size=1, unique=True)))
    places = rng.permutation(len(rows) + 2)[: len(rows)]
    out = np.full((len(rows) + 2, 3, frames, 4, bodies), np.float32(7))
    fill_batch(store, rows, out, places)  # type: ignore[arg-type]
    for row, place in zip(rows, places, strict=True):
        np.testing.assert_array_equal(out[place], pad_clip(resized(clips[row], frames), frames, bodies))
    assert (np.delete(out, places, axis=0) == 7).all()

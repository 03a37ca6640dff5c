"""Show how SkeleMix mixes two clips: both clips, the mixed clip, and the owner of each cell of the feature map."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pipeline.report.clip_view import clip_facts
from pipeline.report.figures import Cells, Figure, Panel
from pipeline.skeleton.layout import Layout
from pipeline.store.store import Store
from trainer.config.method import MixConfig
from trainer.data.loader import load_clips
from trainer.methods.skelemix import Region, draw_region, mix
from trainer.models.encoder import STRIDE

FRAMES, BODIES = 64, 2
"""T and M, as in the presets."""
NOTE = (
    "A cell is one joint over some frames in the encoder's last feature map. The mean over the partner's cells is the "
    "trimmed view, the mean over the other cells the truncated view (masked pooling); each is compared with the key of "
    "the clip that it comes from. The network's kernels cross the border: cells next to it depend on both clips."
)


def mix_figure(store: Store, host: int, partner: int, seed: int = 0) -> Figure:
    """Mix two clips as a training step does, but without augmentation.

    Args:
        store: with both clips.
        host: row of the clip into which joints are pasted.
        partner: row of the clip that the pasted joints come from.
        seed: of the random region.

    Raises:
        ConfigError: the store's layout has too few body parts to mix.
    """
    layout = store.layout
    clips = load_clips(store, np.array([host, partner]), FRAMES, BODIES)
    region = draw_region(layout, MixConfig(), 2, -(-FRAMES // STRIDE), np.random.default_rng(seed))
    assert isinstance(region, Region)
    mixed, mask, _ = mix(clips, region, STRIDE)
    cell_owner = mask.numpy()
    names = store.names[host], store.names[partner]
    owner = cell_owner.repeat(STRIDE, axis=0)[:FRAMES]
    panels = [
        Panel(title=f"A: {names[0]}", xyz=_bodies(clips[0]), owner=np.zeros_like(owner)),
        Panel(title=f"B: {names[1]}", xyz=_bodies(clips[1]), owner=np.ones_like(owner)),
        Panel(title="mixed: B's joints pasted into A", xyz=_bodies(mixed[0]), owner=owner),
    ]
    first, last = region.start * STRIDE + 1, min((region.start + region.frames) * STRIDE, FRAMES)
    facts = [
        ("pasted parts", ", ".join(_part_names(layout, region))),
        ("pasted frames", f"{first} to {last} of {FRAMES}"),
        ("A is", clip_facts(store, host)[0][1]),
        ("B is", clip_facts(store, partner)[0][1]),
        ("seed", str(seed)),
    ]
    cells = Cells(mask=cell_owner, stride=STRIDE, host="A", partner="B", note=NOTE, layout=layout)
    title = f"{names[0]} mixed with {names[1]}"
    return Figure(title=title, layout=layout, panels=panels, facts=facts, cells=cells, loop=(first - 1, last))


def _bodies(clip: Tensor) -> NDArray[np.float32]:
    """Return the bodies (M, T, V, C) of a clip (C, T, V, M), without absent bodies."""
    bodies: NDArray[np.float32] = clip.permute(3, 1, 2, 0).numpy()
    present = [index for index, body in enumerate(bodies) if body.any() or not index]
    return bodies[present]


def _part_names(layout: Layout, region: Region) -> list[str]:
    """Return the names of the body parts that a region pastes."""
    return [part.replace("_", " ") for part, joints in layout.parts.items() if set(joints) <= set(region.joints)]

"""What SkeleMix does to two clips, to look at: both, the mixed one, and whose each cell of the feature map is."""

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
"""T and M of the presets."""
NOTE = (
    "A cell is one joint over some frames in the encoder's last feature map. The mean over the cells of the partner is "
    "the trimmed view, the mean over the others the truncated view (masked pooling); each is held against the key of "
    "the clip that it comes from. The network's kernels reach over the border: cells beside it have seen some of both."
)


def mix_figure(store: Store, host: int, partner: int, seed: int = 0) -> Figure:
    """One mixing of two clips, as a step of pre-training makes it, but for the augmentation before it.

    Args:
        store: of both.
        host: row of the clip into which is pasted.
        partner: row of the clip that the pasted joints come from.
        seed: of the region that is drawn.

    Raises:
        ConfigError: the store's layout has too few parts to mix.
    """
    layout = store.layout
    clips = load_clips(store, np.array([host, partner]), FRAMES, BODIES)
    region = draw_region(layout, MixConfig(), 2, -(-FRAMES // STRIDE), np.random.default_rng(seed))
    assert isinstance(region, Region)
    mixed, mask, _ = mix(clips, region, STRIDE)
    whose = mask.numpy()
    names = store.names[host], store.names[partner]
    owner = whose.repeat(STRIDE, axis=0)[:FRAMES]
    panels = [
        Panel(title=f"A: {names[0]}", xyz=_bodies(clips[0]), owner=np.zeros_like(owner)),
        Panel(title=f"B: {names[1]}", xyz=_bodies(clips[1]), owner=np.ones_like(owner)),
        Panel(title="mixed: B's joints pasted into A", xyz=_bodies(mixed[0]), owner=owner),
    ]
    first, last = region.start * STRIDE + 1, min((region.start + region.frames) * STRIDE, FRAMES)
    told = [
        ("pasted parts", ", ".join(_parts(layout, region))),
        ("pasted frames", f"{first} to {last} of {FRAMES}"),
        ("A is", clip_facts(store, host)[0][1]),
        ("B is", clip_facts(store, partner)[0][1]),
        ("seed", str(seed)),
    ]
    cells = Cells(mask=whose, stride=STRIDE, host="A", partner="B", note=NOTE, layout=layout)
    return Figure(title=f"{names[0]} mixed with {names[1]}", layout=layout, panels=panels, facts=told, cells=cells)


def _bodies(clip: Tensor) -> NDArray[np.float32]:
    """A clip (C, T, V, M) as bodies (M, T, V, C), without those that are absent."""
    bodies: NDArray[np.float32] = clip.permute(3, 1, 2, 0).numpy()
    there = [place for place, body in enumerate(bodies) if body.any() or not place]
    return bodies[there]


def _parts(layout: Layout, region: Region) -> list[str]:
    """Names of the parts that a region pastes."""
    return [part.replace("_", " ") for part, joints in layout.parts.items() if set(joints) <= set(region.joints)]

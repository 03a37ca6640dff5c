"""Bodies of one layout made into bodies of another."""

from dataclasses import replace

import numpy as np

from pipeline import shipped_layouts
from pipeline.convert.takes import Take


def to(take: Take, target: str) -> Take:
    """A take in another layout; a joint is missing when one that it is made of is, and no surer than the least sure.

    Raises:
        LayoutError: there is no table for these two layouts.
    """
    if take.layout == shipped_layouts.load(target):
        return take
    table = shipped_layouts.recast(take.layout.name, target)
    uses = table.weights != 0
    xyz = np.zeros((*take.xyz.shape[:2], *uses.shape[:1], 3))
    sure = None if take.confidence is None else np.empty(xyz.shape[:3], np.float32)
    for joint, parts in enumerate(uses):
        weights, members = table.weights[joint, parts], take.xyz[:, :, parts].astype(np.float64)
        xyz[:, :, joint] = (members * weights[:, None]).sum(axis=2)
        if sure is not None and take.confidence is not None:
            sure[:, :, joint] = take.confidence[:, :, parts].min(axis=2)
    return replace(take, layout=table.target, xyz=xyz.astype(np.float32), confidence=sure)

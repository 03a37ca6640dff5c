"""Data of a clip view: a figure with its moving panels, and the feature-map cells of a mixed clip."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.report import html
from pipeline.skeleton.layout import Layout


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One moving clip of a figure."""

    title: str
    xyz: NDArray[np.float32]
    """(M, T, V, 3) metres; missing joints as in `orientation.is_present`."""
    owner: NDArray[np.bool_] | None = None
    """(T, V) true where another clip's joints were pasted, for colouring; None colours by body part."""
    repaired: NDArray[np.bool_] | None = None
    """(M, T, V) joints that are marked by a ring."""
    note: str = ""

    def motion(self, layout: Layout) -> dict[str, Any]:
        """Encode the panel for the player."""
        data: dict[str, Any] = {"motion": html.encode_motion(self.xyz, layout, ringed=self.repaired)}
        if self.owner is not None:
            data["owner"] = html.encode_base64(self.owner.astype(np.uint8))
        return data


@dataclass(frozen=True, kw_only=True)
class Cells:
    """The assignment of an encoder's feature-map cells to two mixed clips."""

    mask: NDArray[np.bool_]
    """(T', V) true where the partner was pasted."""
    stride: int
    """Input frames per cell."""
    host: str
    partner: str
    note: str
    layout: Layout

    @property
    def times(self) -> int:
        """Number of cells in time, T'."""
        return int(self.mask.shape[0])

    @property
    def pasted(self) -> int:
        """Number of cells of the partner."""
        return int(self.mask.sum())

    @property
    def kept(self) -> int:
        """Number of cells of the host."""
        return int(self.mask.size) - self.pasted

    @property
    def joints(self) -> list[tuple[str, int, list[bool]]]:
        """Name, index and row of cells of every joint, ordered by body part."""
        order = [joint for members in self.layout.parts.values() for joint in members]
        return [(self.layout.joints[joint], joint, self.mask[:, joint].tolist()) for joint in order]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One clip, or one pair of mixed clips: panels that move together."""

    title: str
    """The name of the clip."""
    layout: Layout
    panels: Sequence[Panel]
    heading: str = ""
    """What the clip shows, such as the class; empty: the title."""
    facts: Sequence[tuple[str, str]] = ()
    cells: Cells | None = None
    loop: tuple[int, int] | None = None
    """First frame, and frame after the last, that are played until the user chooses another frame; None: all."""

    @property
    def bodies(self) -> int:
        """Maximum number of bodies in a panel."""
        return max(int(panel.xyz.shape[0]) for panel in self.panels)

    @property
    def frames(self) -> int:
        """Maximum number of frames in a panel."""
        return max(int(panel.xyz.shape[1]) for panel in self.panels)

    @cached_property
    def data(self) -> dict[str, Any]:
        """The data for the page's script."""
        return {
            "skeleton": html.encode_skeleton(self.layout),
            "panels": [panel.motion(self.layout) for panel in self.panels],
            "loop": self.loop,
            "stride": self.cells.stride if self.cells else 1,
        }

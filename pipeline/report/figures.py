"""What is shown of clips: panels in motion that belong together, and whose each cell of a feature map is."""

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
    """(M, T, V, 3) metres; what is missing is as in `stance.known`."""
    owner: NDArray[np.bool_] | None = None
    """(T, V) true where another clip's joints were pasted; coloured by it. None: by part of the body."""
    note: str = ""

    def motion(self, layout: Layout) -> dict[str, Any]:
        """The panel as the player takes it."""
        plain: dict[str, Any] = {"motion": html.motion(self.xyz, layout)}
        if self.owner is not None:
            plain["owner"] = html.packed(self.owner.astype(np.uint8))
        return plain


@dataclass(frozen=True, kw_only=True)
class Cells:
    """Which cells of an encoder's feature map belong to which of two mixed clips."""

    mask: NDArray[np.bool_]
    """(T', V) true where the partner was pasted."""
    stride: int
    """Input frames to a cell."""
    host: str
    partner: str
    note: str
    layout: Layout

    @property
    def times(self) -> int:
        """T'."""
        return int(self.mask.shape[0])

    @property
    def pasted(self) -> int:
        """Cells of the partner."""
        return int(self.mask.sum())

    @property
    def kept(self) -> int:
        """Cells of the host."""
        return int(self.mask.size) - self.pasted

    @property
    def joints(self) -> list[tuple[str, int, list[bool]]]:
        """Name, number and row of cells of every joint, part by part."""
        order = [joint for members in self.layout.parts.values() for joint in members]
        return [(self.layout.joints[joint], joint, self.mask[:, joint].tolist()) for joint in order]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """What is shown of one clip, or of one mixing: panels that move together."""

    title: str
    layout: Layout
    panels: Sequence[Panel]
    facts: Sequence[tuple[str, str]] = ()
    cells: Cells | None = None

    @property
    def bodies(self) -> int:
        """The most bodies that a panel has."""
        return max(int(panel.xyz.shape[0]) for panel in self.panels)

    @property
    def frames(self) -> int:
        """The most frames that a panel has."""
        return max(int(panel.xyz.shape[1]) for panel in self.panels)

    @cached_property
    def data(self) -> dict[str, Any]:
        """What the page's script reads."""
        return {
            "skeleton": html.skeleton(self.layout),
            "panels": [panel.motion(self.layout) for panel in self.panels],
            "stride": self.cells.stride if self.cells else 1,
        }

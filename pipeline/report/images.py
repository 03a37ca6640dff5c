"""Figures of clips as pictures for papers: a strip of poses (.png, .svg, .pdf), or an animation (.gif)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError
from pipeline.files import atomic
from pipeline.report import html
from pipeline.report.figures import Figure, Panel
from pipeline.report.orientation import known, upright

SUFFIXES = (".png", ".svg", ".pdf")
MOST_FRAMES = 300
"""Of an animation; a longer clip loses every second frame, or more."""
YAW, PITCH = -0.35, 0.16
"""Radians by which the one who looks stands beside and above, as on the page."""

# Okabe and Ito's colours, which people of any colour vision tell apart; the page's, too.
PARTS = ("#4a5058", "#0072b2", "#c2540a", "#00856a", "#a8428a", "#7a6200")
HOST, PARTNER = "#0072b2", "#c2540a"
STYLE: Any = {"font.family": "DejaVu Sans", "font.size": 9, "svg.hashsalt": "skelepipe", "svg.fonttype": "path"}


def write_strip(figures: list[Figure], out: Path, poses: int) -> None:
    """Write poses of each figure's panels, a panel a row, evenly through the clip from its first to its last frame.

    Args:
        figures: what is shown, one below the other.
        out: ends in one of SUFFIXES.
        poses: in a row.

    Raises:
        ConfigError: the name ends in something else.
        OutputFailed: the disk refuses.
    """
    if out.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"{out}: expected a name that ends in {', '.join(SUFFIXES)}")
    import matplotlib as mpl  # noqa: PLC0415 (half a second)
    from matplotlib.figure import Figure as Drawing  # noqa: PLC0415

    rows = [(figure, panel) for figure in figures for panel in figure.panels]
    with mpl.rc_context(STYLE):
        drawing = Drawing(figsize=(1.15 * poses, 1.75 * len(rows)), layout="constrained")
        axes = drawing.subplots(len(rows), poses, squeeze=False)
        for row, (figure, panel) in enumerate(rows):
            view = _Seen(figure, panel)
            shown = np.unique(np.linspace(0, panel.xyz.shape[1] - 1, poses).round().astype(int))
            for place, axis in enumerate(axes[row]):
                _bare(axis, view)
                if place < len(shown):
                    view.draw(axis, int(shown[place]))
                    axis.set_xlabel(f"frame {int(shown[place]) + 1}", fontsize=8)
            title = panel.title if len(figures) == 1 else f"{figure.title}, {panel.title}"
            axes[row][0].set_title(title, loc="left", fontsize=9)
        made = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[out.suffix.lower()[1:]]
        atomic.write_file(
            out,
            lambda handle: drawing.savefig(handle, format=out.suffix.lower()[1:], dpi=200, metadata=made),
        )


def write_animation(figures: list[Figure], out: Path) -> None:
    """Write each figure's panels side by side, in motion at the clips' own pace, without end.

    Raises:
        ConfigError: the name does not end in .gif.
        OutputFailed: the disk refuses.
    """
    if out.suffix.lower() != ".gif":
        raise ConfigError(f"{out}: expected a name that ends in .gif")
    frames = max(figure.frames for figure in figures)
    thin = max(2, -(-frames // MOST_FRAMES))  # a GIF counts hundredths of a second: 15 frames are 0.07 each
    pictures = list(_frames(figures, frames, thin))
    pause = round(1000 * thin / html.FRAMES_PER_SECOND / 10) * 10
    atomic.write_file(
        out,
        lambda handle: pictures[0].save(
            handle, "GIF", save_all=True, append_images=pictures[1:], duration=pause, loop=0, disposal=1
        ),
    )


def _frames(figures: list[Figure], frames: int, thin: int) -> Iterator[Any]:
    """The pictures of an animation, in few colours."""
    import matplotlib as mpl  # noqa: PLC0415
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure as Drawing  # noqa: PLC0415
    from PIL import Image  # noqa: PLC0415

    columns = max(len(figure.panels) for figure in figures)
    with mpl.rc_context(STYLE):
        drawing = Drawing(figsize=(2.8 * columns, 3.0 * len(figures)), dpi=100, layout="constrained")
        canvas: Any = FigureCanvasAgg(drawing)
        axes = drawing.subplots(len(figures), columns, squeeze=False)
        shown = [
            (axes[row][column], figure, panel, _Seen(figure, panel))
            for row, figure in enumerate(figures)
            for column, panel in enumerate(figure.panels)
        ]
        for axis in axes.flat:
            axis.set_axis_off()
        for frame in range(0, frames, thin):
            for axis, figure, panel, view in shown:
                axis.clear()
                _bare(axis, view)
                axis.set_title(panel.title if len(figures) == 1 else f"{figure.title}\n{panel.title}", fontsize=9)
                view.draw(axis, min(frame, panel.xyz.shape[1] - 1))
            canvas.draw()
            yield Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3]).quantize(64)


class _Seen:
    """A panel from where the page looks at it: points on paper in metres."""

    def __init__(self, figure: Figure, panel: Panel) -> None:
        self._layout, self._owner = figure.layout, panel.owner
        turned = np.where(known(panel.xyz)[..., None], panel.xyz, np.nan) @ upright(panel.xyz, figure.layout).T
        cos, sin, up, tilt = np.cos(YAW), np.sin(YAW), np.cos(PITCH), np.sin(PITCH)
        across = cos * turned[..., 0] + sin * turned[..., 2]
        towards = -sin * turned[..., 0] + cos * turned[..., 2]
        self._flat: NDArray[np.float64] = np.stack([across, up * turned[..., 1] - tilt * towards], axis=-1)
        seen = self._flat[np.isfinite(self._flat).all(axis=-1)]
        low, high = np.percentile(seen, [0.5, 99.5], axis=0) if len(seen) else (-np.ones(2), np.ones(2))
        self.middle, self.reach = (low + high) / 2, max(0.2, float((high - low).max()) * 0.55)
        self._bones = [(joint, parent) for joint, parent in enumerate(self._layout.parents) if parent >= 0]
        self._of = {joint: place for place, members in enumerate(self._layout.parts.values()) for joint in members}

    def draw(self, axis: Any, frame: int) -> None:
        """Draw one frame's bones and joints."""
        from matplotlib.collections import LineCollection  # noqa: PLC0415

        for body, joints in enumerate(self._flat[:, frame]):
            there = np.isfinite(joints).all(axis=1)
            bones = [(joint, parent) for joint, parent in self._bones if there[joint] and there[parent]]
            axis.add_collection(
                LineCollection(
                    [joints[list(bone)] for bone in bones],
                    colors=[self._colour(frame, joint) for joint, _ in bones],
                    linewidths=1.8 if body == 0 else 1.0,
                    capstyle="round",
                )
            )
            colours = [self._colour(frame, joint) for joint in range(len(joints))]
            face = colours if body == 0 else "white"
            axis.scatter(*joints.T, s=5, facecolors=face, edgecolors=colours, linewidths=0.7, zorder=3)

    def _colour(self, frame: int, joint: int) -> str:
        if self._owner is not None:
            return PARTNER if self._owner[frame, joint] else HOST
        return PARTS[self._of[joint] % len(PARTS)]


def _bare(axis: Any, view: _Seen) -> None:
    """An empty square of the panel's extent, without lines about it."""
    axis.set_xlim(view.middle[0] - view.reach, view.middle[0] + view.reach)
    axis.set_ylim(view.middle[1] - view.reach, view.middle[1] + view.reach)
    axis.set_aspect("equal")
    axis.set_xticks([])
    axis.set_yticks([])
    for side in axis.spines.values():
        side.set_visible(False)

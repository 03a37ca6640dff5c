"""Write clips as images: a strip of poses (.png, .svg, .pdf) or an animation (.gif)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError, printable_name
from pipeline.files import atomic
from pipeline.report.figures import Figure, Panel
from pipeline.report.orientation import is_present, upright_rotation
from pipeline.skeleton.frame_rate import FRAMES_PER_SECOND

SUFFIXES = (".png", ".svg", ".pdf")
MAX_FRAMES = 300
"""Maximum number of frames of an animation; of a longer clip only every second, third, ... frame is shown."""
MAX_MILLISECONDS = 600_000
"""Longest animation; longer clips are shown faster. The GIF format can show one image for at most 655 seconds, and the
encoder joins equal images."""
MAX_LINE_CHARACTERS = 40
"""Characters of a title that fit above a panel of an animation."""
MAX_EXAMINED_FRAMES = 3000
"""Frames of a clip from which its extent and orientation are derived."""
YAW, PITCH = -0.35, 0.16
"""Viewing direction in radians: sideways and from above, as on the page."""

# Colours of Okabe and Ito, distinguishable with any colour vision; the page uses the same.
PART_COLOURS = ("#4a5058", "#0072b2", "#c2540a", "#00856a", "#a8428a", "#7a6200")
HOST_COLOUR, PARTNER_COLOUR = "#0072b2", "#c2540a"
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "svg.hashsalt": "skelepipe",
    "svg.fonttype": "path",
    "text.parse_math": False,  # $ in a name is no formula
}


def write_strip(figures: list[Figure], out: Path, poses: int) -> None:
    """Write one row of poses per panel, at even distances from the first to the last frame.

    Args:
        figures: the figures, from top to bottom.
        out: a file with one of SUFFIXES.
        poses: number of poses in a row.

    Raises:
        ConfigError: the file has another suffix.
        OutputFailed: the disk refuses.
    """
    if out.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"{out}: expected a name that ends in {', '.join(SUFFIXES)}")
    import matplotlib as mpl  # noqa: PLC0415 (takes half a second)
    from matplotlib.figure import Figure as MplFigure  # noqa: PLC0415

    rows = [(figure, panel) for figure in figures for panel in figure.panels]
    with mpl.rc_context(STYLE):
        mpl_figure = MplFigure(figsize=(1.15 * poses, 1.75 * len(rows)), layout="constrained")
        strips = mpl_figure.subfigures(len(rows), 1, squeeze=False)[:, 0]
        for strip, (figure, panel) in zip(strips, rows, strict=True):
            # The title belongs to the whole row: above one pose it would widen that pose's column.
            strip.suptitle(", ".join(_titles(figures, figure, panel))[: 14 * poses], x=0.01, ha="left", fontsize=9)
            axes = strip.subplots(1, poses, squeeze=False)[0]
            projected = _ProjectedPanel(figure, panel)
            shown = np.unique(np.linspace(0, panel.xyz.shape[1] - 1, poses).round().astype(int))
            for column, axis in enumerate(axes):
                _clear_axis(axis, projected)
                if column < len(shown):
                    projected.plot(axis, int(shown[column]))
                    axis.set_xlabel(f"frame {int(shown[column]) + 1}", fontsize=8)
        metadata = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[out.suffix.lower()[1:]]
        atomic.write_file(
            out,
            lambda handle: mpl_figure.savefig(handle, format=out.suffix.lower()[1:], dpi=200, metadata=metadata),
        )


def write_animation(figures: list[Figure], out: Path) -> None:
    """Write an endless animation with each figure's panels side by side, at the original speed if it is short enough.

    Raises:
        ConfigError: the name does not end in .gif.
        OutputFailed: the disk refuses.
    """
    if out.suffix.lower() != ".gif":
        raise ConfigError(f"{out}: expected a name that ends in .gif")
    frames = max(figure.frames for figure in figures)
    # GIF durations are multiples of 0.01 s: at 15 frames per second each frame lasts 0.07 s.
    thin = max(2, -(-frames // MAX_FRAMES))
    images = list(_frames(figures, frames, thin))
    pause = round(1000 * thin / FRAMES_PER_SECOND / 10) * 10
    pause = min(pause, MAX_MILLISECONDS // len(images) // 10 * 10)
    atomic.write_file(
        out,
        lambda handle: images[0].save(
            handle, "GIF", save_all=True, append_images=images[1:], duration=pause, loop=0, disposal=1
        ),
    )


def _frames(figures: list[Figure], frames: int, thin: int) -> Iterator[Any]:
    """Render the images of an animation, with 64 colours."""
    import matplotlib as mpl  # noqa: PLC0415
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure as MplFigure  # noqa: PLC0415
    from PIL import Image  # noqa: PLC0415

    columns = max(len(figure.panels) for figure in figures)
    with mpl.rc_context(STYLE):
        mpl_figure = MplFigure(figsize=(2.8 * columns, 3.0 * len(figures)), dpi=100, layout="constrained")
        canvas: Any = FigureCanvasAgg(mpl_figure)
        axes = mpl_figure.subplots(len(figures), columns, squeeze=False)
        shown = [
            (axes[row][column], figure, panel, _ProjectedPanel(figure, panel))
            for row, figure in enumerate(figures)
            for column, panel in enumerate(figure.panels)
        ]
        for axis in axes.flat:
            axis.set_axis_off()
        for frame in range(0, frames, thin):
            for axis, figure, panel, projected in shown:
                axis.clear()
                _clear_axis(axis, projected)
                lines = [title[:MAX_LINE_CHARACTERS] for title in _titles(figures, figure, panel)]
                axis.set_title("\n".join(lines), fontsize=9)
                projected.plot(axis, min(frame, panel.xyz.shape[1] - 1))
            canvas.draw()
            yield Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3]).quantize(64)


def _titles(figures: list[Figure], figure: Figure, panel: Panel) -> list[str]:
    """Return the title of a panel, after that of its figure if there are several; without control characters."""
    titles = [panel.title] if len(figures) == 1 else [figure.title, panel.title]
    return [printable_name(title) for title in titles]


class _ProjectedPanel:
    """A panel projected to two dimensions, in metres, from the viewing direction of the page."""

    def __init__(self, figure: Figure, panel: Panel) -> None:
        self._layout, self._owner, self._xyz = figure.layout, panel.owner, panel.xyz
        examined = panel.xyz[:, :: max(1, panel.xyz.shape[1] // MAX_EXAMINED_FRAMES)]
        self._rotation = upright_rotation(examined, figure.layout)
        flat = self._project(examined)
        finite = flat[np.isfinite(flat).all(axis=-1)]
        low, high = np.percentile(finite, [0.5, 99.5], axis=0) if len(finite) else (-np.ones(2), np.ones(2))
        self.middle, self.reach = (low + high) / 2, max(0.2, float((high - low).max()) * 0.55)
        self._bones = [(joint, parent) for joint, parent in enumerate(self._layout.parents) if parent >= 0]
        self._part_of = {joint: index for index, members in enumerate(self._layout.parts.values()) for joint in members}

    def _project(self, xyz: NDArray[np.float32]) -> NDArray[np.float64]:
        """Project joints (M, T, V, 3) to (M, T, V, 2); missing ones are NaN."""
        rotated = np.where(is_present(xyz)[..., None], xyz, np.nan) @ self._rotation.T
        cos, sin, up, tilt = np.cos(YAW), np.sin(YAW), np.cos(PITCH), np.sin(PITCH)
        horizontal = cos * rotated[..., 0] + sin * rotated[..., 2]
        depth = -sin * rotated[..., 0] + cos * rotated[..., 2]
        flat: NDArray[np.float64] = np.stack([horizontal, up * rotated[..., 1] - tilt * depth], axis=-1)
        return flat

    def plot(self, axis: Any, frame: int) -> None:
        """Plot the bones and joints of one frame."""
        from matplotlib.collections import LineCollection  # noqa: PLC0415

        for body, joints in enumerate(self._project(self._xyz[:, frame : frame + 1])[:, 0]):
            present = np.isfinite(joints).all(axis=1)
            bones = [(joint, parent) for joint, parent in self._bones if present[joint] and present[parent]]
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
            return PARTNER_COLOUR if self._owner[frame, joint] else HOST_COLOUR
        return PART_COLOURS[self._part_of[joint] % len(PART_COLOURS)]


def _clear_axis(axis: Any, projected: _ProjectedPanel) -> None:
    """Set the axis to the panel's extent, and hide its ticks and frame."""
    axis.set_xlim(projected.middle[0] - projected.reach, projected.middle[0] + projected.reach)
    axis.set_ylim(projected.middle[1] - projected.reach, projected.middle[1] + projected.reach)
    axis.set_aspect("equal")
    axis.set_xticks([])
    axis.set_yticks([])
    for side in axis.spines.values():
        side.set_visible(False)

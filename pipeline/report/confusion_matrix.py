"""The confusion matrix of reports, from 2 to some hundred classes."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch, PathPatch
from matplotlib.path import Path
from numpy.typing import NDArray

from pipeline.errors import one_line
from pipeline.report.svg import (
    HOVER,
    NARROW,
    SENTINELS,
    SMALL,
    WIDE,
    WIDTH,
    Role,
    SvgChart,
    render_svg,
    shorten,
    width_of,
)

MAX_HOVER_CELLS = 400
"""Cells that show their value on hover, those with the most clips first."""
NUMBER_PIXELS = 26
"""Size of a cell from which its number of clips is written in it."""
LABEL_PIXELS = 15
"""Distance of two labels of an axis that can be read."""
NAME_CHARACTERS = 20
"""Maximum length of a class name at an axis."""
SCALE = (0.1, 0.5, 1.0)
"""Shares of a class whose colours the legend shows."""
ROLES: tuple[tuple[Role, str], ...] = (("accent", "correct"), ("bad", "wrong"))
LEVELS = 10
"""Number of colours, each for correct and wrong predictions."""


def draw_confusion_matrix(title: str, counts: NDArray[np.int64], labels: Sequence[str]) -> SvgChart:
    """Plot a confusion matrix: a stronger colour means a larger share of the true class (row).

    Correct and wrong predictions have different colours. Numbers of clips and class names are written where there is
    room; if not, the axes show the first word of the labels, such as A006.

    Args:
        title: the title, also for screen readers.
        counts: (C, C) clips; rows are true classes, columns predicted classes.
        labels: C class titles, such as `A006 pickup`.
    """
    count = len(counts)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    size = int(np.clip(200 + 30 * count, WIDTH, WIDE))

    def plot(axes: Axes) -> None:
        _plot_cells(axes, shares)
        names = [shorten(label, NAME_CHARACTERS) for label in labels]
        names_room = 7 * max(map(len, names), default=0) + 50
        is_named = (width_of(axes) - names_room) / count >= LABEL_PIXELS
        if not is_named:
            names = [shorten(label.split(" ")[0] or label, 6) for label in labels]
            names_room = 100
        cell = (width_of(axes) - names_room) / count
        if cell >= NUMBER_PIXELS:
            for row, column in zip(*np.nonzero(counts), strict=True):
                shade = SENTINELS["paper" if shares[row, column] > 0.55 else "ink"]
                axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=shade, fontsize=SMALL)
        for row, column in _largest_cells(counts):
            about = f"{one_line(labels[row])}, predicted as {one_line(labels[column])}"
            unit = "clip" if counts[row, column] == 1 else "clips"
            text = f"{about}: {counts[row, column]:,} {unit}, {100 * shares[row, column]:.0f} %"
            square = _squares(np.array([column]), np.array([row]))
            axes.add_patch(PathPatch(square, alpha=0, linewidth=0, gid=f"{HOVER}{text}"))
        axes.set_xlim(-0.5, count - 0.5)
        axes.set_ylim(count - 0.5, -0.5)
        axes.set_aspect("equal")
        axes.grid(visible=False)
        for side in ("top", "right"):
            axes.spines[side].set_visible(True)
        step = next(step for step in (1, 2, 5, 10, 20, 50, 100, count) if step * cell >= LABEL_PIXELS or step >= count)
        ticks = range(0, count, step)
        axes.set_xticks(ticks, [names[tick] for tick in ticks], rotation=90, fontsize=SMALL)
        axes.set_yticks(ticks, [names[tick] for tick in ticks], fontsize=SMALL)
        axes.set_xlabel("predicted class")
        axes.set_ylabel("true class")
        _add_scale(axes)

    right = int(np.trace(counts))
    description = f"{count} classes, {right} of {int(counts.sum())} clips on the diagonal (correct)"
    numbers = [["true class", *labels], *([label, *row] for label, row in zip(labels, counts.tolist(), strict=True))]
    return render_svg(title, description, plot, numbers, size, size + 30, keeps_shape=True)


def _plot_cells(axes: Axes, shares: NDArray[np.float64]) -> None:
    # Cells of the same colour are one path: a matrix of 120 classes has thousands.
    levels = np.ceil(LEVELS * np.sqrt(shares)).astype(int)
    diagonal = np.eye(len(shares), dtype=bool)
    for level in range(1, LEVELS + 1):
        for is_diagonal, colour in ((diagonal, SENTINELS["accent"]), (~diagonal, SENTINELS["bad"])):
            rows, predicted = np.nonzero((levels == level) & is_diagonal)
            if len(rows):
                cells = PathPatch(_squares(predicted, rows), facecolor=colour, alpha=_opacity(level), linewidth=0)
                axes.add_patch(cells)


def _opacity(level: int) -> float:
    return 0.05 + 0.95 * level / LEVELS


def _add_scale(axes: Axes) -> None:
    """Add a legend of the colours: shares of the true class, correct and wrong."""
    is_narrow = width_of(axes) <= NARROW  # a legend is filled column by column
    order = (
        [(share, role) for role in ROLES for share in SCALE]
        if is_narrow
        else [(share, role) for share in SCALE for role in ROLES]
    )
    handles = [
        Patch(
            facecolor=SENTINELS[role],
            alpha=_opacity(int(np.ceil(LEVELS * share**0.5))),
            label=f"{100 * share:.0f} % {name}",
        )
        for share, (role, name) in order
    ]
    columns = 2 if is_narrow else 3
    axes.figure.legend(handles=handles, loc="outside upper left", ncols=columns, columnspacing=1, handlelength=1)


def _largest_cells(counts: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return row and column of the cells with the most clips, at most MAX_HOVER_CELLS."""
    order = np.argsort(-counts, axis=None, kind="stable")[:MAX_HOVER_CELLS]
    cells = zip(*np.unravel_index(order, counts.shape), strict=True)
    return [(int(row), int(column)) for row, column in cells if counts[row, column]]


def _squares(columns: NDArray[np.int64], rows: NDArray[np.int64]) -> Path:
    """Return one path of the cells at these columns and rows."""
    corners = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5)])
    vertices = (np.stack([columns, rows], axis=1)[:, None] + corners).reshape(-1, 2)
    codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY] * len(rows)
    return Path(vertices, codes)

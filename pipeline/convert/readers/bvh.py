"""BVH: a tree of joints with offsets and channels, and their values frame by frame, to positions of joints."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.convert.readers import bvh_limbs
from pipeline.convert.take import ConvertedClip, FoundRecording, Options, content
from pipeline.errors import LayoutError, RawFileError
from pipeline.skeleton.layout import MAX_JOINTS
from pipeline.sources.folder.skeleton_toml import AXES

MOST_BYTES = 128 << 20
"""Of one file: six minutes of a hundred joints at 120 frames a second."""
PER_METRE = {"m": 1.0, "cm": 100.0, "mm": 1000.0, "inch": 1 / 0.0254}
TALL = 1.7
"""Metres that somebody is taken to be tall who stands as the offsets have it."""
_TURNS = ("Xrotation", "Yrotation", "Zrotation")
_MOVES = ("Xposition", "Yposition", "Zposition")
_CHANNELS = {name.casefold(): name for name in (*_TURNS, *_MOVES)}


@dataclass(slots=True)
class Node:
    """A joint of the tree, or the end of a branch."""

    name: str
    parent: int
    """-1 for the root."""
    offset: NDArray[np.float64]
    channels: list[str] = field(default_factory=list)
    """In the order in which their values stand, and rotations are applied from the outside in."""


def read(found: FoundRecording, options: Options) -> ConvertedClip:
    """One recording of one person.

    Raises:
        Unreadable: it is too large.
        RawFileError: it is no BVH, it is cut short, or its tree shows no left and right arms and legs.
    """
    file = found.file
    nodes, values, rate = parse(content(file, MOST_BYTES).decode("utf-8-sig", "replace"), str(file))
    xyz = positions(nodes, values)
    up = options.up or "y"
    turned = np.stack([sign * xyz[..., axis] for axis, sign in AXES[up]], axis=-1)  # type: ignore[index]
    rest = positions(nodes, np.zeros((1, values.shape[1])))[0]
    high = float(np.ptp(rest, axis=0).max())
    units = options.units or _units(high)
    notes = (
        []
        if options.units
        else [f"units taken to be {units}: as they lie, people are {high / PER_METRE[units]:.1f} m large"]
    )
    try:
        layout = options.skeleton or bvh_limbs.limbs_of_tree(
            [node.name for node in nodes], [node.parent for node in nodes]
        )
    except LayoutError as error:
        raise RawFileError(str(file), 0, str(error)) from error
    if options.skeleton and [node.name for node in nodes] != list(layout.joints):
        raise RawFileError(str(file), 0, f"has other joints than the skeleton: {', '.join(n.name for n in nodes)}")
    metres = (turned / PER_METRE[units]).astype(np.float32)
    return ConvertedClip(layout=layout, xyz=metres[None], rate=rate, notes=tuple(notes))


def _units(high: float) -> str:
    """The unit in which a body is nearest to a person's size."""
    if not high > 0:
        return "m"
    return min(PER_METRE, key=lambda unit: abs(np.log(high / PER_METRE[unit] / TALL)))


def parse(text: str, source: str) -> tuple[list[Node], NDArray[np.float64], float]:
    """Take a BVH apart.

    Returns:
        The nodes, parents first, (T, channels) values in degrees and units, and frames a second.

    Raises:
        RawFileError: it is no BVH; with the line.
    """
    lines = text.splitlines()
    words = _words(lines)

    def expect(*wanted: str) -> tuple[str, int]:
        word, line = next(words, ("", len(lines)))
        if word.upper() not in wanted:
            found = f"found {word[:40]!r}" if word else "it ends here"
            raise RawFileError(source, line, f"expected {' or '.join(wanted)}, {found}")
        return word.upper(), line

    def number() -> float:
        word, line = next(words, ("", len(lines)))
        if not _NUMBER.fullmatch(word):
            raise RawFileError(source, line, f"{word[:40]!r} is not a number")
        return float(word)

    def called(line: int) -> str:
        return " ".join(word for word in _WORD.findall(lines[line - 1])[1:] if word != "{")

    nodes: list[Node] = []
    open_at: list[int] = []
    expect("HIERARCHY")
    keyword, line = expect("ROOT")
    while True:
        if keyword in ("ROOT", "JOINT", "END"):
            parent = open_at[-1] if open_at else -1
            name = f"{nodes[parent].name}_end" if keyword == "END" else called(line)
            while (word := next(words, ("", len(lines))))[0] not in ("{", ""):
                pass
            if not name or not word[0]:
                raise RawFileError(source, line, f"{keyword} without a name or a {{")
            if len(nodes) == MAX_JOINTS:
                raise RawFileError(source, line, f"more than {MAX_JOINTS} joints")
            expect("OFFSET")
            nodes.append(Node(name, parent, np.array([number() for _ in range(3)])))
            open_at.append(len(nodes) - 1)
        elif keyword == "CHANNELS":
            count = number()
            if count not in range(7):
                raise RawFileError(source, line, f"{count:g} channels, expected at most 6")
            for _ in range(int(count)):
                channel, at = next(words, ("", len(lines)))
                if channel.casefold() not in _CHANNELS:
                    known = ", ".join(_CHANNELS.values())
                    raise RawFileError(source, at, f"{channel[:40]!r} is no channel; {known} are")
                nodes[open_at[-1]].channels.append(_CHANNELS[channel.casefold()])
        elif keyword == "}":
            open_at.pop()
        keyword, line = expect("JOINT", "END", "CHANNELS", "}") if open_at else expect("MOTION", "ROOT")
        if keyword == "ROOT":
            raise RawFileError(source, line, "has a second ROOT; write a file for each person")
        if keyword == "MOTION":
            break
    names = [node.name for node in nodes]
    if twice := [name for at, name in enumerate(names) if name in names[:at]]:
        raise RawFileError(source, 0, f"two joints are called {twice[0]}")
    return nodes, *_motion(lines, line, sum(len(node.channels) for node in nodes), source)


_WORD = re.compile(r"[{}]|[^\s{}]+")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?")


def _words(lines: list[str]) -> Iterator[tuple[str, int]]:
    """The words of the hierarchy with their lines, braces apart, up to MOTION."""
    for number, line in enumerate(lines, start=1):
        for word in _WORD.findall(line):
            yield word, number
            if word.upper() == "MOTION":
                return


def _motion(lines: list[str], start: int, channels: int, source: str) -> tuple[NDArray[np.float64], float]:
    """The values below MOTION, which stands in line `start`, and the frames a second."""
    facts: dict[str, float] = {}
    at = start
    for name, pattern in (("frames", r"\s*Frames\s*:\s*(\d{1,9})\s*"), ("time", r"\s*Frame\s*Time\s*:\s*(\S+)\s*")):
        while at < len(lines) and not lines[at].strip():
            at += 1
        match = re.fullmatch(pattern, lines[at], re.IGNORECASE) if at < len(lines) else None
        if match is None or not _NUMBER.fullmatch(match[1]):
            raise RawFileError(
                source, at + 1, "expected " + ("Frames: N" if name == "frames" else "Frame Time: seconds")
            )
        facts[name] = float(match[1])
        at += 1
    rows: list[NDArray[np.float64]] = []
    for number in range(at, len(lines)):
        if not (words := lines[number].split()):
            continue
        if len(words) != channels:
            raise RawFileError(source, number + 1, f"{len(words)} values, the joints have {channels} channels")
        try:
            row = np.array(words, np.float64)
        except ValueError as error:
            raise RawFileError(source, number + 1, f"a value is not a number: {str(error)[:60]}") from error
        if not np.isfinite(row).all():
            raise RawFileError(source, number + 1, "a value is not finite")
        rows.append(row)
    if not rows or len(rows) != facts["frames"]:
        cut = "; it is cut short" if len(rows) < facts["frames"] else ""
        raise RawFileError(source, len(lines), f"{len(rows)} frames, it says {facts['frames']:.0f}{cut}")
    if not 0 < facts["time"] <= 10:
        raise RawFileError(source, at, f"a frame time of {facts['time']:g} s")
    return np.array(rows), 1 / facts["time"]


def positions(nodes: list[Node], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Forward kinematics: (T, channels) to (T, nodes, 3), in the file's units and axes.

    A joint's rotations are applied in the order of its channels, each about an axis of the one before. The root's
    position is added to its offset; so is another joint's, unless it is nearer to the offset than to nothing: then the
    tool writes where the joint is, not how far it has moved.
    """
    T = len(values)
    xyz = np.zeros((T, len(nodes), 3))
    turned: list[NDArray[np.float64]] = []
    column = 0
    for at, node in enumerate(nodes):
        turn, move = np.broadcast_to(np.eye(3), (T, 3, 3)), np.zeros((T, 3))
        for channel in node.channels:
            value = values[:, column]
            column += 1
            if channel in _MOVES:
                move[:, _MOVES.index(channel)] = value
            else:
                turn = turn @ _about(_TURNS.index(channel), np.deg2rad(value))
        is_place = (
            node.parent >= 0 and np.linalg.norm(move - node.offset, axis=1).mean() < np.linalg.norm(move, axis=1).mean()
        )
        step = move if is_place else node.offset + move
        if node.parent < 0:
            xyz[:, at] = step
            turned.append(turn)
            continue
        over = turned[node.parent]
        xyz[:, at] = xyz[:, node.parent] + (over @ step[..., None])[..., 0]
        turned.append(over @ turn)
    return xyz


def _about(axis: int, angle: NDArray[np.float64]) -> NDArray[np.float64]:
    """(T, 3, 3) rotations about an axis by (T,) radians."""
    turn = np.zeros((len(angle), 3, 3))
    a, b = (axis + 1) % 3, (axis + 2) % 3
    turn[:, axis, axis] = 1
    turn[:, a, a] = turn[:, b, b] = np.cos(angle)
    turn[:, a, b], turn[:, b, a] = -np.sin(angle), np.sin(angle)
    return turn

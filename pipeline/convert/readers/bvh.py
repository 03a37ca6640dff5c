"""Read BVH motion capture: parse the joint tree and its channels, and compute positions by forward kinematics."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.convert.readers import bvh_limbs
from pipeline.convert.tool import ConvertedClip, FoundRecording, Options, read_content
from pipeline.errors import LayoutError, RawFileError
from pipeline.skeleton.layout import MAX_JOINTS
from pipeline.sources.folder.skeleton_toml import AXES

MAX_BYTES = 128 << 20
"""Maximum file size: six minutes of a hundred joints at 120 frames per second."""
PER_METRE = {"m": 1.0, "cm": 100.0, "mm": 1000.0, "inch": 1 / 0.0254}
BODY_HEIGHT = 1.7
"""Assumed height, in metres, of the body in the rest pose of the offsets."""
_ROTATIONS = ("Xrotation", "Yrotation", "Zrotation")
_POSITIONS = ("Xposition", "Yposition", "Zposition")
_CHANNELS = {name.casefold(): name for name in (*_ROTATIONS, *_POSITIONS)}


@dataclass(slots=True)
class Node:
    """A joint of the tree, or an end site."""

    name: str
    parent: int
    """-1 for the root."""
    offset: NDArray[np.float64]
    channels: list[str] = field(default_factory=list)
    """In the order of their values in the file; the first rotation is the outermost."""


def read(found: FoundRecording, options: Options) -> ConvertedClip:
    """Read one recording of one person.

    Raises:
        Unreadable: it is too large.
        RawFileError: it is not BVH, it is truncated, or its tree has no recognisable arms and legs.
    """
    file = found.file
    nodes, values, rate = parse(read_content(file, MAX_BYTES).decode("utf-8-sig", "replace"), str(file))
    xyz = positions(nodes, values)
    up = options.up or "y"
    rotated = np.stack([sign * xyz[..., axis] for axis, sign in AXES[up]], axis=-1)  # type: ignore[index]
    rest = positions(nodes, np.zeros((1, values.shape[1])))[0]
    height = float(np.ptp(rest, axis=0).max())
    units = options.units or _guess_units(height)
    notes = (
        []
        if options.units
        else [f"units are assumed to be {units}: the rest pose is then {height / PER_METRE[units]:.1f} m large"]
    )
    try:
        layout = options.skeleton or bvh_limbs.limbs_of_tree(
            [node.name for node in nodes], [node.parent for node in nodes]
        )
    except LayoutError as error:
        raise RawFileError(str(file), 0, str(error)) from error
    if options.skeleton and [node.name for node in nodes] != list(layout.joints):
        raise RawFileError(
            str(file), 0, f"its joints differ from those of --skeleton: {', '.join(n.name for n in nodes)}"
        )
    metres = (rotated / PER_METRE[units]).astype(np.float32)
    return ConvertedClip(layout=layout, xyz=metres[None], rate=rate, notes=tuple(notes))


def _guess_units(height: float) -> str:
    """Return the unit in which the body's size is closest to that of a person."""
    if not height > 0:
        return "m"
    return min(PER_METRE, key=lambda unit: abs(np.log(height / PER_METRE[unit] / BODY_HEIGHT)))


def parse(text: str, source: str) -> tuple[list[Node], NDArray[np.float64], float]:
    """Parse the text of a BVH file.

    Returns:
        The nodes, parents first; (T, channels) values in degrees and length units; and frames per second.

    Raises:
        RawFileError: it is not BVH; with the line.
    """
    lines = text.splitlines()
    words = _hierarchy_words(lines)

    def expect(*keywords: str) -> tuple[str, int]:
        word, line = next(words, ("", len(lines)))
        if word.upper() not in keywords:
            found = f"found {word[:40]!r}" if word else "found the end of the file"
            raise RawFileError(source, line, f"expected {' or '.join(keywords)}, {found}")
        return word.upper(), line

    def number() -> float:
        word, line = next(words, ("", len(lines)))
        if not _NUMBER.fullmatch(word):
            raise RawFileError(source, line, f"{word[:40]!r} is not a number")
        return float(word)

    def node_name(line: int) -> str:
        return " ".join(word for word in _WORD.findall(lines[line - 1])[1:] if word != "{")

    nodes: list[Node] = []
    open_nodes: list[int] = []
    expect("HIERARCHY")
    keyword, line = expect("ROOT")
    while True:
        if keyword in ("ROOT", "JOINT", "END"):
            parent = open_nodes[-1] if open_nodes else -1
            name = f"{nodes[parent].name}_end" if keyword == "END" else node_name(line)
            while (word := next(words, ("", len(lines))))[0] not in ("{", ""):
                pass
            if not name or not word[0]:
                raise RawFileError(source, line, f"{keyword} without a name or a {{")
            if len(nodes) == MAX_JOINTS:
                raise RawFileError(source, line, f"more than {MAX_JOINTS} joints")
            expect("OFFSET")
            nodes.append(Node(name, parent, np.array([number() for _ in range(3)])))
            open_nodes.append(len(nodes) - 1)
        elif keyword == "CHANNELS":
            count = number()
            if count not in range(7):
                raise RawFileError(source, line, f"{count:g} channels, expected at most 6")
            for _ in range(int(count)):
                channel, channel_line = next(words, ("", len(lines)))
                if channel.casefold() not in _CHANNELS:
                    known = ", ".join(_CHANNELS.values())
                    raise RawFileError(source, channel_line, f"{channel[:40]!r} is not a channel; expected {known}")
                nodes[open_nodes[-1]].channels.append(_CHANNELS[channel.casefold()])
        elif keyword == "}":
            open_nodes.pop()
        keyword, line = expect("JOINT", "END", "CHANNELS", "}") if open_nodes else expect("MOTION", "ROOT")
        if keyword == "ROOT":
            raise RawFileError(source, line, "has a second ROOT; write one file per person")
        if keyword == "MOTION":
            break
    names = [node.name for node in nodes]
    if duplicates := [name for index, name in enumerate(names) if name in names[:index]]:
        raise RawFileError(source, 0, f"two joints are called {duplicates[0]}")
    return nodes, *_motion(lines, line, sum(len(node.channels) for node in nodes), source)


_WORD = re.compile(r"[{}]|[^\s{}]+")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?")


def _hierarchy_words(lines: list[str]) -> Iterator[tuple[str, int]]:
    """Yield the words and braces of the hierarchy with their line numbers, up to MOTION."""
    for number, line in enumerate(lines, start=1):
        for word in _WORD.findall(line):
            yield word, number
            if word.upper() == "MOTION":
                return


def _motion(lines: list[str], start: int, channels: int, source: str) -> tuple[NDArray[np.float64], float]:
    """Parse the values after MOTION, which is in line `start`; return them and the frames per second."""
    header: dict[str, float] = {}
    index = start
    for name, pattern in (("frames", r"\s*Frames\s*:\s*(\d{1,9})\s*"), ("time", r"\s*Frame\s*Time\s*:\s*(\S+)\s*")):
        while index < len(lines) and not lines[index].strip():
            index += 1
        match = re.fullmatch(pattern, lines[index], re.IGNORECASE) if index < len(lines) else None
        if match is None or not _NUMBER.fullmatch(match[1]):
            raise RawFileError(
                source, index + 1, "expected " + ("Frames: N" if name == "frames" else "Frame Time: seconds")
            )
        header[name] = float(match[1])
        index += 1
    rows: list[NDArray[np.float64]] = []
    for number in range(index, len(lines)):
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
    if not rows or len(rows) != header["frames"]:
        truncated = "; the file is truncated" if len(rows) < header["frames"] else ""
        raise RawFileError(source, len(lines), f"{len(rows)} frames, expected {header['frames']:.0f}{truncated}")
    if not 0 < header["time"] <= 10:
        raise RawFileError(source, index, f"a frame time of {header['time']:g} s")
    return np.array(rows), 1 / header["time"]


def positions(nodes: list[Node], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute joint positions by forward kinematics: (T, channels) to (T, nodes, 3), in the file's units and axes.

    A joint's rotations are applied in the order of its channels, each about an axis that the previous ones have
    rotated. The root's position channels are added to its offset. So are those of other joints, unless they are on
    average nearer to the offset than to zero: then the tool writes absolute positions, which replace the offset.
    """
    T = len(values)
    xyz = np.zeros((T, len(nodes), 3))
    rotations: list[NDArray[np.float64]] = []
    column = 0
    for index, node in enumerate(nodes):
        rotation, move = np.broadcast_to(np.eye(3), (T, 3, 3)), np.zeros((T, 3))
        for channel in node.channels:
            value = values[:, column]
            column += 1
            if channel in _POSITIONS:
                move[:, _POSITIONS.index(channel)] = value
            else:
                rotation = rotation @ _axis_rotation(_ROTATIONS.index(channel), np.deg2rad(value))
        is_absolute = (
            node.parent >= 0 and np.linalg.norm(move - node.offset, axis=1).mean() < np.linalg.norm(move, axis=1).mean()
        )
        step = move if is_absolute else node.offset + move
        if node.parent < 0:
            xyz[:, index] = step
            rotations.append(rotation)
            continue
        parent_rotation = rotations[node.parent]
        xyz[:, index] = xyz[:, node.parent] + (parent_rotation @ step[..., None])[..., 0]
        rotations.append(parent_rotation @ rotation)
    return xyz


def _axis_rotation(axis: int, angle: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (T, 3, 3) rotations about an axis by (T,) radians."""
    rotation = np.zeros((len(angle), 3, 3))
    a, b = (axis + 1) % 3, (axis + 2) % 3
    rotation[:, axis, axis] = 1
    rotation[:, a, a] = rotation[:, b, b] = np.cos(angle)
    rotation[:, a, b], rotation[:, b, a] = -np.sin(angle), np.sin(angle)
    return rotation

"""Skeleton layouts: joints, their parents and body parts. No other file knows joint numbers.

Axis legend for the whole code base: N sample, C coordinate (x, y, z), T frame, V joint, M body. A batch is
(N, C, T, V, M).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.errors import LayoutError
from pipeline.suggest import did_you_mean

MAX_JOINTS = 1000
"""Largest number of joints of a layout; whole-body models have a few hundred."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """A skeleton layout; joints are numbered from 0 in the order of `joints`."""

    name: str
    joints: tuple[str, ...]
    parents: tuple[int, ...]
    """The parent of each joint; -1 for the root."""
    parts: Mapping[str, tuple[int, ...]]
    """The body parts that SkeleMix cuts; every joint is in exactly one."""
    centre: int
    """The joint that gives the position of a body."""
    spine: tuple[int, int]
    """Lower and upper end of the trunk; they give the upward direction."""
    shoulders: tuple[int, int]
    """Left and right shoulder; they give the direction that the body faces."""

    def __post_init__(self) -> None:
        """Check that the layout is consistent.

        Raises:
            LayoutError: a duplicate joint name, a joint in no part or in two, not exactly one root, a cycle, or an
                unknown joint.
        """
        count = len(self.joints)
        if count > MAX_JOINTS:
            raise LayoutError(f"layout {self.name}: {count} joints, expected at most {MAX_JOINTS}")
        if repeated := [name for index, name in enumerate(self.joints) if name in self.joints[:index]]:
            raise LayoutError(f"layout {self.name}: two joints share a name: {', '.join(repeated)}")
        if len(self.parents) != count:
            raise LayoutError(f"layout {self.name}: {count} joints but {len(self.parents)} parents")
        used = (self.centre, *self.spine, *self.shoulders, *(joint for part in self.parts.values() for joint in part))
        for joint in (*used, *(parent for parent in self.parents if parent != -1)):
            if not 0 <= joint < count:
                raise LayoutError(f"layout {self.name}: there is no joint {joint}; joints are 0..{count - 1}")
        for name in self.joints:
            self._require_no_cycle(name)
        roots = [name for name, parent in zip(self.joints, self.parents, strict=True) if parent == -1]
        if len(roots) != 1:
            raise LayoutError(
                f"layout {self.name}: exactly one joint has no parent, found {', '.join(roots) or 'none'}"
            )
        parts_of_joint: list[list[str]] = [[] for _ in self.joints]
        for part, members in self.parts.items():
            for member in members:
                parts_of_joint[member].append(part)
        for name, parts in zip(self.joints, parts_of_joint, strict=True):
            if len(parts) != 1:
                found = "no part" if not parts else "parts " + ", ".join(parts)
                raise LayoutError(f"layout {self.name}: joint {name} is in {found}; every joint belongs to exactly one")
        if empty := [part for part, members in self.parts.items() if not members]:
            raise LayoutError(f"layout {self.name}: part {', '.join(empty)} has no joint")

    def _require_no_cycle(self, joint: str) -> None:
        current = self.joints.index(joint)
        visited = {current: None}  # a dict keeps the order and is fast to search
        while (current := self.parents[current]) != -1:
            if current in visited:
                path = list(visited)
                cycle = [*path[path.index(current) :], current]
                names = " -> ".join(self.joints[index] for index in cycle)
                raise LayoutError(f"layout {self.name}: the parents of {joint} form a cycle: {names}")
            visited[current] = None

    def index(self, joint: str) -> int:
        """Return the number of a joint.

        Raises:
            LayoutError: no joint has that name.
        """
        if joint not in self.joints:
            raise LayoutError(
                f"layout {self.name} has no joint {joint!r}{did_you_mean(joint, self.joints)}; "
                f"it has {', '.join(self.joints)}"
            )
        return self.joints.index(joint)

    def to_json(self) -> dict[str, Any]:
        """Return the layout as plain data, for store attributes and run.json."""
        return {
            "name": self.name,
            "joints": list(self.joints),
            "parents": list(self.parents),
            "parts": {part: list(members) for part, members in self.parts.items()},
            "centre": self.centre,
            "spine": list(self.spine),
            "shoulders": list(self.shoulders),
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "Layout":
        """The inverse of `to_json`.

        Raises:
            LayoutError: the layout is inconsistent.
        """

        def pair(values: Sequence[int]) -> tuple[int, int]:
            first, second = values
            return first, second

        return cls(
            name=plain["name"],
            joints=tuple(plain["joints"]),
            parents=tuple(plain["parents"]),
            parts={part: tuple(members) for part, members in plain["parts"].items()},
            centre=plain["centre"],
            spine=pair(plain["spine"]),
            shoulders=pair(plain["shoulders"]),
        )


# Joint names and order: Shahroudy et al. 2016 (NTU RGB+D), figure 3; PKU-MMD uses the same sensor and order.
# Parents: the bone pairs shared by 2s-AGCN, CTR-GCN and SkeleMixCLR (there, the thumb is the parent of the hand tip).
# Parts: SkeleMixCLR's five groups, under NTU's names (its code swaps left and right, which changes nothing).
KINECT_V2 = Layout(
    name="kinect-v2",
    joints=(
        "spine_base", "spine_mid", "neck", "head",
        "left_shoulder", "left_elbow", "left_wrist", "left_hand",
        "right_shoulder", "right_elbow", "right_wrist", "right_hand",
        "left_hip", "left_knee", "left_ankle", "left_foot",
        "right_hip", "right_knee", "right_ankle", "right_foot",
        "spine_shoulder", "left_hand_tip", "left_thumb", "right_hand_tip", "right_thumb",
    ),
    parents=(1, 20, 20, 2, 20, 4, 5, 6, 20, 8, 9, 10, 0, 12, 13, 14, 0, 16, 17, 18, -1, 22, 7, 24, 11),
    parts={
        "trunk": (0, 1, 2, 3, 20),
        "left_arm": (4, 5, 6, 7, 21, 22),
        "right_arm": (8, 9, 10, 11, 23, 24),
        "left_leg": (12, 13, 14, 15),
        "right_leg": (16, 17, 18, 19),
    },
    centre=20,
    spine=(0, 20),
    shoulders=(4, 8),
)  # fmt: skip

"""Kinds of skeleton: which joints there are and how they hang together. Nothing else knows a joint's number.

Axis legend for the whole code base: N sample, C coordinate (x, y, z), T frame, V joint, M body. A batch is
(N, C, T, V, M).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.errors import LayoutError
from pipeline.suggest import did_you_mean

MAX_JOINTS = 1000
"""Of a layout; whole-body models have some hundred."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """One kind of skeleton; joints are numbered from 0 in the order of `joints`."""

    name: str
    joints: tuple[str, ...]
    parents: tuple[int, ...]
    """For each joint the joint that it hangs on; -1 for the root."""
    parts: Mapping[str, tuple[int, ...]]
    """The groups that SkeleMix cuts: every joint in exactly one."""
    centre: int
    """The joint that stands for where a body is."""
    spine: tuple[int, int]
    """Lower and upper end of the trunk: which way is up."""
    shoulders: tuple[int, int]
    """Left and right: which way the body faces."""

    def __post_init__(self) -> None:
        """Refuse a layout that contradicts itself, naming what is wrong.

        Raises:
            LayoutError: a joint named twice, in no part or in two; not exactly one root; a cycle; no such joint.
        """
        count = len(self.joints)
        if count > MAX_JOINTS:
            raise LayoutError(f"layout {self.name}: {count} joints, expected at most {MAX_JOINTS}")
        if twice := [name for place, name in enumerate(self.joints) if name in self.joints[:place]]:
            raise LayoutError(f"layout {self.name}: two joints share a name: {', '.join(twice)}")
        if len(self.parents) != count:
            raise LayoutError(f"layout {self.name}: {count} joints but {len(self.parents)} parents")
        used = (self.centre, *self.spine, *self.shoulders, *(joint for part in self.parts.values() for joint in part))
        for joint in (*used, *(parent for parent in self.parents if parent != -1)):
            if not 0 <= joint < count:
                raise LayoutError(f"layout {self.name}: there is no joint {joint}; joints are 0..{count - 1}")
        for name in self.joints:
            self._refuse_circle(name)
        roots = [name for name, parent in zip(self.joints, self.parents, strict=True) if parent == -1]
        if len(roots) != 1:
            raise LayoutError(
                f"layout {self.name}: exactly one joint has no parent, found {', '.join(roots) or 'none'}"
            )
        held_by: list[list[str]] = [[] for _ in self.joints]
        for part, members in self.parts.items():
            for member in members:
                held_by[member].append(part)
        for name, holders in zip(self.joints, held_by, strict=True):
            if len(holders) != 1:
                found = "no part" if not holders else "parts " + ", ".join(holders)
                raise LayoutError(f"layout {self.name}: joint {name} is in {found}; every joint belongs to exactly one")
        if empty := [part for part, members in self.parts.items() if not members]:
            raise LayoutError(f"layout {self.name}: part {', '.join(empty)} has no joint")

    def _refuse_circle(self, joint: str) -> None:
        at = self.joints.index(joint)
        walked = {at: joint}
        while (at := self.parents[at]) != -1:
            if at in walked:
                circle = " -> ".join([*list(walked.values())[list(walked).index(at) :], self.joints[at]])
                raise LayoutError(f"layout {self.name}: the parents of {joint} run in a circle: {circle}")
            walked[at] = self.joints[at]

    def index(self, joint: str) -> int:
        """Number of a joint by its name.

        Raises:
            LayoutError: no joint has that name.
        """
        if joint not in self.joints:
            raise LayoutError(
                f"layout {self.name} has no joint {joint!r}{did_you_mean(joint, self.joints)}; it has {', '.join(self.joints)}"
            )
        return self.joints.index(joint)

    def to_json(self) -> dict[str, Any]:
        """The layout as plain data, for a store's attributes and a run's description."""
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
            LayoutError: as for any layout that contradicts itself.
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
# Parents: the bone pairs shared by 2s-AGCN, CTR-GCN and SkeleMixCLR (a hand's tip hangs on its thumb there).
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

"""Skeleton layouts in TOML: parse and check the keys; joints are given by name or number."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from pipeline.errors import LayoutError
from pipeline.skeleton.layout import MAX_JOINTS, Layout
from pipeline.suggest import did_you_mean

SKELETON_KEYS = ("joints", "parents", "parts", "centre", "spine", "shoulders")
"""The TOML keys that define a skeleton."""


def _require_name_or_number(joint: Any) -> Any:
    if isinstance(joint, bool) or not isinstance(joint, int | str):
        raise ValueError("a joint is a name or a number from 0")  # noqa: TRY004 (pydantic reports only a ValueError)
    return joint


def _require_unique(names: list[str]) -> list[str]:
    if repeated := [name for index, name in enumerate(names) if name in names[:index]]:
        raise ValueError(f"two joints are called {', '.join(repeated)}")
    return names


Joint = Annotated[Any, AfterValidator(_require_name_or_number)]
Pair = Annotated[list[Joint], Field(min_length=2, max_length=2)]


class SkeletonTable(BaseModel):
    """The TOML keys of a skeleton, before joint names are resolved."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    joints: Annotated[
        list[Annotated[str, Field(min_length=1)]], Field(max_length=MAX_JOINTS), AfterValidator(_require_unique)
    ]
    parents: Annotated[list[Joint], Field(max_length=MAX_JOINTS)]
    parts: dict[str, list[Joint]]
    centre: Joint
    spine: Pair
    shoulders: Pair

    def layout(self, name: str) -> Layout:
        """Return the layout, with joint names resolved to numbers.

        Raises:
            LayoutError: a joint is unknown, or joints, parents and parts are inconsistent.
        """
        joints = self.joints

        def find(joint: int | str, key: str) -> int:
            if isinstance(joint, str) and joint in joints:
                return joints.index(joint)
            if isinstance(joint, int) and 0 <= joint < len(joints):
                return joint
            known = f"{', '.join(joints)}; or by number, 0..{len(joints) - 1}"
            raise LayoutError(f"{key}: there is no joint {joint!r}{did_you_mean(joint, joints)}; joints are {known}")

        def parent(joint: int | str, child: int) -> int:
            is_root = joint in (-1, "", child) or joint in joints[child : child + 1]
            return -1 if is_root else find(joint, f"parents[{child}]")

        def pair(members: list[int | str], key: str) -> tuple[int, int]:
            first, second = (find(joint, key) for joint in members)
            if first == second:
                raise LayoutError(
                    f"{key}: both are {joints[first]}; expected two different joints, which give a direction"
                )
            return first, second

        return Layout(
            name=name,
            joints=tuple(joints),
            parents=tuple(parent(joint, child) for child, joint in enumerate(self.parents)),
            parts={
                part: tuple(find(joint, f"parts.{part}") for joint in members) for part, members in self.parts.items()
            },
            centre=find(self.centre, "centre"),
            spine=pair(self.spine, "spine"),
            shoulders=pair(self.shoulders, "shoulders"),
        )

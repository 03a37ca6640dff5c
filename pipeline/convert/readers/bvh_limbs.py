"""Build the layout of a BVH joint tree: find arms, legs and trunk from the joints' names and parents."""

import re
from collections.abc import Sequence

from pipeline.errors import LayoutError
from pipeline.skeleton.layout import Layout

ARM = re.compile(r"collar|clavicle|scapula|shoulder|shldr|arm|elbow|humerus|radius|ulna|wrist|hand|finger|thumb|index")
LEG = re.compile(r"leg|thigh|hip|knee|femur|tibia|shin|calf|foot|ankle|toe|heel|buttock")
COLLAR = re.compile(r"collar|clavicle|scapula")
SHOULDER = re.compile(r"shoulder|shldr")
UPPER_ARM = re.compile(r"arm|shoulder|shldr|humerus")
MANUAL_LAYOUT_HINT = (
    "write the layout in a TOML with joints, parents, parts, centre, spine and shoulders (docs/data/folder.md), "
    "and give it with --skeleton; the joints are "
)


def limbs_of_tree(joints: Sequence[str], parents: Sequence[int]) -> Layout:
    """Build the layout of a tree whose joint names contain left and right, arm and leg.

    A joint belongs to the limb in its name, otherwise to the limb of its parent. The spine goes from the root to the
    joint where the arms branch; that joint is the centre. The shoulders are the joints where the upper arms begin, not
    the collar bones.

    Raises:
        LayoutError: the names or the tree are not understood; the message explains how to write the layout.
    """
    limbs: list[str] = []
    for index, name in enumerate(joints):
        limbs.append(_limb(name) or (limbs[parents[index]] if parents[index] >= 0 else "trunk"))
    limbs[0] = "trunk"
    parts = {name: tuple(index for index, limb in enumerate(limbs) if limb == name) for name in LIMBS}
    hint = MANUAL_LAYOUT_HINT + ", ".join(joints)
    if missing := [name.replace("_", " ") for name, members in parts.items() if not members]:
        raise LayoutError(f"its joint names show no {' and no '.join(missing)}; {hint}")
    shoulders = tuple(_shoulder(joints, parents, parts[side]) for side in ("left_arm", "right_arm"))
    branch = _common_ancestor(parents, *(parts[side][0] for side in ("left_arm", "right_arm")))
    if branch == 0:
        raise LayoutError(f"its arms branch at the root {joints[0]}, so there is no spine; {hint}")
    return Layout(
        name="bvh",
        joints=tuple(joints),
        parents=tuple(parents),
        parts=parts,
        centre=branch,
        spine=(0, branch),
        shoulders=(shoulders[0], shoulders[1]),
    )


LIMBS = ("trunk", "left_arm", "right_arm", "left_leg", "right_leg")


def _limb(name: str) -> str:
    """Return the limb in a name (side and arm or leg); empty if the name does not contain both."""
    plain = name.rpartition(":")[2]
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", plain)
    lower = [word.casefold() for word in words]
    side = ""
    for letter, full in (("l", "left"), ("r", "right")):
        attached = re.fullmatch(rf"{letter}(.+)", plain.casefold())
        if any(word == letter or word.startswith(full) for word in lower) or (
            not side and attached is not None and re.match(ARM_OR_LEG, attached[1])
        ):
            side = full
    joined = "".join(lower)
    if not side:
        return ""
    if LEG.search(joined.replace("shoulder", "")):
        return f"{side}_leg"
    return f"{side}_arm" if ARM.search(joined) else ""


ARM_OR_LEG = (
    r"(?:up|fore|lower|upper)?(?:collar|clavicle|shoulder|shldr|arm|elbow|humerus|radius|ulna|wrist|hand|finger|thumb|leg|"
    r"thigh|hip|knee|femur|tibia|shin|calf|foot|ankle|toe|heel)"
)
"""Words that can directly follow an L or R: LHipJoint, rfemur, lCollar."""


def _shoulder(joints: Sequence[str], parents: Sequence[int], arm: Sequence[int]) -> int:
    """Return the joint where the upper arm begins; `arm` lists an arm's joints, parents first."""
    first = arm[0]
    child = next((joint for joint in arm if parents[joint] == first), None)
    if child is None:
        return first
    name, next_name = joints[first].casefold(), joints[child].casefold()
    is_collar = COLLAR.search(name) or (
        SHOULDER.search(name) and UPPER_ARM.search(next_name) and "fore" not in next_name
    )
    return child if is_collar else first


def _common_ancestor(parents: Sequence[int], left: int, right: int) -> int:
    """Return the nearest common ancestor of two joints."""
    ancestors = set()
    while left >= 0:
        ancestors.add(left)
        left = parents[left]
    while right not in ancestors:
        right = parents[right]
    return right

"""The layout of a BVH's tree: which joints are arms, legs and trunk, by their names and how they hang together."""

import re
from collections.abc import Sequence

from pipeline.errors import LayoutError
from pipeline.skeleton.layout import Layout

ARM = re.compile(r"collar|clavicle|scapula|shoulder|shldr|arm|elbow|humerus|radius|ulna|wrist|hand|finger|thumb|index")
LEG = re.compile(r"leg|thigh|hip|knee|femur|tibia|shin|calf|foot|ankle|toe|heel|buttock")
COLLAR = re.compile(r"collar|clavicle|scapula")
SHOULDER = re.compile(r"shoulder|shldr")
UPPER_ARM = re.compile(r"arm|shoulder|shldr|humerus")
BY_HAND = (
    "write the layout by hand, in a TOML with joints, parents, parts, centre, spine and shoulders as docs/data/folder.md "
    "has them, and name it with --skeleton; its joints are "
)


def limbs_of_tree(joints: Sequence[str], parents: Sequence[int]) -> Layout:
    """The layout of a tree whose names say left and right, arm and leg.

    A joint belongs to the limb that its name says, else to its parent's. The spine goes from the root to where the arms
    part; that joint is the centre. The shoulders are where the upper arms begin, not the collar bones.

    Raises:
        LayoutError: the names or the tree tell no such thing; the text says how to write it by hand.
    """
    part: list[str] = []
    for at, name in enumerate(joints):
        said = _limb(name)
        part.append(said or (part[parents[at]] if parents[at] >= 0 else "trunk"))
    part[0] = "trunk"
    parts = {name: tuple(at for at, held in enumerate(part) if held == name) for name in LIMBS}
    by_hand = BY_HAND + ", ".join(joints)
    if lacking := [name.replace("_", " ") for name, held in parts.items() if not held]:
        raise LayoutError(f"the names of its joints tell no {' and no '.join(lacking)}; {by_hand}")
    shoulders = tuple(_shoulder(joints, parents, parts[side]) for side in ("left_arm", "right_arm"))
    upper = _parting(parents, *(parts[side][0] for side in ("left_arm", "right_arm")))
    if upper == 0:
        raise LayoutError(f"its arms part at the root {joints[0]}, so that there is no spine; {by_hand}")
    return Layout(
        name="bvh",
        joints=tuple(joints),
        parents=tuple(parents),
        parts=parts,
        centre=upper,
        spine=(0, upper),
        shoulders=(shoulders[0], shoulders[1]),
    )


LIMBS = ("trunk", "left_arm", "right_arm", "left_leg", "right_leg")


def _limb(name: str) -> str:
    """The limb that a name says: its side and arm or leg; empty when it does not say both."""
    plain = name.rpartition(":")[2]
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", plain)
    lower = [word.casefold() for word in words]
    side = ""
    for letter, full in (("l", "left"), ("r", "right")):
        together = re.fullmatch(rf"{letter}(.+)", plain.casefold())
        if any(word == letter or word.startswith(full) for word in lower) or (
            not side and together is not None and re.match(ARM_OR_LEG, together[1])
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
"""What follows an L or R that is written together with it: LHipJoint, rfemur, lCollar."""


def _shoulder(joints: Sequence[str], parents: Sequence[int], arm: Sequence[int]) -> int:
    """Where the upper arm begins, of an arm's joints, parents first."""
    first = arm[0]
    child = next((at for at in arm if parents[at] == first), None)
    if child is None:
        return first
    name, next_name = joints[first].casefold(), joints[child].casefold()
    is_collar = COLLAR.search(name) or (
        SHOULDER.search(name) and UPPER_ARM.search(next_name) and "fore" not in next_name
    )
    return child if is_collar else first


def _parting(parents: Sequence[int], left: int, right: int) -> int:
    """The joint that two have in common on their ways to the root."""
    above = set()
    while left >= 0:
        above.add(left)
        left = parents[left]
    while right not in above:
        right = parents[right]
    return right

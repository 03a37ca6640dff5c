"""Guess the tree, the body parts and the trunk of a skeleton from the names of its joints."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.skeleton.shipped_layouts import layout_names, load_layout

_SIDES = {"left": "left", "l": "left", "lt": "left", "right": "right", "r": "right", "rt": "right"}
# What words of a joint's name mean, in the order in which they are tried; each list is of beginnings of words.
_KINDS: Mapping[str, tuple[str, ...]] = {
    "toe": ("toe", "footindex", "bigtoe", "smalltoe"),
    "heel": ("heel",),
    "ankle": ("ankle",),
    "foot": ("foot", "feet"),
    "pelvis": ("pelvis", "hips", "root", "midhip", "hipcent", "spinebase", "hipmid"),
    "hip": ("hip", "thigh", "upperleg", "upleg"),
    "knee": ("knee", "shin", "lowerleg", "leg"),
    "finger": ("thumb", "finger", "index", "pinky", "handtip", "tip", "ring", "middle"),
    "wrist": ("wrist",),
    "hand": ("hand", "palm"),
    "elbow": ("elbow", "forearm", "lowerarm"),
    "clavicle": ("clavicle", "collar"),
    "neck": ("neck",),
    "chest": ("chest", "thorax", "spineshoulder", "shouldercent", "spine2", "spine3", "sternum", "upperspine"),
    "shoulder": ("shoulder", "upperarm", "arm"),
    "waist": ("spine", "torso", "waist", "abdomen", "belly", "trunk", "back"),
    "head": ("head", "skull"),
    "face": ("nose", "eye", "ear", "mouth", "jaw", "chin"),
}
_MIDDLE = ("pelvis", "waist", "chest", "neck", "head")
# Candidates for the parent of each kind, the nearest first; kinds of the middle have no side.
_PARENTS: Mapping[str, tuple[str, ...]] = {
    "toe": ("foot", "ankle", "knee"),
    "heel": ("ankle", "foot", "knee"),
    "foot": ("ankle", "knee", "hip", "pelvis"),
    "ankle": ("knee", "hip", "pelvis"),
    "knee": ("hip", "pelvis"),
    "hip": ("pelvis", "waist", "chest", "neck"),
    "finger": ("hand", "wrist", "elbow"),
    "hand": ("wrist", "elbow", "shoulder", "chest", "neck"),
    "wrist": ("elbow", "shoulder", "chest"),
    "elbow": ("shoulder", "clavicle", "chest", "neck"),
    "shoulder": ("clavicle", "chest", "neck", "waist", "pelvis", "hip"),
    "clavicle": ("chest", "neck", "waist"),
    "head": ("neck", "chest", "waist", "pelvis"),
    "neck": ("chest", "waist", "pelvis"),
    "chest": ("waist", "pelvis"),
    "waist": ("pelvis",),
    "face": ("head", "neck", "chest", "shoulder"),
}
_ARM, _LEG = (
    ("clavicle", "shoulder", "elbow", "wrist", "hand", "finger"),
    ("hip", "knee", "ankle", "heel", "foot", "toe"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class SkeletonGuess:
    """The skeleton that joint names suggest; None where they do not tell."""

    layout: str
    """A shipped layout with these joints, or empty: then the other fields describe the skeleton."""
    parents: list[str | None]
    """The parent of each joint, "" for the root."""
    parts: dict[str, list[str]]
    unplaced: list[str]
    """Joints whose parent or part is not known."""
    centre: str | None
    spine: tuple[str, str] | None
    shoulders: tuple[str, str] | None

    @property
    def is_complete(self) -> bool:
        """Whether the guess is a whole skeleton."""
        known = None not in (self.centre, self.spine, self.shoulders)
        return bool(self.layout) or (known and not self.unplaced)


def guess_skeleton(joints: Sequence[str]) -> SkeletonGuess:
    """Guess a skeleton from the names of its joints, such as `Hips`, `l_elbow` or `RightFoot`."""
    wanted = sorted(map(_plain, joints))
    layout = next((name for name in layout_names() if sorted(map(_plain, load_layout(name).joints)) == wanted), "")
    meaning = {joint: _meaning(joint) for joint in joints}
    first: dict[tuple[str, str], str] = {}
    last: dict[tuple[str, str], str] = {}
    parents: list[str | None] = []
    for joint, about in meaning.items():
        first.setdefault(about, joint)
    for joint in joints:
        last[meaning[joint]] = joint
    root = next((first[kind, ""] for kind in ("pelvis", "waist", "chest") if (kind, "") in first), None)
    root = root or first.get(("hip", "left"))
    for index, joint in enumerate(joints):
        same = [other for other in joints[:index] if meaning[other] == meaning[joint]]
        parents.append("" if joint == root else _parent(joint, meaning[joint], same, last))
    parts: dict[str, list[str]] = {}
    for joint in joints:
        if part := _part(*meaning[joint]):
            parts.setdefault(part, []).append(joint)
    placed = {joint for members in parts.values() for joint in members}
    top = next(
        (first[kind, ""] for kind in ("chest", "neck", "head") if (kind, "") in first and first[kind, ""] != root), None
    )
    top = top or first.get(("shoulder", "left"))
    shoulders = next(
        (
            (first[kind, "left"], first[kind, "right"])
            for kind in ("shoulder", "clavicle", "elbow")
            if {(kind, "left"), (kind, "right")} <= first.keys()
        ),
        None,
    )
    return SkeletonGuess(
        layout=layout,
        parents=parents,
        parts=parts,
        unplaced=[
            joint for joint, parent in zip(joints, parents, strict=True) if parent is None or joint not in placed
        ],
        centre=next((first[kind, ""] for kind in ("waist", "chest", "pelvis") if (kind, "") in first), root),
        spine=(root, top) if root and top else None,
        shoulders=shoulders,
    )


def _plain(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def _meaning(joint: str) -> tuple[str, str]:
    """Return kind and side of a joint; empty if unknown or in the middle."""
    words = [word.casefold() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", joint)]
    side = next((_SIDES[word] for word in words if word in _SIDES), "")
    rest = [word for word in words if word not in _SIDES]
    plain = "".join(rest)
    if not side and len(plain) > 1 and plain[0] in "lr":  # lelbow
        known = [kind for kind, starts in _KINDS.items() if plain[1:].startswith(starts)]
        if known and not any(plain.startswith(starts) for starts in _KINDS.values()):
            side, plain = _SIDES[plain[0]], plain[1:]
    kind = next((kind for kind, starts in _KINDS.items() if plain.startswith(starts) or plain.endswith(starts)), "")
    if kind == "hip" and not side:
        kind = "pelvis"
    if kind == "pelvis" and side:
        kind = "hip"
    return kind, "" if kind in _MIDDLE else side


def _parent(joint: str, about: tuple[str, str], same: Sequence[str], last: Mapping[tuple[str, str], str]) -> str | None:
    """Return the parent of a joint: the one before it in a chain of the same kind, else the nearest of another kind."""
    kind, side = about
    if same and kind not in ("", "finger", "face"):
        return same[-1]
    for other in _PARENTS.get(kind, ()):
        for key in ((other, side), (other, ""), (other, "left")):
            if last.get(key) not in (None, joint):
                return last[key]
    return last.get(("hip", "left")) if about == ("hip", "right") else None


def _part(kind: str, side: str) -> str:
    if kind in _ARM and side:
        return f"{side}_arm"
    if kind in _LEG and side:
        return f"{side}_leg"
    if kind in _MIDDLE:
        return "trunk"
    return "head" if kind == "face" else ""

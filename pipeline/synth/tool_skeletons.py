"""Synthetic bodies as the joints of any shipped layout."""

import numpy as np
from numpy.typing import NDArray

from pipeline.skeleton.layout import KINECT_V2
from pipeline.skeleton.shipped_layouts import load_layout

Xyz = NDArray[np.float64]

# What each tool's joints are, as sums of the synthetic bodies' and of metres: x to the person's right, y up, z behind.
_FACE = {"nose": (0, 0, -0.1), "eye": (0.03, 0.03, -0.08), "eye_inner": (0.015, 0.03, -0.09),
         "eye_outer": (0.045, 0.03, -0.07), "ear": (0.075, 0, 0), "mouth": (0.025, -0.06, -0.09)}  # fmt: skip
_LIMB = {"pinky": ("hand", (0.02, 0, 0.03)), "index": ("hand_tip", (0, 0, 0)), "heel": ("ankle", (0, -0.05, 0.05)),
         "foot_index": ("foot", (0, 0, -0.05)), "big_toe": ("foot", (-0.02, 0, -0.05)),
         "small_toe": ("foot", (0.03, 0, -0.03))}  # fmt: skip
_SAME = {"pelvis": "spine_base", "hip_center": "spine_base", "mid_hip": "spine_base", "spine": "spine_mid",
         "spine_navel": "spine_mid", "shoulder_center": "spine_shoulder", "neck": "neck", "head": "head"}  # fmt: skip


def body_of(layout: str, xyz: Xyz) -> Xyz:
    """Synthetic bodies (T, 25, 3) as the joints of a shipped layout, (T, V, 3)."""
    own = {name: xyz[:, joint] for joint, name in enumerate(KINECT_V2.joints)}

    def joint(name: str) -> Xyz:
        for side, sign in (("left", -1), ("right", 1)):
            plain = name.removeprefix(f"{side}_").removesuffix(f"_{side}")
            if plain == name:
                continue
            if plain in _FACE:
                return _moved(own["head"], np.multiply(_FACE[plain], (sign, 1, 1)))
            if plain in _LIMB:
                base, offset = _LIMB[plain]
                return _moved(own[f"{side}_{base}"], np.multiply(offset, (sign, 1, 1)))
            if plain == "clavicle":
                return 0.8 * own["spine_shoulder"] + 0.2 * own[f"{side}_shoulder"]
            return own[name]
        if name == "nose":
            return _moved(own["head"], np.array(_FACE["nose"]))
        if name == "spine_chest":
            return 0.5 * (own["spine_mid"] + own["spine_shoulder"])
        if name == "neck" and layout == "body-25":
            return 0.5 * (own["left_shoulder"] + own["right_shoulder"])
        return own[_SAME[name]]

    joints: Xyz = np.stack([joint(name) for name in load_layout(layout).joints], axis=1)
    return joints


def _moved(xyz: Xyz, offset: NDArray[np.float64]) -> Xyz:
    return xyz + offset

"""Convert synthetic bodies to the joints of the tools' layouts."""

import numpy as np
from numpy.typing import NDArray

from pipeline.skeleton.layout import KINECT_V2
from pipeline.skeleton.shipped_layouts import load_layout

Xyz = NDArray[np.float64]

# Joints of the tools as joints of the synthetic bodies plus an offset in metres: x to the person's right, y up, z back.
_FACE = {"nose": (0, 0, -0.1), "eye": (0.03, 0.03, -0.08), "eye_inner": (0.015, 0.03, -0.09),
         "eye_outer": (0.045, 0.03, -0.07), "ear": (0.075, 0, 0), "mouth": (0.025, -0.06, -0.09)}  # fmt: skip
_LIMB = {"pinky": ("hand", (0.02, 0, 0.03)), "index": ("hand_tip", (0, 0, 0)), "heel": ("ankle", (0, -0.05, 0.05)),
         "foot_index": ("foot", (0, 0, -0.05)), "big_toe": ("foot", (-0.02, 0, -0.05)),
         "small_toe": ("foot", (0.03, 0, -0.03))}  # fmt: skip
_RENAMED = {"pelvis": "spine_base", "hip_center": "spine_base", "mid_hip": "spine_base", "spine": "spine_mid",
         "spine_navel": "spine_mid", "shoulder_center": "spine_shoulder", "neck": "neck", "head": "head"}  # fmt: skip


def to_tool_layout(layout: str, xyz: Xyz) -> Xyz:
    """Convert a synthetic body (T, 25, 3) to the joints of a shipped layout, (T, V, 3)."""
    own = {name: xyz[:, joint] for joint, name in enumerate(KINECT_V2.joints)}

    def joint(name: str) -> Xyz:
        for side, sign in (("left", -1), ("right", 1)):
            plain = name.removeprefix(f"{side}_").removesuffix(f"_{side}")
            if plain == name:
                continue
            if plain in _FACE:
                return own["head"] + np.array(_FACE[plain]) * (sign, 1, 1)
            if plain in _LIMB:
                base, offset = _LIMB[plain]
                moved: Xyz = own[f"{side}_{base}"] + np.multiply(offset, (sign, 1, 1))
                return moved
            if plain == "clavicle":
                return 0.8 * own["spine_shoulder"] + 0.2 * own[f"{side}_shoulder"]
            return own[name]
        if name == "nose":
            nose: Xyz = own["head"] + np.array(_FACE["nose"])
            return nose
        if name == "spine_chest":
            return 0.5 * (own["spine_mid"] + own["spine_shoulder"])
        if name == "neck" and layout == "body-25":
            return 0.5 * (own["left_shoulder"] + own["right_shoulder"])
        return own[_RENAMED[name]]

    joints: Xyz = np.stack([joint(name) for name in load_layout(layout).joints], axis=1)
    return joints

"""Render self-contained HTML pages: style, scripts and motion are inside the file, and nothing is loaded.

Templates, style sheets and the skeleton player are in `templates/`. jinja2 escapes text from users' files, in the
markup and in the JSON for scripts; a content security policy forbids the browser to load anything.
"""

import base64
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts import manifest
from pipeline.report.orientation import is_present, upright_rotation
from pipeline.skeleton.frame_rate import FRAMES_PER_SECOND
from pipeline.skeleton.layout import Layout

MISSING = -32768
"""The int16 value for a missing coordinate."""
_MIN_STEP_METRES = 0.0005
"""Resolution of coordinates: half a millimetre, finer than any body sensor."""


def render(template: str, **values: Any) -> str:
    """Render a page from a template.

    Args:
        template: file name of the template.
        **values: variables of the template.
    """
    text: str = _environment().get_template(template).render(tool=manifest.tool_version(), **values)
    return text


def encode_skeleton(layout: Layout) -> dict[str, Any]:
    """Encode a layout for the player: joint names, bones, body parts, and the index of each joint's body part."""
    part_of = {joint: index for index, members in enumerate(layout.parts.values()) for joint in members}
    return {
        "joints": list(layout.joints),
        "bones": [[joint, parent] for joint, parent in enumerate(layout.parents) if parent >= 0],
        "parts": list(layout.parts),
        "part_of": [part_of[joint] for joint in range(len(layout.joints))],
    }


def encode_motion(
    xyz: NDArray[np.float32],
    layout: Layout,
    *,
    max_frames: int | None = None,
    ringed: NDArray[np.bool_] | None = None,
) -> dict[str, Any]:
    """Encode a clip for the player: 16-bit multiples of a step, and the rotation that turns it upright.

    Args:
        xyz: (M, T, V, 3) metres; missing joints as in `orientation.is_present`.
        layout: its layout.
        max_frames: of a longer clip, only every second, third, ... frame is kept, and it is played at a lower rate.
        ringed: (M, T, V) joints to mark by a ring.
    """
    thin = 1 if max_frames is None else max(1, -(-xyz.shape[1] // max_frames))
    shown = xyz[:, ::thin]
    present = is_present(shown)
    reach = float(np.abs(shown[present]).max(initial=0.0))
    step = max(_MIN_STEP_METRES, reach / 32767)
    steps = np.full(shown.shape, MISSING, "<i2")
    steps[present] = np.rint(shown[present] / step).astype("<i2")
    M, T, V, _ = shown.shape
    rings = {} if ringed is None else {"ringed": encode_base64(ringed[:, ::thin].astype(np.uint8))}
    return {
        **rings,
        "shape": [M, T, V],
        "step": step,
        "rate": FRAMES_PER_SECOND / thin,
        "thin": thin,
        "turn": [round(float(value), 6) for value in upright_rotation(xyz, layout).ravel()],
        "data": encode_base64(steps),
    }


def encode_base64(values: NDArray[Any]) -> str:
    """Encode an array's bytes as base64 text."""
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()


@cache
def _environment() -> Any:
    """Create the jinja2 environment; importing jinja2 takes 0.1 s."""
    import jinja2  # noqa: PLC0415
    from markupsafe import Markup  # noqa: PLC0415

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_asset),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals["asset"] = lambda name: Markup(_asset(name))  # noqa: S704 (files of the package)
    return environment


def _asset(name: str) -> str:
    return (resources.files("pipeline.report") / "templates" / name).read_text(encoding="utf-8")

"""Pages that stand alone: one HTML file with style, script and motion inside, which asks nothing of any network.

Templates, style and the skeleton player lie in `pages/`. What users' files say is escaped by jinja2, in markup and in
the JSON that scripts read; a content security policy forbids the browser to load anything at all.
"""

import base64
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts import manifest
from pipeline.report.orientation import known, upright
from pipeline.skeleton.layout import Layout

FRAMES_PER_SECOND = 30
"""At which clips are shown: Kinect v2's rate (Shahroudy et al. 2016); a store does not keep that of other data."""
MISSING = -32768
"""The int16 that stands for a coordinate that is not there."""
_FINEST = 0.0005
"""Metres: half a millimetre, finer than any sensor of bodies."""


def render(template: str, **values: Any) -> str:
    """A page out of `pages/`, whole: everything that it needs is in it.

    Args:
        template: its file name.
        **values: what the template shows.
    """
    text: str = _environment().get_template(template).render(tool=manifest.tool_version(), **values)
    return text


def skeleton(layout: Layout) -> dict[str, Any]:
    """What the player must know of a kind of skeleton: names of joints, bones, and for each joint its part's place."""
    of = {joint: place for place, members in enumerate(layout.parts.values()) for joint in members}
    return {
        "joints": list(layout.joints),
        "bones": [[joint, parent] for joint, parent in enumerate(layout.parents) if parent >= 0],
        "parts": list(layout.parts),
        "part_of": [of[joint] for joint in range(len(layout.joints))],
    }


def motion(xyz: NDArray[np.float32], layout: Layout, *, most: int | None = None) -> dict[str, Any]:
    """A clip as the player takes it: whole numbers of a step, 16 bits each, and the turn that puts it upright.

    Args:
        xyz: (M, T, V, 3) metres; what is missing is as in `stance.known`.
        layout: its skeleton.
        most: frames to keep; a longer clip loses every second one, or more, and is played as much slower.
    """
    thin = 1 if most is None else max(1, -(-xyz.shape[1] // most))
    shown = xyz[:, ::thin]
    there = known(shown)
    reach = float(np.abs(shown[there]).max(initial=0.0))
    step = max(_FINEST, reach / 32767)
    whole = np.full(shown.shape, MISSING, "<i2")
    whole[there] = np.rint(shown[there] / step).astype("<i2")
    M, T, V, _ = shown.shape
    return {
        "shape": [M, T, V],
        "step": step,
        "rate": FRAMES_PER_SECOND / thin,
        "thin": thin,
        "turn": [round(float(value), 6) for value in upright(xyz, layout).ravel()],
        "data": packed(whole),
    }


def packed(values: NDArray[Any]) -> str:
    """An array's bytes as text that a script reads."""
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()


@cache
def _environment() -> Any:
    """jinja2's, which takes a tenth of a second to import."""
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

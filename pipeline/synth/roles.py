"""What the people of each synthetic class do: the motion of one actor, or of two.

A class is one role, or two for classes with two people: which limbs move, how far, how fast, in which order and from
which posture. All of this is drawn from the class number only, so sets with different seeds agree on a class. The
motion does not depict the class's name. Units are metres, radians and seconds.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from pipeline.sources.ntu.names import TWO_PERSON
from pipeline.synth.body import ANGLES, HIGH, LIMBS, LOW

# The main motion of a class; "both" arms move together, "in_turn" they alternate.
_MAIN = ("right_arm", "both_arms", "squat", "left_arm", "arms_in_turn", "right_leg", "bow", "steps")
_TIME = ("cycle", "stroke", "ramp")


@dataclass(frozen=True, kw_only=True, slots=True)
class Role:
    """The motion of one actor of a class; arrays are (D,), one entry per angle."""

    posture: NDArray[np.float64]
    """Angles at the start of the motion."""
    swing: NDArray[np.float64]
    """Amplitude of each angle; 0 for a limb at rest."""
    lag: NDArray[np.float64]
    """Phase of each angle in cycles."""
    time: str
    """`cycle` repeats, `stroke` moves forth and back once or twice, `ramp` moves and stays, `return` also goes back."""
    pace: float
    """Cycles per second, or strokes per clip."""
    hop: float
    """Height of a hop per cycle, metres; mostly 0."""
    travel: float
    """Metres walked forward in the clip; negative is backward."""


@cache
def roles(action: int) -> tuple[Role, ...]:
    """Return the roles of an action: one, or two for an action with two people."""
    rng = np.random.default_rng([0x5EED, action])
    main = action + 3 if action in TWO_PERSON else action  # first classes of both kinds: different limbs
    return tuple(_draw_role(main + 3 * actor, rng) for actor in range(2 if action in TWO_PERSON else 1))


def gap(action: int) -> float:
    """Return the distance between the two actors at the start of an action, metres."""
    return 0.7 + 0.1 * (action * 5 % 7)


def _draw_role(number: int, rng: np.random.Generator) -> Role:
    main = _MAIN[number % len(_MAIN)]
    time = _TIME[(number // 2) % len(_TIME)]
    size = len(ANGLES)
    middle = (LOW + HIGH) / 2
    posture = 0.25 * middle * rng.random(size)
    posture[LIMBS["left_leg"]] = posture[LIMBS["right_leg"]] = 0.05
    swing, lag = np.zeros(size), np.zeros(size)

    def move(limb: str, reach: float) -> None:
        angles = LIMBS[limb]
        count = angles.stop - angles.start
        span = (HIGH - LOW)[angles]
        posture[angles] = LOW[angles] + span * rng.uniform(0.1, 0.45, count)
        swing[angles] = (
            (HIGH - LOW)[angles] * reach * rng.uniform(0.2, 1.0, count) * rng.choice([-0.4, 1.0, 1.0], count)
        )
        lag[angles] = rng.uniform(0.0, 0.35, count)

    if main in ("right_arm", "left_arm"):
        move(main, 0.5)
    elif main in ("both_arms", "arms_in_turn"):
        move("right_arm", 0.45)
        left, right = LIMBS["left_arm"], LIMBS["right_arm"]
        posture[left], swing[left] = posture[right], swing[right]
        lag[left] = lag[right] + (0.5 if main == "arms_in_turn" else 0.0)
    elif main == "bow":
        move("trunk", 0.5)
        swing[0] = rng.uniform(0.35, 0.7)
        move("right_arm", 0.3)
    elif main == "squat":
        depth = rng.uniform(0.6, 1.0)
        for leg in ("left_leg", "right_leg"):
            swing[LIMBS[leg]] = depth, 0.0, 1.9 * depth
        swing[0] = 0.5 * depth
        move("left_arm", 0.3)
    else:
        legs = ("right_leg",) if main == "right_leg" else ("right_leg", "left_leg")
        lift, bend = rng.uniform(0.5, 1.0), rng.uniform(0.4, 1.2)
        for turn, leg in enumerate(legs):
            swing[LIMBS[leg]] = lift, 0.2 * lift, bend
            lag[LIMBS[leg]] = 0.5 * turn
        move("left_arm" if main == "right_leg" else "right_arm", 0.3)
    return Role(
        posture=posture,
        swing=swing,
        lag=lag,
        time=time,
        pace=rng.uniform(0.5, 1.6) if time == "cycle" else float(rng.integers(1, 3)),
        hop=rng.uniform(0.05, 0.2) if main == "steps" and rng.random() < 0.5 else 0.0,
        travel=rng.uniform(-0.4, 0.5) if main in ("steps", "right_leg") else 0.0,
    )

"""The actions of moving_figures: what the body does (a pose manifold) times when (a programme).

One frame shows the manifold. Which of the manifold's two actions it is can only be seen over
time, because both run through the same cycle of poses from a uniformly drawn start.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from input_pipeline.datasets.moving_figures import poses


@dataclasses.dataclass(frozen=True)
class Manifold:
    """A cycle of poses.

    Attributes:
      pose: (phase [time] in cycles, amplitude in about [0, 1], half shoulder width) -> joints.
      mirrors_itself: the mirrored pose stands at the same phase (a limb of the other side apart),
        so that even a direction of time survives a horizontal flip.
    """

    pose: Callable[[poses.Phase, float, float], poses.Joints]
    mirrors_itself: bool = True


MANIFOLDS = {
    "one_arm_wave": Manifold(poses.one_arm_wave),
    "two_arm_wave": Manifold(poses.two_arm_wave),
    "squat": Manifold(poses.squat),
    "drum": Manifold(poses.drum, mirrors_itself=False),
    "march": Manifold(poses.march, mirrors_itself=False),
    "side_bend": Manifold(poses.side_bend),
    "kick": Manifold(poses.kick),
    "hand_roll": Manifold(poses.hand_roll, mirrors_itself=False),
}

# Programmes: (time [time] in [0, 1) over the clip, start in cycles) -> phase [time] in cycles.
# Forwards and backwards run at one tempo through a cycle that rises faster than it falls; the
# warp is of the cycle, so a uniform start makes their single frames alike too.
PROGRAMMES: dict[str, Callable[[poses.Phase, float], poses.Phase]] = {
    "slow": lambda time, start: start + 0.75 * time,
    "fast": lambda time, start: start + 1.75 * time,
    "forwards": lambda time, start: _sawtooth(start + 1.25 * time),
    "backwards": lambda time, start: _sawtooth(start - 1.25 * time),
}

PAIRS = {"tempo": ("slow", "fast"), "direction": ("forwards", "backwards")}

START_CYCLES = 2.0  # `hand_roll` comes back to the same pose after two cycles, the others after one


def _sawtooth(cycle: poses.Phase) -> poses.Phase:
    """Phase of a cycle that hurries through the rise of its sine and lingers in the fall."""
    return cycle + 0.12 * np.sin(2 * np.pi * cycle)


def action_names(manifolds: tuple[str, ...], pair: str) -> tuple[str, ...]:
    """The actions in label order: every manifold with the first and the second programme.

    The pair "direction" leaves out the manifolds that do not mirror themselves: a flip would turn
    one of their two actions into the other.

    Raises:
      ValueError: an unknown pair.
    """
    if pair not in PAIRS:
        raise ValueError(f"Unknown pair of programmes '{pair}'; known: {', '.join(PAIRS)}")
    return tuple(
        f"{name}_{programme}"
        for name in manifolds
        if pair != "direction" or MANIFOLDS[name].mirrors_itself
        for programme in PAIRS[pair]
    )


def action_joints(
    action: str, time: poses.Phase, start: float, amplitude: float, shoulder: float
) -> poses.Joints:
    """The joints of a body that performs an action.

    Args:
      action: of `action_names`.
      time: [time] in [0, 1) over the clip.
      start: phase at time 0 in cycles; uniform over [0, START_CYCLES) hides the programme from
        single frames.
      amplitude: extent of the motion, 1 for a large one.
      shoulder: half the width of the shoulders, in body heights.

    Returns:
      Joint name -> [time, 2], as of `poses.skeleton`.
    """
    manifold, _, programme = action.rpartition("_")
    phase = PROGRAMMES[programme](time, start)
    return MANIFOLDS[manifold].pose(phase, amplitude, shoulder)

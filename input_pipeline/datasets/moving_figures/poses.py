"""Poses: where the joints of a body are, at any phase of the cycle of a pose manifold."""

import numpy as np
from jaxtyping import Float

# Lengths and heights are in body heights.
UPPER_ARM = 0.17
FOREARM = 0.18
THIGH = 0.19
SHIN = 0.19
SHOULDER_HEIGHT = 0.26  # above the hips
NECK_HEIGHT = 0.31
HEAD_HEIGHT = 0.445  # centre of the head
CROWN_HEIGHT = 0.1  # of a point straight above that, which shows how the head is tilted
HIP_HALF_WIDTH = 0.05
ANKLE_HEIGHT = 0.04

Points = Float[np.ndarray, "time 2"]
Phase = Float[np.ndarray, " time"]
Limb = tuple[Points, Points]
Joints = dict[str, Points]


def bend(first: Phase, second: Phase, lengths: tuple[float, float]) -> Limb:
    """Middle and end joint of a limb, seen from its root.

    Args:
      first, second: angles of its two segments in degrees from hanging down, outwards positive.
      lengths: of the two segments, in body heights.

    Returns:
      Two [time, 2] arrays of (outwards, up).
    """
    first, second = np.deg2rad(first), np.deg2rad(second)
    middle = lengths[0] * np.stack([np.sin(first), -np.cos(first)], axis=-1)
    return middle, middle + lengths[1] * np.stack([np.sin(second), -np.cos(second)], axis=-1)


def arm(upper: Phase, fore: Phase) -> Limb:
    """Elbow and hand, seen from the shoulder; angles as in `bend`."""
    return bend(upper, fore, (UPPER_ARM, FOREARM))


def leg(thigh: Phase, shin: Phase) -> Limb:
    """Knee and ankle, seen from the hip; angles as in `bend`."""
    return bend(thigh, shin, (THIGH, SHIN))


def reach(shoulder: float, outwards: Phase, height: Phase) -> Limb:
    """An arm whose hand is held in front of the chest, the elbow out at the side.

    Args:
      shoulder: half the width of the shoulders.
      outwards, height: the hand's place, from the centre line and from the shoulder's height.
    """
    hand = np.stack([outwards - shoulder, height], axis=-1)
    elbow = np.broadcast_to(np.array([0.07, -0.12]), hand.shape)
    return elbow, hand


def skeleton(
    shoulder: float,
    arms: tuple[Limb, Limb],
    legs: tuple[Limb, Limb],
    tilt: Phase | float = 0.0,
) -> Joints:
    """Places the limbs on a body that stands on its lower foot.

    Args:
      shoulder: half the width of the shoulders, in body heights.
      arms, legs: limbs of the left and of the right side of the picture.
      tilt: of everything above the hips, in degrees to the right of the picture.

    Returns:
      Joint name -> [time, 2] of (x to the right, y up) in body heights, origin between the feet.
    """
    zero = np.zeros(len(arms[0][0]))
    pelvis = ANKLE_HEIGHT + np.maximum(-legs[0][1][:, 1], -legs[1][1][:, 1])
    angle = np.deg2rad(zero + tilt)
    right = np.stack([np.cos(angle), -np.sin(angle)], axis=-1)
    up = np.stack([np.sin(angle), np.cos(angle)], axis=-1)
    hips = np.stack([zero, pelvis], axis=-1)

    def upper(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return hips + x[:, None] * right + y[:, None] * up

    joints = {
        "hips": hips,
        "chest": upper(zero, zero + SHOULDER_HEIGHT),
        "neck": upper(zero, zero + NECK_HEIGHT),
        "head": upper(zero, zero + HEAD_HEIGHT),
        "crown": upper(zero, zero + HEAD_HEIGHT + CROWN_HEIGHT),
    }
    for name, side, (elbow, hand), (knee, ankle) in zip(
        ("left", "right"), (-1.0, 1.0), arms, legs, strict=True
    ):
        origin = np.zeros_like(elbow)
        for joint, offset in (("shoulder", origin), ("elbow", elbow), ("hand", hand)):
            outwards, height = shoulder + offset[:, 0], SHOULDER_HEIGHT + offset[:, 1]
            joints[f"{name}_{joint}"] = upper(side * outwards, height)
        for joint, offset in (("hip", origin), ("knee", knee), ("ankle", ankle)):
            outwards = HIP_HALF_WIDTH + offset[:, 0]
            joints[f"{name}_{joint}"] = hips + np.stack([side * outwards, offset[:, 1]], axis=-1)
    return joints


def stand(frames: int, shoulder: float) -> Joints:
    """Standing still with hanging arms."""
    rest = np.zeros(frames)
    hanging = arm(rest + 12, rest + 6)
    return skeleton(shoulder, (hanging, hanging), (_standing(rest), _standing(rest)))


def one_arm_wave(phase: Phase, amplitude: float, shoulder: float) -> Joints:
    """One arm, held up at the side, swings from the shoulder and the elbow."""
    swing = amplitude * np.sin(2 * np.pi * phase)
    rest = np.zeros_like(phase)
    arms = (arm(rest + 12, rest + 6), arm(110 + 25 * swing, 150 + 55 * swing))
    return skeleton(shoulder, arms, (_standing(rest), _standing(rest)))


def two_arm_wave(phase: Phase, amplitude: float, shoulder: float) -> Joints:
    """Both arms, stretched out to the sides, beat up and down together."""
    swing = amplitude * np.sin(2 * np.pi * phase)
    wing = arm(90 + 55 * swing, 95 + 70 * swing)
    rest = np.zeros_like(phase)
    return skeleton(shoulder, (wing, wing), (_standing(rest), _standing(rest)))


def squat(phase: Phase, amplitude: float, shoulder: float) -> Joints:
    """The knees bend outwards and the body goes down, hands on the hips."""
    depth = amplitude * 0.5 * (1 + np.sin(2 * np.pi * phase))
    bent = leg(6 + 46 * depth, 2 - 44 * depth)
    rest = np.zeros_like(phase)
    akimbo = arm(rest + 42, rest - 25)
    return skeleton(shoulder, (akimbo, akimbo), (bent, bent))


def drum(phase: Phase, amplitude: float, shoulder: float) -> Joints:
    """Both hands, close together before the chest, beat up and down in turn: a fine motion.

    A hand moves by less than its own size while the other one moves against it and the rest of
    the body is still, so that the picture's means over coarse cells hardly change.
    """
    beat = (0.03 + 0.018 * amplitude) * np.sin(2 * np.pi * phase)
    gap = np.full_like(phase, 0.058)
    rest = np.zeros_like(phase)
    arms = (reach(shoulder, gap, beat - 0.03), reach(shoulder, gap, -beat - 0.03))
    return skeleton(shoulder, arms, (_standing(rest), _standing(rest)))


def march(phase: Phase, amplitude: float, shoulder: float) -> Joints:
    """Walking on the spot: the knees rise in turn, the arms swing against them."""
    swing = amplitude * np.sin(2 * np.pi * phase)
    left, right = np.maximum(swing, 0), np.maximum(-swing, 0)
    legs = (leg(5 + 75 * left, 3 - 35 * left), leg(5 + 75 * right, 3 - 35 * right))
    arms = (arm(15 + 30 * right, 10 + 70 * right), arm(15 + 30 * left, 10 + 70 * left))
    return skeleton(shoulder, arms, legs)


def side_bend(phase: Phase, amplitude: float, shoulder: float) -> Joints:
    """The upper body leans to one side and comes up again, one arm over the head."""
    lean = 30 * amplitude * 0.5 * (1 + np.sin(2 * np.pi * phase))
    rest = np.zeros_like(phase)
    arms = (arm(rest + 150, rest + 190), arm(rest + 40, rest - 20))
    return skeleton(shoulder, arms, (_standing(rest), _standing(rest)), tilt=lean)


def kick(phase: Phase, amplitude: float, shoulder: float) -> Joints:
    """One straight leg is lifted out to the side and let down, the arms half raised."""
    lift = 62 * amplitude * 0.5 * (1 + np.sin(2 * np.pi * phase))
    rest = np.zeros_like(phase)
    balance = arm(rest + 65, rest + 75)
    return skeleton(shoulder, (balance, balance), (_standing(rest), leg(5 + lift, 3 + lift)))


def hand_roll(phase: Phase, amplitude: float, shoulder: float) -> Joints:
    """Both hands roll around each other in front of the chest: a fine motion, as `drum` is.

    A cycle is half a turn, after which the two hands have changed places.
    """
    radius = 0.04 + 0.015 * amplitude
    angle = np.pi * phase
    x, y = radius * np.cos(angle), radius * np.sin(angle)
    arms = (reach(shoulder, x, y - 0.03), reach(shoulder, x, -y - 0.03))
    rest = np.zeros_like(phase)
    return skeleton(shoulder, arms, (_standing(rest), _standing(rest)))


def _standing(rest: Phase) -> Limb:
    return leg(rest + 6, rest + 2)

"""Draws people of capsule limbs: which parts there are, where and in which order."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from input_pipeline.datasets.moving_figures.capsules import (
    Capsule,
    Colour,
    Pixels,
    paint_capsule,
)
from input_pipeline.datasets.moving_figures.poses import (
    CROWN_HEIGHT,
    HIP_HALF_WIDTH,
    SHOULDER_HEIGHT,
    Joints,
    Points,
)

HEAD_RADIUS = 0.125
INK: Colour = (0.06, 0.06, 0.08)
STRIPE_HEIGHTS = (0.02, 0.14, 0.26)  # above the hips


@dataclasses.dataclass(frozen=True)
class Looks:
    """How a person looks; lengths in body heights, colours RGB in [0, 1].

    Attributes:
      skin, hair, shirt, stripe, trousers: colours; `stripe` is None for a plain shirt, `hair` is
        that of the beard too.
      shoulder: half the width of the shoulders.
      trunk, limb: half the thickness of the trunk and of the arms (the legs are a little thicker).
      long_hair, glasses, hat, beard, bag, bare_legs: what is there.
      accent: the colour of the hat and of the bag.
    """

    skin: Colour
    hair: Colour
    shirt: Colour
    stripe: Colour | None
    trousers: Colour
    accent: Colour
    shoulder: float
    trunk: float
    limb: float
    long_hair: bool
    glasses: bool
    hat: bool
    beard: bool
    bag: bool
    bare_legs: bool


@dataclasses.dataclass(frozen=True)
class Person:
    """Somebody at a place in the frames.

    Attributes:
      joints: of `poses.skeleton`, in pixels, y down.
      looks: how the person looks.
      scale: pixels per body height.
    """

    joints: Joints
    looks: Looks
    scale: float


def paint_person(pixels: Pixels, person: Person) -> None:
    """Paints a person into every frame, in place; `pixels` have values in [0, 1]."""
    for part in person_parts(person):
        paint_capsule(pixels, part.start, part.end, part.radius, part.colour, part.outline)


def person_parts(person: Person) -> Iterator[Capsule]:
    """All that is painted of a person, the rearmost part first."""
    joints, looks, scale = person.joints, person.looks, person.scale
    if looks.long_hair:
        yield from _long_hair(joints, looks, scale)
    yield from _legs(joints, looks, scale)
    yield from _trunk(joints, looks, scale)
    yield from _head(joints, looks, scale)
    yield from _arms(joints, looks, scale)


def face_parts(person: Person) -> Iterator[Capsule]:
    """The parts of `person_parts` that are a head's circle: scalp, face, beard, eyes, glasses."""
    yield _scalp(person.joints, person.looks, person.scale)
    yield from _face(person.joints, person.looks, person.scale)


def _legs(joints: Joints, looks: Looks, scale: float) -> Iterator[Capsule]:
    thick = 1.15 * looks.limb * scale
    apart = (joints["right_hip"] - joints["left_hip"]) / (2 * HIP_HALF_WIDTH)
    for side, out in (("left", -0.02 * apart), ("right", 0.02 * apart)):
        hip, knee, ankle = (joints[f"{side}_{joint}"] for joint in ("hip", "knee", "ankle"))
        shin = looks.skin if looks.bare_legs else looks.trousers
        yield Capsule(knee, ankle, thick, shin)
        yield Capsule(hip, knee, thick, looks.trousers)
        yield Capsule(ankle, ankle + out, 0.04 * scale, (0.15, 0.13, 0.13))


def _trunk(joints: Joints, looks: Looks, scale: float) -> Iterator[Capsule]:
    hips, chest = joints["hips"], joints["chest"]
    axis = (chest - hips) / SHOULDER_HEIGHT  # pixels per body height, up the trunk
    # Pixels per body height to the person's right-hand side of the picture, mirrored or not.
    across = (joints["right_shoulder"] - joints["left_shoulder"]) / (2 * looks.shoulder)
    thick = looks.trunk * scale
    yield Capsule(hips + 0.02 * axis, hips, thick, looks.trousers)
    yield Capsule(chest, joints["neck"], 0.05 * scale, looks.skin)
    top = chest - (looks.trunk - 0.05) * axis
    yield Capsule(hips + 0.06 * axis, top, thick, looks.shirt)
    shoulders = joints["left_shoulder"], joints["right_shoulder"]
    yield Capsule(*shoulders, looks.limb * scale, looks.shirt)
    if looks.stripe is not None:
        half = (looks.trunk - 0.02) * across
        for height in STRIPE_HEIGHTS:
            middle = hips + height * axis
            yield Capsule(middle - half, middle + half, 0.028 * scale, looks.stripe)
    if looks.bag:
        strap = chest - 0.8 * looks.shoulder * across
        pouch = hips + (looks.trunk + 0.03) * across + 0.02 * axis
        yield Capsule(strap, pouch, 0.022 * scale, looks.accent)
        yield Capsule(pouch - 0.04 * axis, pouch + 0.03 * axis, 0.065 * scale, looks.accent)


def _head_axes(joints: Joints) -> tuple[Points, Points]:
    """Pixels per body height up the head and across it."""
    up = (joints["crown"] - joints["head"]) / CROWN_HEIGHT
    return up, np.stack([-up[:, 1], up[:, 0]], axis=-1)


def _long_hair(joints: Joints, looks: Looks, scale: float) -> Iterator[Capsule]:
    """The part that falls behind the shoulders."""
    up, across = _head_axes(joints)
    for side in (-1.0, 1.0):
        root = joints["head"] + 0.085 * side * across
        tip = root - 0.2 * up + 0.02 * side * across
        yield Capsule(root, tip, 0.06 * scale, looks.hair)


def _head(joints: Joints, looks: Looks, scale: float) -> Iterator[Capsule]:
    head = joints["head"]
    up, across = _head_axes(joints)
    yield _scalp(joints, looks, scale)
    if looks.long_hair:
        for side in (-1.0, 1.0):
            root = head + 0.1 * side * across
            yield Capsule(root, root - 0.17 * up, 0.042 * scale, looks.hair)
    yield from _face(joints, looks, scale)
    if looks.hat:
        brim = head + 0.06 * up
        half = 0.15 * across
        yield Capsule(brim + 0.04 * up, brim + 0.06 * up, 0.085 * scale, looks.accent)
        yield Capsule(brim - half, brim + half, 0.025 * scale, looks.accent)


def _scalp(joints: Joints, looks: Looks, scale: float) -> Capsule:
    up, _ = _head_axes(joints)
    scalp = joints["head"] + 0.02 * up
    return Capsule(scalp, scalp, HEAD_RADIUS * scale, looks.hair)


def _face(joints: Joints, looks: Looks, scale: float) -> Iterator[Capsule]:
    head = joints["head"]
    up, across = _head_axes(joints)
    face = head - 0.025 * up
    yield Capsule(face, face, 0.098 * scale, looks.skin)
    if looks.beard:
        for side in (-1.0, 1.0):
            jaw = head - 0.06 * up + 0.065 * side * across
            yield Capsule(jaw, head - 0.105 * up, 0.032 * scale, looks.hair)
    yield from _eyes(head - 0.005 * up, across, looks, scale)


def _eyes(eyes: Points, across: Points, looks: Looks, scale: float) -> Iterator[Capsule]:
    if looks.glasses:
        half = 0.085 * across
        yield Capsule(eyes - half, eyes + half, 0.034 * scale, INK)
        return
    for side in (-0.045, 0.045):
        eye = eyes + side * across
        yield Capsule(eye, eye, 0.016 * scale, INK)


def _arms(joints: Joints, looks: Looks, scale: float) -> Iterator[Capsule]:
    thick = looks.limb * scale
    rim = 0.016 * scale
    for side in ("left", "right"):
        shoulder, elbow, hand = (
            joints[f"{side}_{joint}"] for joint in ("shoulder", "elbow", "hand")
        )
        yield Capsule(shoulder, elbow, thick, looks.shirt, outline=rim)
        yield Capsule(elbow, hand, 0.9 * thick, looks.shirt, outline=rim)
        yield Capsule(hand, hand, 0.048 * scale, looks.skin, outline=rim)

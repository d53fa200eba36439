"""Draws people of capsule limbs with distance functions, all frames of a clip at once."""

import dataclasses

import numpy as np
from jaxtyping import Float

from input_pipeline.datasets.moving_figures.poses import (
    CROWN_HEIGHT,
    HIP_HALF_WIDTH,
    SHOULDER_HEIGHT,
    Joints,
    Points,
)

Pixels = Float[np.ndarray, "time height width 3"]
Colour = tuple[float, float, float]

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


def paint_capsule(
    pixels: Pixels,
    start: Points,
    end: Points,
    radius: float,
    colour: Colour,
    outline: float = 0.0,
) -> None:
    """Paints a capsule (a thick line with round ends) into every frame, in place, antialiased.

    Args:
      pixels: the frames, values in [0, 1].
      start, end: ends of its axis in pixels, x to the right, y down.
      radius: in pixels.
      colour: RGB in [0, 1].
      outline: width in pixels of a darker rim around it, so that an arm shows before a trunk of
        the same colour.
    """
    height, width = pixels.shape[1:3]
    reach = radius + outline + 1
    low = np.floor(np.minimum(start.min(0), end.min(0)) - reach).astype(int)
    high = np.ceil(np.maximum(start.max(0), end.max(0)) + reach).astype(int)
    left, top = np.maximum(low, 0)
    right, bottom = np.minimum(high, (width, height))
    if left >= right or top >= bottom:
        return
    box = pixels[:, top:bottom, left:right]
    # [time, 1, width] and [time, height, 1]: from the start of the axis to the pixel centres
    x = (np.arange(left, right, dtype=np.float32) + 0.5) - start[:, 0, None, None]
    y = (np.arange(top, bottom, dtype=np.float32)[:, None] + 0.5) - start[:, 1, None, None]
    along = (end - start)[:, :, None, None]
    length = np.maximum((along**2).sum(1), 1e-6)
    share = np.clip((x * along[:, 0] + y * along[:, 1]) / length, 0, 1)
    distance = np.hypot(x - share * along[:, 0], y - share * along[:, 1]) - radius
    if outline:
        _blend(box, distance - outline, np.multiply(colour, 0.45))
    _blend(box, distance, np.asarray(colour))


def _blend(box: Pixels, distance: np.ndarray, colour: np.ndarray) -> None:
    cover = np.clip(0.5 - distance, 0, 1)[..., None]
    box += cover * (colour.astype(box.dtype) - box)


def paint_person(pixels: Pixels, joints: Joints, looks: Looks, scale: float) -> None:
    """Paints a person into every frame, in place.

    Args:
      pixels: the frames, values in [0, 1].
      joints: of `poses.skeleton`, in pixels, y down.
      looks: the person.
      scale: pixels per body height.
    """
    if looks.long_hair:
        _paint_long_hair(pixels, joints, looks, scale)
    _paint_legs(pixels, joints, looks, scale)
    _paint_trunk(pixels, joints, looks, scale)
    _paint_head(pixels, joints, looks, scale)
    _paint_arms(pixels, joints, looks, scale)


def _paint_legs(pixels: Pixels, joints: Joints, looks: Looks, scale: float) -> None:
    thick = 1.15 * looks.limb * scale
    apart = (joints["right_hip"] - joints["left_hip"]) / (2 * HIP_HALF_WIDTH)
    for side, out in (("left", -0.02 * apart), ("right", 0.02 * apart)):
        hip, knee, ankle = (joints[f"{side}_{joint}"] for joint in ("hip", "knee", "ankle"))
        shin = looks.skin if looks.bare_legs else looks.trousers
        paint_capsule(pixels, knee, ankle, thick, shin)
        paint_capsule(pixels, hip, knee, thick, looks.trousers)
        paint_capsule(pixels, ankle, ankle + out, 0.04 * scale, (0.15, 0.13, 0.13))


def _paint_trunk(pixels: Pixels, joints: Joints, looks: Looks, scale: float) -> None:
    hips, chest = joints["hips"], joints["chest"]
    axis = (chest - hips) / SHOULDER_HEIGHT  # pixels per body height, up the trunk
    # Pixels per body height to the person's right-hand side of the picture, mirrored or not.
    across = (joints["right_shoulder"] - joints["left_shoulder"]) / (2 * looks.shoulder)
    thick = looks.trunk * scale
    paint_capsule(pixels, hips + 0.02 * axis, hips, thick, looks.trousers)
    paint_capsule(pixels, chest, joints["neck"], 0.05 * scale, looks.skin)
    top = chest - (looks.trunk - 0.05) * axis
    paint_capsule(pixels, hips + 0.06 * axis, top, thick, looks.shirt)
    shoulders = joints["left_shoulder"], joints["right_shoulder"]
    paint_capsule(pixels, *shoulders, looks.limb * scale, looks.shirt)
    if looks.stripe is not None:
        half = (looks.trunk - 0.02) * across
        for height in STRIPE_HEIGHTS:
            middle = hips + height * axis
            paint_capsule(pixels, middle - half, middle + half, 0.028 * scale, looks.stripe)
    if looks.bag:
        strap = chest - 0.8 * looks.shoulder * across
        pouch = hips + (looks.trunk + 0.03) * across + 0.02 * axis
        paint_capsule(pixels, strap, pouch, 0.022 * scale, looks.accent)
        paint_capsule(pixels, pouch - 0.04 * axis, pouch + 0.03 * axis, 0.065 * scale, looks.accent)


def _head_axes(joints: Joints) -> tuple[Points, Points]:
    """Pixels per body height up the head and across it."""
    up = (joints["crown"] - joints["head"]) / CROWN_HEIGHT
    return up, np.stack([-up[:, 1], up[:, 0]], axis=-1)


def _paint_long_hair(pixels: Pixels, joints: Joints, looks: Looks, scale: float) -> None:
    """The part that falls behind the shoulders."""
    up, across = _head_axes(joints)
    for side in (-1.0, 1.0):
        root = joints["head"] + 0.085 * side * across
        tip = root - 0.2 * up + 0.02 * side * across
        paint_capsule(pixels, root, tip, 0.06 * scale, looks.hair)


def _paint_head(pixels: Pixels, joints: Joints, looks: Looks, scale: float) -> None:
    head = joints["head"]
    up, across = _head_axes(joints)
    scalp = head + 0.02 * up
    paint_capsule(pixels, scalp, scalp, HEAD_RADIUS * scale, looks.hair)
    if looks.long_hair:
        for side in (-1.0, 1.0):
            root = head + 0.1 * side * across
            paint_capsule(pixels, root, root - 0.17 * up, 0.042 * scale, looks.hair)
    face = head - 0.025 * up
    paint_capsule(pixels, face, face, 0.098 * scale, looks.skin)
    if looks.beard:
        for side in (-1.0, 1.0):
            jaw = head - 0.06 * up + 0.065 * side * across
            paint_capsule(pixels, jaw, head - 0.105 * up, 0.032 * scale, looks.hair)
    _paint_eyes(pixels, head - 0.005 * up, across, looks, scale)
    if looks.hat:
        brim = head + 0.06 * up
        half = 0.15 * across
        paint_capsule(pixels, brim + 0.04 * up, brim + 0.06 * up, 0.085 * scale, looks.accent)
        paint_capsule(pixels, brim - half, brim + half, 0.025 * scale, looks.accent)


def _paint_eyes(pixels: Pixels, eyes: Points, across: Points, looks: Looks, scale: float) -> None:
    if looks.glasses:
        half = 0.085 * across
        paint_capsule(pixels, eyes - half, eyes + half, 0.034 * scale, INK)
        return
    for side in (-0.045, 0.045):
        eye = eyes + side * across
        paint_capsule(pixels, eye, eye, 0.016 * scale, INK)


def _paint_arms(pixels: Pixels, joints: Joints, looks: Looks, scale: float) -> None:
    thick = looks.limb * scale
    rim = 0.016 * scale
    for side in ("left", "right"):
        shoulder, elbow, hand = (
            joints[f"{side}_{joint}"] for joint in ("shoulder", "elbow", "hand")
        )
        paint_capsule(pixels, shoulder, elbow, thick, looks.shirt, outline=rim)
        paint_capsule(pixels, elbow, hand, 0.9 * thick, looks.shirt, outline=rim)
        paint_capsule(pixels, hand, hand, 0.048 * scale, looks.skin, outline=rim)

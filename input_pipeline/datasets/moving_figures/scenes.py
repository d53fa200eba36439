"""The surroundings of a clip: background, place of the figure, hand-held camera, light, noise."""

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from input_pipeline.datasets.moving_figures.colours import hsv

Pixels = Float[np.ndarray, "time height width 3"]
Background = Callable[[np.ndarray, np.ndarray], Pixels]


@dataclasses.dataclass(frozen=True)
class Scene:
    """Everything of a clip but the person and the action; lengths in frame heights.

    Attributes:
      background: (x [time, 1, width, 1], y [time, height, 1, 1]) -> [time, height, width, 3].
      x, floor: where the feet stand.
      scale: body height.
      sway: [time, 2] shift of the picture by the camera.
      mirrored: whether everybody is drawn the other way round.
      light: factor of all colours.
      noise: standard deviation of the sensor's noise, in [0, 1] units.
    """

    background: Background
    x: float
    floor: float
    scale: float
    sway: Float[np.ndarray, "time 2"]
    mirrored: bool
    light: float
    noise: float


def sample_scene(
    rng: np.random.Generator, time: Float[np.ndarray, " time"], background: str
) -> Scene:
    """Draws a scene.

    Args:
      time: of the frames, in [0, 1) over the clip.
      background: row of BACKGROUNDS.
    """
    return Scene(
        background=BACKGROUNDS[background](rng),
        x=rng.uniform(0.45, 0.55),
        floor=rng.uniform(0.94, 0.98),
        scale=rng.uniform(0.84, 0.92),
        sway=_sample_sway(rng, time),
        mirrored=bool(rng.random() < 0.5),
        light=rng.uniform(0.8, 1.1),
        noise=rng.uniform(0.005, 0.02),
    )


def _sample_sway(
    rng: np.random.Generator, time: Float[np.ndarray, " time"]
) -> Float[np.ndarray, "time 2"]:
    """A camera held by hand: two slow waves per axis, in the band of the actions' tempi."""
    cycles, start = rng.uniform(0.3, 2.2, (2, 2)), rng.uniform(0, 1, (2, 2))
    strength = rng.uniform(0.0, 0.006, (2, 2)) * (1.0, 0.7)
    return (strength * np.sin(2 * np.pi * (cycles * time[:, None, None] + start))).sum(1)


def room(rng: np.random.Generator) -> Background:
    """An indoor wall with a gradient, a floor, a soft texture and sometimes a door."""
    wall = hsv(rng.uniform(), rng.uniform(0.02, 0.2), rng.uniform(0.75, 0.98))
    ground = hsv(rng.uniform(), rng.uniform(0.05, 0.3), rng.uniform(0.5, 0.8))
    slope = rng.uniform(-0.2, 0.2, 2)
    horizon = rng.uniform(0.65, 0.9)
    waves, start = rng.uniform(-18, 18, (3, 2)), rng.uniform(0, 2 * np.pi, 3)
    strength = rng.uniform(0, 0.03, 3)
    door = rng.uniform(-0.4, 1.2), rng.uniform(0.12, 0.3), rng.uniform(0.75, 0.9)

    def paint(x: np.ndarray, y: np.ndarray) -> Pixels:
        shade = 1 + slope[0] * (x - 0.5) + slope[1] * (y - 0.5)
        inside = (x > door[0]) & (x < door[0] + door[1]) & (y > 0.15)
        texture = sum(
            a * np.sin(k[0] * x + k[1] * y + s)
            for a, k, s in zip(strength, waves, start, strict=True)
        )
        surface = np.where(y < horizon, np.where(inside, door[2], 1.0) * wall, ground)
        return surface * shade + texture

    return paint


def street(rng: np.random.Generator) -> Background:
    """Outdoors: sky over a row of houses with windows over tiled ground."""
    sky = hsv(rng.uniform(0.5, 0.65), rng.uniform(0.05, 0.3), rng.uniform(0.8, 1.0))
    house = hsv(rng.uniform(), rng.uniform(0.05, 0.25), rng.uniform(0.7, 0.95))
    ground = hsv(rng.uniform(0.05, 0.4), rng.uniform(0.05, 0.35), rng.uniform(0.5, 0.75))
    roof, horizon = rng.uniform(0.1, 0.5), rng.uniform(0.7, 0.88)
    pitch, offset = rng.uniform(0.15, 0.35, 2), rng.uniform(0, 1, 2)
    window, tile = rng.uniform(0.75, 1.05), rng.uniform(0.8, 1.0)

    def paint(x: np.ndarray, y: np.ndarray) -> Pixels:
        column, row = (x / pitch[0] + offset[0]) % 1, (y / pitch[1] + offset[1]) % 1
        front = np.where((column < 0.45) & (row < 0.5), window, 1.0) * house
        checks = np.where((np.floor(6 * x + offset[0]) + np.floor(12 * y)) % 2 == 0, tile, 1.0)
        ground_tiles = checks * ground
        return np.where(y < roof, sky * (1.1 - 0.4 * y), np.where(y < horizon, front, ground_tiles))

    return paint


BACKGROUNDS: dict[str, Callable[[np.random.Generator], Background]] = {
    "room": room,
    "street": street,
}

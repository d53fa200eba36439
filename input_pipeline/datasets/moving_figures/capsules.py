"""Capsules, the parts of drawn people: painted with distance functions, all frames at once."""

import dataclasses

import numpy as np
from jaxtyping import Float

from input_pipeline.datasets.moving_figures.poses import Points

Pixels = Float[np.ndarray, "time height width 3"]
Colour = tuple[float, float, float]


@dataclasses.dataclass(frozen=True)
class Capsule:
    """A thick line with round ends in every frame; in pixels, x to the right, y down.

    Attributes:
      start, end: ends of its axis.
      radius: half its thickness.
      colour: RGB in [0, 1].
      outline: width of a darker rim around it.
    """

    start: Points
    end: Points
    radius: float
    colour: Colour
    outline: float = 0.0

    def extent(self) -> Float[np.ndarray, "time 4"]:
        """Left, top, right, bottom: `paint_capsule` changes only pixels that touch this rectangle.

        For a pixel is painted where its centre is nearer than half a pixel.
        """
        reach = self.radius + self.outline
        low, high = np.minimum(self.start, self.end), np.maximum(self.start, self.end)
        return np.concatenate([low - reach, high + reach], axis=1)


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

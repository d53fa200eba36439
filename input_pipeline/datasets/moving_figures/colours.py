"""Colours by hue, saturation and value."""

import colorsys


def hsv(hue: float, saturation: float, value: float) -> tuple[float, float, float]:
    """RGB in [0, 1] of a colour in [0, 1]; the hue wraps around."""
    return colorsys.hsv_to_rgb(hue % 1.0, saturation, value)

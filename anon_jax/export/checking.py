"""How near a model has to be to f_A in float32 by JAX, and how near it is."""

import numpy as np
from jaxtyping import UInt8

from anon_jax.export.errors import ExportError
from anon_jax.image_metrics import psnr

Frames = UInt8[np.ndarray, "n h w 3"]

# Least PSNR of any frame, in dB between the uint8 outputs, by precision. An error of e grey levels
# (root mean square) is 20 log10(255 / e) dB. What f_A was trained to hide must not come back by
# rounding, so the limits are at or above 30 dB, where a viewer begins to see a difference.
LEAST_PSNR = {
    "float32": 50.0,  # 0.8 levels: more is no rounding. Measured: 79 and more
    "bf16": 35.0,  # 4.5 levels. Measured: 38 with random weights, 42 to 60 with trained ones
    "int8": 30.0,  # 8 levels. Measured: 35 to 51 with trained weights
}
EQUAL = 99.0  # stands for the infinite PSNR of equal frames, which JSON has no number for

PRECISIONS = tuple(LEAST_PSNR)


def worst_psnr(output: Frames, expected: Frames) -> float:
    """The least PSNR in dB of any frame; at most EQUAL.

    Raises:
      ExportError: the output is of another shape or type.
    """
    if output.shape != expected.shape or output.dtype != np.uint8:
        raise ExportError(
            f"the model made {output.dtype} {list(output.shape)}, not uint8 {list(expected.shape)}"
        )
    return float(min(psnr(output / 255, expected / 255).min(), EQUAL))


def check_psnr(found: float, precision: str, what: str) -> None:
    """Raises ExportError where `found` is under the limit of the precision.

    Args:
      what: begins the sentence.
    """
    least = LEAST_PSNR[precision]
    if not found >= least:
        advice = "use the engine jax" if precision == "float32" else "use a higher precision"
        if precision == "int8":
            advice += ", or calibrate on more frames of the kind that it will see"
        raise ExportError(
            f"{what} is {found:.1f} dB from what it should give, and {precision} has to reach "
            f"{least:.0f} dB: {advice}"
        )

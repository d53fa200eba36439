"""Exponential smoothing of an anonymizer's output over time, against flicker."""

import cv2
import numpy as np

from anon_jax.anonymize.frames import Frame

# Mean change between two raw frames, in grey levels, from which on they are different scenes.
CUT = 25.0
_THUMBNAIL = (32, 18)  # width, height: small enough that movement alone is no cut


class Smoothing:
    """s y' + (1 - s) x of the output x and the smoothed frame y' before; begins anew at cuts.

    Only frames that are anonymized as a whole may be smoothed.

    Attributes:
      cuts: how many were found so far.

    Args:
      share: s, from 0 up to but not including 1.
    """

    def __init__(self, share: float):
        self._share = share
        self._before: np.ndarray | None = None
        self._thumbnail: np.ndarray | None = None
        self.cuts = 0

    def __call__(self, frame: Frame, raw: Frame) -> Frame:
        """The smoothed frame; `raw` tells where a scene ends."""
        thumbnail = cv2.resize(
            cv2.cvtColor(raw, cv2.COLOR_RGB2GRAY), _THUMBNAIL, interpolation=cv2.INTER_AREA
        ).astype(np.float32)
        current = frame.astype(np.float32)
        if self._before is not None and self._thumbnail is not None:
            if np.abs(thumbnail - self._thumbnail).mean() < CUT:
                current = self._share * self._before + (1 - self._share) * current
            else:
                self.cuts += 1
        self._before, self._thumbnail = current, thumbnail
        return np.round(current).astype(np.uint8)

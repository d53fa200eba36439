"""What is passed from decoding to encoding: frames with their times, and what is known of them."""

import dataclasses
from fractions import Fraction

import numpy as np
from jaxtyping import Int, UInt8

Frame = UInt8[np.ndarray, "height width 3"]

# FFmpeg's numbers of the colour matrices that it converts RGB from and to (BT.709, FCC, BT.601
# twice, SMPTE 240M, BT.2020); any other is treated as not stated.
_MATRICES = (1, 4, 5, 6, 7, 9)
UNSTATED = 2


@dataclasses.dataclass(frozen=True)
class Shot:
    """One moment of a video.

    Attributes:
      frame: uint8 RGB, upright; None where it was damaged: black is written instead.
      pts: its time in units of `VideoFormat.time_base`, from 0 at the first one, rising.
      duration: in the same units.
    """

    frame: Frame | None
    pts: int
    duration: int


@dataclasses.dataclass(frozen=True)
class VideoFormat:
    """What the output takes over from the input.

    Attributes:
      height, width: in pixels as shown, after the rotation that the file asks for.
      fps: average frames a second; how the encoder spreads its bits, not the frames' times.
      time_base: seconds of one unit of time.
      pixel_aspect: width / height of a pixel as shown.
      matrix, full_range, primaries, transfer: the colours, in FFmpeg's numbers.
      start: seconds of the input's clock at which its first frame stands.
    """

    height: int
    width: int
    fps: Fraction
    time_base: Fraction
    pixel_aspect: Fraction = Fraction(1)
    matrix: int = UNSTATED
    full_range: bool = False
    primaries: int = UNSTATED
    transfer: int = UNSTATED
    start: Fraction = Fraction(0)

    @property
    def stated_matrix(self) -> int:
        """The matrix, where it is one that can be converted."""
        return self.matrix if self.matrix in _MATRICES else UNSTATED


@dataclasses.dataclass(frozen=True)
class Anonymized:
    """A frame that may be written.

    Attributes:
      frame: uint8 RGB of the raw frame's size.
      hidden: the boxes (top, left, height, width) that were hidden; None = the whole frame was.
    """

    frame: Frame
    hidden: Int[np.ndarray, "boxes 4"] | None = None

"""Anonymizers without parameters: reduce the whole frame, or hide detected people and faces.

Sources. The published tables (arXiv 2504.14301, with figures from SPAct, arXiv 2203.15205) have the
rows downsample 2x and 4x, blackening, weak blur and strong blur, the last three on the regions of
detected people. Their kernels are pixels of a frame size of their own, so they mean something else
at another one: here a blur's sigma is a share of the region. Those shares, the downsampling by 8,
and the downsampling with a blur are choices of this project.
"""

import dataclasses
from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
from jaxtyping import Int, UInt8

from input_pipeline.boxes import Boxes
from input_pipeline.records import Record

Frame = UInt8[np.ndarray, "height width 3"]

# Sigma of the blur / short side of the region: about 20 blobs are left across it, so that a face
# keeps eyes and mouth, or about 6, so that they flow together.
WEAK_SIGMA, STRONG_SIGMA = 1 / 20, 1 / 6

# Sigma of the blur of whole frames / side of the frame: about one pixel at 112.
FRAME_SIGMA = 1 / 112

# Pixels; a wider Gaussian is applied to a reduced picture, which costs a tenth and differs by a few
# grey levels.
_WIDEST_SIGMA = 4.0


def downsample(frame: Frame, factor: int) -> Frame:
    """Reduces a frame by a factor (area averaging) and brings it back to its size (bilinear)."""
    height, width = frame.shape[:2]
    reduced = (max(1, round(width / factor)), max(1, round(height / factor)))
    small = cv2.resize(frame, reduced, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def downsample_and_blur(frame: Frame, factor: int) -> Frame:
    """`downsample`, then a mild Gaussian blur of the whole frame, sigma FRAME_SIGMA of its side."""
    return _gaussian(downsample(frame, factor), FRAME_SIGMA * min(frame.shape[:2]))


def blacken(frame: Frame, boxes: Int[np.ndarray, "boxes 4"]) -> Frame:
    """Fills the boxes (top, left, height, width) with 0; the rest of the frame stays as it is."""
    hidden = frame.copy()
    for top, left, height, width in boxes.tolist():
        hidden[top : top + height, left : left + width] = 0
    return hidden


def blur(frame: Frame, boxes: Int[np.ndarray, "boxes 4"], share: float) -> Frame:
    """Blurs the boxes with a Gaussian whose sigma is `share` of the box's short side.

    A box takes no pixels from outside it, and nothing outside changes. Where boxes overlap, the
    larger one is blurred first, so that a face inside a person is hidden as a face too.
    """
    hidden = frame.copy()
    for top, left, height, width in sorted(boxes.tolist(), key=lambda box: -box[2] * box[3]):
        region = np.s_[top : top + height, left : left + width]
        hidden[region] = _gaussian(hidden[region], share * min(height, width))
    return hidden


def _gaussian(image: Frame, sigma: float) -> Frame:
    """A Gaussian blur; `sigma` in pixels."""
    height, width = image.shape[:2]
    factor = max(1, int(sigma / _WIDEST_SIGMA))
    small = image
    if factor > 1:
        reduced = (max(1, width // factor), max(1, height // factor))
        small = cv2.resize(image, reduced, interpolation=cv2.INTER_AREA)
    # The copy: OpenCV may read beyond the borders of a part of a larger picture.
    small = cv2.GaussianBlur(small.copy(), (0, 0), sigma / factor, borderType=cv2.BORDER_REPLICATE)
    if factor > 1:
        small = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    return small


@dataclasses.dataclass(frozen=True)
class Obfuscation:
    """One way to anonymize; both functions are pure, their frames uint8 RGB.

    Attributes:
      regions: (stored frame, boxes) -> frame, before crop and resize.
      whole: frame -> frame, after the view, at the networks' resolution.
    """

    regions: Callable[[Frame, Int[np.ndarray, "boxes 4"]], Frame] | None = None
    whole: Callable[[Frame], Frame] | None = None


OBFUSCATIONS = {
    "downsample2": Obfuscation(whole=partial(downsample, factor=2)),
    "downsample4": Obfuscation(whole=partial(downsample, factor=4)),
    "downsample8": Obfuscation(whole=partial(downsample, factor=8)),
    "downsample2_blur": Obfuscation(whole=partial(downsample_and_blur, factor=2)),
    "blacken": Obfuscation(regions=blacken),
    "weak_blur": Obfuscation(regions=partial(blur, share=WEAK_SIGMA)),
    "strong_blur": Obfuscation(regions=partial(blur, share=STRONG_SIGMA)),
}


@dataclasses.dataclass(frozen=True)
class Obfuscator:
    """An obfuscation with the boxes of the dataset that it is applied to.

    Attributes:
      boxes: needed where the obfuscation has `regions`.
    """

    obfuscation: Obfuscation = Obfuscation()
    boxes: Boxes | None = None

    def facts(self) -> dict[str, float]:
        """What a reader of results has to know: the share of frames in which there was a box."""
        return {"frames_with_boxes": self.boxes.share_of_frames()} if self.boxes else {}

    def stored(self, frame: Frame, record: Record, position: int) -> Frame:
        """What is left of a record's stored frame.

        Raises:
          DataError: the boxes are of frames of another size.
        """
        if self.obfuscation.regions is None:
            return frame
        assert self.boxes is not None, "regions need boxes"
        boxes = self.boxes.of_frame(record, position, frame.shape)
        return self.obfuscation.regions(frame, boxes)

    def seen(self, frame: Frame) -> Frame:
        """What is left of a frame at the networks' resolution."""
        return frame if self.obfuscation.whole is None else self.obfuscation.whole(frame)


RAW = Obfuscator()  # changes nothing

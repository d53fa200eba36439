"""Hides detected people and faces, with boxes held over the neighbouring frames."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from anon_jax.anonymize.frames import Anonymized, Frame
from input_pipeline.boxes import grow_boxes
from input_pipeline.detection import Detector, OpenCV
from input_pipeline.errors import DataError
from input_pipeline.face_network import FaceNetwork

Boxes = Int[np.ndarray, "boxes 4"]  # (top, left, height, width), inside the frame

# Frames before and after one whose boxes are hidden in it too: a detector that misses every other
# frame hides all of them, and what moves is covered on its way.
HOLD = 5
MARGIN = 0.15  # share of its size by which a box grows on each side


def find_with(detector: str, faces_only: bool = False) -> Callable[[Frame], Boxes]:
    """A function that finds people and faces in a frame.

    Args:
      detector: "opencv" (people and faces), or an ONNX file of a face network, which is asked
        besides: it finds more faces, and no people.
      faces_only: people are not sought, and a face network is asked alone: several times as fast,
        and clothes, hair and figure stay as they were.

    Raises:
      DataError: there is no such file, or it is no face network.
    """
    finders: list[Detector] = []
    if detector == "opencv" or not faces_only:
        finders.append(OpenCV(people=not faces_only))
    if detector != "opencv":
        model = Path(detector)
        if model.suffix != ".onnx" or not model.is_file():
            raise DataError(f"--detector is '{detector}'; known: opencv, or a file FILE.onnx")
        finders.append(FaceNetwork(model, threads=0))
    return lambda frame: np.concatenate([find(frame, "", 0) for find in finders])


class HideRegions:
    """Hides in each frame the boxes found in it and in the frames up to HOLD away.

    Args:
      find: frame -> boxes.
      hide: (frame, boxes) -> frame.
    """

    def __init__(
        self, find: Callable[[Frame], Boxes], hide: Callable[[Frame, Boxes], Frame]
    ) -> None:
        self._find, self._hide = find, hide
        self._waiting: deque[Frame] = deque()
        self._found: deque[Boxes] = deque()  # of up to HOLD frames done, then of those waiting
        self._done = 0  # how many of `_found` are of frames done
        self._frames = self._with_boxes = self._bare = 0

    def feed(self, frames: Sequence[Frame]) -> Iterable[Anonymized]:
        """The frames that HOLD others have followed."""
        for frame in frames:
            boxes = grow_boxes(self._find(frame), MARGIN, *frame.shape[:2])
            self._waiting.append(frame)
            self._found.append(boxes)
            self._frames += 1
            self._with_boxes += len(boxes) > 0
            if len(self._waiting) > HOLD:
                yield self._next()

    def finish(self) -> Iterable[Anonymized]:
        """The last frames."""
        while self._waiting:
            yield self._next()

    def facts(self) -> dict[str, Any]:
        """The share of frames in which something was found."""
        return {"frames_with_boxes": round(self._with_boxes / max(1, self._frames), 4)}

    def warnings(self) -> list[str]:
        """Whether frames passed as they were."""
        if not self._bare:
            return []
        return [
            f"nothing was detected in {self._bare} of {self._frames} frames or near them: they "
            "are as they were, with whoever the detector missed"
        ]

    def _next(self) -> Anonymized:
        frame = self._waiting.popleft()
        near = list(self._found)[: self._done + 1 + HOLD]
        boxes = np.unique(np.concatenate(near), axis=0)
        self._bare += not len(boxes)
        if self._done == HOLD:
            self._found.popleft()
        else:
            self._done += 1
        return Anonymized(self._hide(frame, boxes), boxes)

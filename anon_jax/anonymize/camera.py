"""Frames of a camera, at the moments when they came."""

import math
import time
from collections.abc import Iterator
from fractions import Fraction

import cv2

from anon_jax.anonymize.frames import Shot, VideoFormat
from input_pipeline.errors import DataError

_TIME_BASE = Fraction(1, 90000)
_DEFAULT_FPS = 30  # where the camera does not say
_PATIENCE = 3.0  # seconds without a picture after which the camera counts as gone


class CameraReader:
    """A camera by its number, for a given time (or infinitely); like `reading.VideoReader`.

    Raises (also while iterating):
      DataError: OpenCV cannot open it, or it stops giving pictures.
    """

    def __init__(self, number: int, seconds: float):
        self._number, self._seconds = number, seconds
        self._camera = cv2.VideoCapture(number)
        if not self._camera.isOpened():
            self.close()
            raise DataError(f"camera {number} cannot be opened; is it there, and free?")
        fps = self._camera.get(cv2.CAP_PROP_FPS)
        self._fps = Fraction(fps).limit_denominator(1001) if fps > 0 else Fraction(_DEFAULT_FPS)
        self.estimated = 0 if math.isinf(seconds) else max(1, round(seconds * self._fps))
        self.format: VideoFormat | None = None
        self.damaged = 0
        self.warnings: list[str] = []

    def __enter__(self) -> "CameraReader":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Frees the camera."""
        self._camera.release()

    def __iter__(self) -> Iterator[Shot]:
        step = max(1, round(1 / (self._fps * _TIME_BASE)))
        start = latest = time.monotonic()
        last = -1
        while latest - start < self._seconds:
            there, picture = self._camera.read()
            now = time.monotonic()
            if not there:
                if now - latest > _PATIENCE:
                    raise DataError(
                        f"camera {self._number} gives no more pictures: "
                        "is it plugged in, and does no other program use it?"
                    )
                continue
            if self.format is None:
                start = now
                height, width = picture.shape[:2]
                self.format = VideoFormat(height, width, self._fps, _TIME_BASE)
            latest = now
            last = max(last + 1, round((now - start) / _TIME_BASE))
            yield Shot(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), last, step)

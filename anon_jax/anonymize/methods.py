"""The ways to anonymize a video: a learned checkpoint, or an obfuscation, as streams of frames."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from jaxtyping import UInt8

from anon_jax.anonymize.engines import Engine, batch_size, make_engine
from anon_jax.anonymize.frames import Anonymized, Frame
from anon_jax.anonymize.regions import HideRegions, find_with
from anon_jax.anonymize.smoothing import Smoothing
from anon_jax.shipped import SMALL, SMALL_RESOLUTION, checkpoint_folder
from input_pipeline.errors import DataError
from input_pipeline.obfuscation import OBFUSCATIONS, downsample
from input_pipeline.video import scaled_size

# Rows that `downsample` leaves of the short side: what downsampling by 4 leaves of 112, the
# resolution of the published comparisons. A fixed factor would leave a face in a large frame.
LEFT_OF_SHORT_SIDE = 28

# A network without attention sees so many pixels around each one, whatever the frame's size.
_LARGEST_GROWTH = 2

METHODS = ("blur", "blacken", "downsample")
_REGIONS = {"blur": "strong_blur", "blacken": "blacken"}  # -> rows of OBFUSCATIONS


class FrameStream(Protocol):
    """Anonymizes the frames of one video in order; may hold some back to look ahead."""

    def feed(self, frames: Sequence[Frame]) -> Iterable[Anonymized]:
        """Takes frames; gives those that are ready."""

    def finish(self) -> Iterable[Anonymized]:
        """Gives the frames that were held back."""

    def facts(self) -> dict[str, Any]:
        """What a reader of the summary should know."""

    def warnings(self) -> list[str]:
        """What a person should know who trusts the result."""


@dataclasses.dataclass(frozen=True)
class Method:
    """A method with all that it needs, for any number of videos.

    Attributes:
      name: for the summary.
      facts: what identifies it, for the summary.
      start: (height, width) of the frames -> (stream, frames of a batch).
    """

    name: str
    facts: dict[str, Any]
    start: Callable[[int, int], tuple[FrameStream, int]]


def learned(
    checkpoint: str | Path,
    engine: str,
    resolution: int | None,
    smoothing: float,
    precision: str | None = None,
) -> Method:
    """f_A of a checkpoint.

    Args:
      checkpoint: a folder, or SMALL.
      engine: "auto" or a key of ENGINES.
      resolution: short side that larger frames are reduced to for f_A; its output is enlarged
        back. None = their own size, but SMALL_RESOLUTION for the checkpoint SMALL.
      smoothing: see `Smoothing`.
      precision: of the engine's arithmetic; see `make_engine`.

    Raises:
      DataError: as `make_engine`.
    """
    if str(checkpoint) == SMALL and resolution is None:
        resolution = SMALL_RESOLUTION
    running = make_engine(engine, checkpoint_folder(checkpoint), precision)

    def start(height: int, width: int) -> tuple[FrameStream, int]:
        size = scaled_size(height, width, resolution)
        frames = batch_size(*size)
        warnings = _too_large(min(size), running.trained_at)
        return WholeFrames(_padded(running, frames), resolution, smoothing, warnings), frames

    facts = {"checkpoint": str(checkpoint), "sha256": running.sha256}
    facts |= {"engine": running.name, "precision": running.precision}
    return Method("learned", facts, start)


def obfuscation(
    name: str,
    detector: str,
    resolution: int | None = None,
    smoothing: float = 0.0,
    faces_only: bool = False,
) -> Method:
    """A method of METHODS; `detector` and `faces_only` as in `find_with`, the rest as in `learned`.

    Raises:
      DataError: it is unknown, or an argument does not go with it.
    """
    if name not in METHODS:
        raise DataError(f"There is no method '{name}'; known: {', '.join(METHODS)}")
    if name == "downsample":
        if faces_only:
            raise DataError("--faces-only does not go with --method=downsample: it hides it all")
        return Method(
            name,
            {"left_of_short_side": LEFT_OF_SHORT_SIDE},
            lambda height, width: (WholeFrames(_downsample, resolution, smoothing), 8),
        )
    if smoothing:
        # What was hidden in this frame would shine through from one in which it was not found.
        raise DataError(f"--smoothing does not go with --method={name}: it would mix raw frames in")
    if resolution:
        raise DataError(f"--resolution does not go with --method={name}: it keeps the background")
    hide = OBFUSCATIONS[_REGIONS[name]].regions
    assert hide is not None
    find = find_with(detector, faces_only)
    facts = {"detector": detector, "faces_only": faces_only}
    return Method(name, facts, lambda height, width: (HideRegions(find, hide), 8))


class WholeFrames:
    """Anonymizes whole frames, at a smaller size if asked to, and smooths the result.

    Args:
      run: uint8 [N, H, W, 3] -> the same.
      warnings: what is known before the first frame.
    """

    def __init__(
        self,
        run: Callable[[UInt8[np.ndarray, "n h w 3"]], UInt8[np.ndarray, "n h w 3"]],
        resolution: int | None,
        smoothing: float,
        warnings: Sequence[str] = (),
    ):
        self._run, self._resolution, self._warnings = run, resolution, warnings
        self._smoothing = Smoothing(smoothing) if smoothing else None

    def feed(self, frames: Sequence[Frame]) -> Iterable[Anonymized]:
        """All of the frames, of one size, are ready at once."""
        height, width = frames[0].shape[:2]
        small = scaled_size(height, width, self._resolution)
        reduced = [_resize(frame, *small, cv2.INTER_AREA) for frame in frames]
        output = self._run(np.stack(reduced))
        for raw, frame in zip(frames, output, strict=True):
            whole = _resize(frame, height, width, cv2.INTER_LINEAR)
            yield Anonymized(self._smoothing(whole, raw) if self._smoothing else whole)

    def finish(self) -> Iterable[Anonymized]:
        """Nothing was held back."""
        return ()

    def facts(self) -> dict[str, Any]:
        """How the frames were smoothed."""
        return {"cuts": self._smoothing.cuts} if self._smoothing else {}

    def warnings(self) -> list[str]:
        """What the self-check does not say."""
        return list(self._warnings)


def _too_large(short_side: int, trained_at: int) -> list[str]:
    """A warning where people are much larger, in pixels, than in the frames of the training."""
    if short_side <= _LARGEST_GROWTH * trained_at:
        return []
    return [
        f"the anonymizer was trained on frames of {trained_at} pixels (short side) and sees "
        f"{short_side} here: it hides less of what is larger than there; "
        f"--resolution={trained_at} makes the frames smaller for it"
    ]


def _padded(engine: Engine, size: int) -> Callable[[np.ndarray], np.ndarray]:
    """Fills the last batch up, so that the engine compiles for one shape only."""

    def run(frames: np.ndarray) -> np.ndarray:
        missing = size - len(frames)
        if missing > 0:
            frames = np.concatenate([frames, np.repeat(frames[-1:], missing, axis=0)])
        output = engine(frames)
        # Before the filling is cut off, or frames would be taken for others unnoticed.
        if output.shape != frames.shape or output.dtype != np.uint8:
            raise DataError(
                f"the engine {engine.name} made {output.dtype} {list(output.shape)} of uint8 "
                f"{list(frames.shape)}: no frames"
            )
        return output[: size - max(0, missing)]

    return run


def _downsample(frames: UInt8[np.ndarray, "n h w 3"]) -> UInt8[np.ndarray, "n h w 3"]:
    factor = max(2, -(-min(frames.shape[1:3]) // LEFT_OF_SHORT_SIDE))  # rounded up
    return np.stack([downsample(frame, factor) for frame in frames])


def _resize(frame: Frame, height: int, width: int, interpolation: int) -> Frame:
    if frame.shape[:2] == (height, width):
        return frame
    return cv2.resize(frame, (width, height), interpolation=interpolation)

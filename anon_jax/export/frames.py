"""The frames that an export is calibrated and checked on: drawn ones, or those of given files."""

import itertools
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from anon_jax.anonymize.pictures import FORMATS, read_picture
from input_pipeline.video import VideoFrames, scaled_size

Image = UInt8[np.ndarray, "height width 3"]

SHORT_SIDE = 224  # pixels that the short side of frames from files is reduced to
OF_A_VIDEO = 16  # frames, evenly spaced over its first _LOOKED_AT
_LOOKED_AT = 256


def drawn_frames(count: int, side: int) -> list[Image]:
    """Images of moving_figures, each of another person, drawn at side x side pixels."""
    from input_pipeline.datasets.moving_figures.clips import sample_clip
    from input_pipeline.datasets.moving_figures.config import MovingFiguresConfig

    config = MovingFiguresConfig(
        name="drawn", description="To try models on.", still=True, frames=1, resolution=side
    )
    return [sample_clip(config, "test", index).frames[0] for index in range(count)]


def frames_of_files(paths: Iterable[Path]) -> list[Image]:
    """All images, and OF_A_VIDEO frames of each video, reduced to SHORT_SIDE.

    Raises:
      DataError: a file is missing, or no image or video.
    """
    found: list[Image] = []
    for path in paths:
        if path.suffix.lower() in FORMATS:
            found.append(_reduced(read_picture(path)))
            continue
        frames = VideoFrames(path, short_side=SHORT_SIDE)
        seen = list(itertools.islice(frames, _LOOKED_AT))
        chosen = np.linspace(0, len(seen) - 1, min(OF_A_VIDEO, len(seen)))
        found += [seen[round(index)] for index in chosen]
    return found


def _reduced(picture: Image) -> Image:
    height, width = scaled_size(picture.shape[0], picture.shape[1], SHORT_SIDE)
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA))

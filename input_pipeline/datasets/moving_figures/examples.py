"""Clips of moving_figures as the examples that its TFDS builder stores."""

import dataclasses
import json
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from input_pipeline.datasets.moving_figures import clips
from input_pipeline.datasets.moving_figures.config import MovingFiguresConfig

FPS = 8.0
JPEG_QUALITY = 95
RANGE_CLIPS = 64  # about a second's work

Example = tuple[str, dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class ClipRange:
    """The clips `start` to `stop` - 1 of a split: what a worker generates at a time."""

    config: MovingFiguresConfig
    split: str
    start: int
    stop: int

    def item_name(self, index: int) -> str:
        """What the clip at the place `index` of the range is called in a message."""
        return f"clip {self.start + index} of '{self.split}'"


def clip_ranges(config: MovingFiguresConfig, split: str) -> list[ClipRange]:
    """The ranges that make up a split."""
    count = config.clips.get(split, 0)
    return [
        ClipRange(config, split, start, min(start + RANGE_CLIPS, count))
        for start in range(0, count, RANGE_CLIPS)
    ]


def make_examples(part: ClipRange, tick: Callable[[], None]) -> list[Example]:
    """The examples of a range; `tick` after each."""
    made = []
    for example in examples(part):
        made.append(example)
        tick()
    return made


def examples(part: ClipRange) -> Iterator[Example]:
    """The key and the fields of each clip of a range."""
    config = part.config
    for index in range(part.start, part.stop):
        clip = clips.sample_clip(config, part.split, index)
        example = {
            "attributes": clip.attributes,
            "id": clip.id,
            "group": clip.group,
            "source_height": config.resolution,
            "source_width": config.resolution,
            "metadata": json.dumps(clip.metadata),
        }
        if config.still:
            example |= {"image": _jpeg(clip.frames[0])}
        else:
            example |= {
                "frames": [_jpeg(frame) for frame in clip.frames],
                "num_frames": len(clip.frames),
                "action": clip.action,
                "fps": FPS,
            }
        yield clip.id, example


def _jpeg(frame: UInt8[np.ndarray, "height width 3"]) -> bytes:
    """JPEG bytes of an RGB frame; colour is not subsampled, for that blurs things so small."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    sampling = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    written, data = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), quality + sampling)
    if not written:
        raise RuntimeError(f"OpenCV could not encode a frame of shape {frame.shape}")
    return data.tobytes()

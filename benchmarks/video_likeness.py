"""How alike the details of two videos are, by a measure that the anonymizing command does not use.

A frame's detail is what is finer than the rows that `downsample` leaves: its grey values less their
Gaussian blur. The likeness of two frames is the normalised correlation of their details, 1 for a
frame and a brighter or paler copy of it.
"""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import av
import cv2
import numpy as np
from jaxtyping import Float, UInt8

from anon_jax.anonymize.methods import LEFT_OF_SHORT_SIDE
from anon_jax.anonymize.reading import open_input
from input_pipeline.video import video_stream

# Between what real videos reach, see docs/reliability.md: anonymized up to 0.27, raw from 0.91.
BOUND = 0.7
_SHORT_SIDE = 10 * LEFT_OF_SHORT_SIDE  # pixels at which larger frames are compared
_SIGMAS = 6  # standard deviations of the blur in the height of a row that is left
FAINT = 1.5  # grey levels; a raw frame whose detail has no larger standard deviation has none

Frame = UInt8[np.ndarray, "height width 3"]


def decode(path: Path) -> Iterator[Frame]:
    """All frames that FFmpeg makes of a file, upright, those with errors too."""
    with open_input(str(path)) as container:
        stream = video_stream(container, path)
        for frame in _frames(container, stream):
            try:
                picture = frame.to_ndarray(format="rgb24")
            except (av.FFmpegError, ValueError):
                continue
            yield np.ascontiguousarray(np.rot90(picture, round(frame.rotation / 90) % 4))


def _frames(
    container: av.container.InputContainer, stream: av.VideoStream
) -> Iterator[av.VideoFrame]:
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError:  # the file breaks off
            packet = None
        with contextlib.suppress(av.FFmpegError):
            yield from stream.codec_context.decode(packet if packet and packet.size else None)
        if packet is None or not packet.size:
            return


def details(
    frames: Iterable[Frame], size: tuple[int, int], *, least: float = FAINT
) -> Float[np.ndarray, "frames pixels"]:
    """The details of the frames that have some, as rows of length 1.

    Args:
      size: (height, width) to which all frames are brought.
      least: standard deviation in grey levels that the detail has to be above. 0 for anonymized
        frames, where any faint trace of an input frame counts.
    """
    scale = min(1.0, _SHORT_SIDE / min(size))
    height, width = (max(1, round(side * scale)) for side in size)
    sigma = max(2, min(height, width) / LEFT_OF_SHORT_SIDE) / _SIGMAS
    rows = [np.zeros((0, height * width), np.float32)]
    for frame in frames:
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        grey = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
        detail = grey - cv2.GaussianBlur(grey, (0, 0), sigma)
        if detail.std() > least:
            rows.append(detail.reshape(1, -1))  # [height, width] -> [1, height * width]
    every = np.concatenate(rows)
    return every / np.linalg.norm(every, axis=1, keepdims=True)


def likeness(
    of: Float[np.ndarray, "frames pixels"], to: Float[np.ndarray, "others pixels"]
) -> Float[np.ndarray, " frames"]:
    """For each row of `of` the highest likeness to any row of `to`; 0 where there is none."""
    return (of @ to.T).max(axis=1, initial=0.0)

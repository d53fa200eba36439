"""Videos to JPEG frames: one, or many side by side on threads with the results in order."""

import collections
import dataclasses
import itertools
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from input_pipeline.errors import DataError
from input_pipeline.video import VideoFrames, VideoInfo

# One video is one record, and a record (a protocol buffer) must stay below 2 GiB. At a short side
# of 240 and quality 95 this is about 20,000 frames, eleven minutes at 30 frames per second.
MAX_VIDEO_BYTES = 512 * 2**20


@dataclasses.dataclass(frozen=True)
class EncodedVideo:
    """The frames of a video as JPEG bytes (RGB once decoded), and what is known of the source."""

    frames: list[bytes]
    info: VideoInfo


def encode_jpeg(frame: UInt8[np.ndarray, "height width 3"], quality: int = 95) -> bytes:
    """A uint8 RGB frame as JPEG bytes; `quality` from 1 to 100."""
    bgr = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)  # OpenCV takes every array for BGR
    encoded, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not encoded:
        raise DataError(f"A frame of {frame.shape[1]}x{frame.shape[0]} pixels cannot be a JPEG")
    return data.tobytes()


def encode_video(path: Path, *, short_side: int | None, quality: int) -> EncodedVideo:
    """Decodes a video and encodes its frames, one at a time.

    Raises:
      DataError: it cannot be decoded (see `VideoFrames`) or its JPEGs exceed MAX_VIDEO_BYTES.
    """
    video = VideoFrames(path, short_side=short_side)
    frames: list[bytes] = []
    size = 0
    for frame in video:
        frames.append(encode_jpeg(frame, quality))
        size += len(frames[-1])
        if size > MAX_VIDEO_BYTES:
            raise DataError(
                f"{path}: too long for one record: {len(frames)} frames are more than "
                f"{MAX_VIDEO_BYTES} bytes of JPEG; cut the video into clips"
            )
    return EncodedVideo(frames, video.info)


def encode_videos(
    paths: Iterable[Path], *, short_side: int | None, quality: int, workers: int
) -> Iterator[EncodedVideo | DataError]:
    """`encode_video` of each path in order, on `workers` threads; an error takes its video's place.

    Threads are enough because PyAV and OpenCV release the GIL while they work. At most
    2 * workers videos wait in memory.
    """

    def encode(path: Path) -> EncodedVideo | DataError:
        try:
            return encode_video(path, short_side=short_side, quality=quality)
        except DataError as error:
            return error

    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    try:
        remaining = iter(paths)
        pending: collections.deque[Future[EncodedVideo | DataError]] = collections.deque(
            pool.submit(encode, path) for path in itertools.islice(remaining, 2 * workers)
        )
        while pending:
            result = pending.popleft().result()
            pending.extend(pool.submit(encode, path) for path in itertools.islice(remaining, 1))
            yield result
    finally:
        pool.shutdown(cancel_futures=True)

"""Video and image files to JPEG frames."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from input_pipeline.errors import DataError
from input_pipeline.video import MAX_PIXELS, VideoFrames, VideoInfo, scaled_size

# One video is one record, and a record (a protocol buffer) must stay below 2 GiB. At a short side
# of 240 and quality 95 this is about 20,000 frames, eleven minutes at 30 frames per second.
MAX_VIDEO_BYTES = 512 * 2**20

_EXIF_ORIENTATION = 0x0112  # the tag's number; 1 is upright, 5 to 8 exchange height and width


@dataclasses.dataclass(frozen=True)
class EncodedMedia:
    """The frames as JPEG bytes (RGB once decoded; one for a still image), and their source."""

    frames: list[bytes]
    info: VideoInfo


def encode_jpeg(frame: UInt8[np.ndarray, "height width 3"], quality: int = 95) -> bytes:
    """A uint8 RGB frame as JPEG bytes; `quality` from 1 to 100."""
    bgr = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)  # OpenCV takes every array for BGR
    encoded, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not encoded:
        raise DataError(f"A frame of {frame.shape[1]}x{frame.shape[0]} pixels cannot be a JPEG")
    return data.tobytes()


def encode_video(path: Path, *, short_side: int | None, quality: int) -> EncodedMedia:
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
    return EncodedMedia(frames, video.info)


def encode_image(path: Path, *, short_side: int | None, quality: int) -> EncodedMedia:
    """Decodes a still image, upright as its EXIF orientation says, and encodes it anew.

    Raises:
      DataError: it is no image, damaged, or has more than MAX_PIXELS.
    """
    if not path.is_file():
        raise DataError(f"{path}: there is no such file")
    try:
        with Image.open(path) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise DataError(
                    f"{path}: {width}x{height} pixels are more than the limit of {MAX_PIXELS}; "
                    "reduce the image first"
                )
            turned = image.getexif().get(_EXIF_ORIENTATION, 1) >= 5  # by a quarter of a circle
            stored = scaled_size(height, width, short_side)[::-1]
            image.draft("RGB", stored)  # a JPEG is decoded at a half, a quarter, ... where it can
            rgb = ImageOps.exif_transpose(image.convert("RGB").resize(stored, Image.Resampling.BOX))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: cannot be read as an image: {error}") from error
    info = VideoInfo(
        source_height=width if turned else height,
        source_width=height if turned else width,
        num_frames=1,
    )
    return EncodedMedia([encode_jpeg(np.asarray(rgb), quality)], info)

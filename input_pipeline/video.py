"""Decoding of video files with PyAV: any codec, size or rotation in, uint8 RGB frames out."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Disposition
from av.video.reformatter import VideoReformatter
from jaxtyping import UInt8

from input_pipeline.errors import DataError

# The largest picture that is decoded, 8192x8192: twice an 8K film, 200 MB as RGB.
MAX_PIXELS = 2**26

# Bytes at the end of an AVI file in which its index is looked for: of nine hours at 30 frames/s.
_MAX_AVI_INDEX = 2**24


@dataclasses.dataclass
class VideoInfo:
    """What is known of a video.

    Attributes:
      fps: frames per second; 0 where the file does not say.
      source_height: height in pixels as shown (after rotation), before resizing.
      source_width: width in pixels as shown.
      num_frames: frames that were decoded.
      num_damaged: frames that were lost, or decoded with an error that the codec covered up.
    """

    fps: float = 0.0
    source_height: int = 0
    source_width: int = 0
    num_frames: int = 0
    num_damaged: int = 0


class VideoFrames:
    """The frames of a video file one after another, so that memory holds one at a time.

    Iterating yields uint8 RGB arrays [height, width, 3] in display order, all of one size, rotated
    as the file asks. Frame times are not looked at: a variable frame rate gives the frames as
    stored. An alpha channel is dropped. What cannot be decoded is left out and counted in `info`,
    which is complete once the iteration is; its rate and size are there from the first frame on.

    Args:
      path: the file.
      short_side: length in pixels that the shorter side is reduced to; a smaller video keeps its
        size. None keeps every video's size.
      max_frames: stop after so many frames.

    Raises (while iterating):
      DataError: there is no such file, it is no video, has no picture or one of more than
        MAX_PIXELS, or not one frame decodes.
    """

    def __init__(
        self, path: str | Path, *, short_side: int | None = None, max_frames: int | None = None
    ):
        for name, value in (("short_side", short_side), ("max_frames", max_frames)):
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        self.path = Path(path)
        self.short_side = short_side
        self.max_frames = max_frames
        self.info = VideoInfo()

    def __iter__(self) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
        self.info = info = VideoInfo()
        with _open(self.path) as container:
            stream = video_stream(container, self.path)
            info.fps = float(stream.average_rate or stream.guessed_rate or 0)
            scaler = _Scaler(self.short_side)
            packets = _Packets(container, stream, promised_frames(self.path, stream))
            concealed = 0
            for frame in packets.frames():
                rgb = scaler(frame, self.path)
                if not info.num_frames:
                    info.source_height, info.source_width = scaler.source_size
                info.num_frames += 1
                concealed += frame.is_corrupt
                info.num_damaged = packets.failed + concealed
                yield rgb
                if info.num_frames == self.max_frames:
                    return
            info.num_damaged = packets.lost(info.num_frames) + concealed
            if not info.num_frames:
                raise DataError(f"{self.path}: not one frame can be decoded; {packets.reason()}")


def decode_frames(
    path: str | Path, *, short_side: int | None = None, max_frames: int | None = None
) -> tuple[UInt8[np.ndarray, "frames height width 3"], VideoInfo]:
    """All frames of a short video in one array; arguments and errors are those of `VideoFrames`."""
    video = VideoFrames(path, short_side=short_side, max_frames=max_frames)
    frames = np.stack(list(video))
    return frames, video.info


def scaled_size(height: int, width: int, short_side: int | None) -> tuple[int, int]:
    """The (height, width) whose shorter side is `short_side`, never larger than the source."""
    shorter = min(height, width)
    if short_side is None or shorter <= short_side:
        return height, width
    scale = short_side / shorter
    return max(1, round(height * scale)), max(1, round(width * scale))


class _Packets:
    """Decodes packet by packet, so that a damaged one costs its own frames and not the rest."""

    def __init__(
        self, container: av.container.InputContainer, stream: av.VideoStream, promised: int
    ):
        self._container = container
        self._stream = stream
        self._promised = promised
        self._skipped = 0
        self._last_error: av.FFmpegError | None = None
        self.failed = 0

    def frames(self) -> Iterator[av.VideoFrame]:
        for packet in self._demux():
            # Empty and discarded packets stand in the container's count but have no frame to show.
            self._skipped += packet is not None and (packet.size == 0 or packet.is_discard)
            try:
                decoded = self._stream.codec_context.decode(packet)
            except av.FFmpegError as error:
                self._note(error)
                continue
            yield from decoded

    def _demux(self) -> Iterator[av.Packet | None]:
        try:
            # The demuxer ends with an empty packet: it is replaced by our own flush, which
            # also comes after a file that breaks off.
            for packet in self._container.demux(self._stream):
                if packet.dts is not None or packet.size:
                    yield packet
        except av.FFmpegError as error:
            self._note(error)
        yield None

    def _note(self, error: av.FFmpegError) -> None:
        self.failed += 1
        self._last_error = error

    def lost(self, num_frames: int) -> int:
        """Frames missing among those that the container promises."""
        return max(self.failed, self._promised - self._skipped - num_frames)

    def reason(self) -> str:
        if not self._stream.codec_context.width:
            return f"its picture is damaged or has more than {MAX_PIXELS} pixels, the limit"
        if self._last_error is None:
            return "the file holds no picture data"
        return f"the decoder says: {_reason(self._last_error)}"


class _Scaler:
    """Turns decoded frames into upright RGB arrays, all of the size that the first one gets."""

    def __init__(self, short_side: int | None):
        self._short_side = short_side
        self._size: tuple[int, int] | None = None
        # One reformatter for the whole video: FFmpeg prepares its tables once.
        self._reformatter = VideoReformatter()
        self.source_size = (0, 0)

    def __call__(self, frame: av.VideoFrame, path: Path) -> UInt8[np.ndarray, "height width 3"]:
        turns = round(frame.rotation / 90) % 4  # counterclockwise, as np.rot90 counts
        if self._size is None:
            self._size = scaled_size(frame.height, frame.width, self._short_side)
            stored = (frame.height, frame.width)
            self.source_size = stored[::-1] if turns % 2 else stored
        height, width = self._size
        try:
            rgb = self._reformatter.reformat(
                frame, width=width, height=height, format="rgb24", interpolation="AREA"
            )
        except (av.FFmpegError, ValueError) as error:
            raise DataError(
                f"{path}: pixels of format '{frame.format.name}' cannot be turned into RGB: {error}"
            ) from error
        return np.ascontiguousarray(np.rot90(rgb.to_ndarray(), turns))


# Tags that are no UTF-8 must not stop a video from being read. PyAV 19 dropped the option.
_METADATA: dict[str, Any] = (
    {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
)


@contextmanager
def _open(path: Path) -> Iterator[av.container.InputContainer]:
    if not path.is_file():
        raise DataError(f"{path}: " + ("is a folder" if path.is_dir() else "there is no such file"))
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty")
    # Only local files: a playlist under a video's name must not reach into the network. An
    # absolute path, because FFmpeg takes "name:" at the start of one for a protocol.
    options = {"protocol_whitelist": "file", "max_pixels": str(MAX_PIXELS)}
    try:
        container = av.open(str(path.absolute()), options=options, **_METADATA)
    except (av.FFmpegError, OSError) as error:
        raise DataError(
            f"{path}: no video that can be opened (damaged, cut short, or something else): "
            f"{_reason(error)}"
        ) from error
    with container:
        yield container


def promised_frames(path: Path, stream: av.VideoStream) -> int:
    """How many frames the file says that it has; 0 where it does not say.

    Programs that write AVI often leave an estimate in the header that is too high. Of such a file,
    where it was not cut short, the index at its end is what counts.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        stated = int.from_bytes(head[4:8], "little") + 8
        if head[:4] != b"RIFF" or head[8:] != b"AVI " or size < stated:
            return stream.frames
        file.seek(max(0, size - _MAX_AVI_INDEX))
        tail = file.read()
    start = tail.rfind(b"idx1")
    if start < 0:
        return 0
    length = int.from_bytes(tail[start + 4 : start + 8], "little")
    index = tail[start + 8 : start + 8 + length]
    entries = [index[at + 2 : at + 4] for at in range(0, len(index), 16)]
    return min(stream.frames, sum(entry in (b"dc", b"db") for entry in entries))


def video_stream(container: av.container.InputContainer, path: Path | str) -> av.VideoStream:
    """The first stream of moving pictures, ready to decode; the cover of a song is none.

    Raises:
      DataError: there is none that can be decoded; begins with `path`, a file's or a URL.
    """
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        kinds = ", ".join(sorted({stream.type for stream in container.streams}))
        raise DataError(
            f"{path}: has no video stream, only: {kinds}"
            if kinds
            else f"{path}: holds nothing that can be read (damaged or cut short)"
        )
    stream = streams[0]
    if stream.codec_context is None:  # such a stream has no size either
        raise DataError(f"{path}: its pictures are damaged, or of a codec that FFmpeg lacks")
    if stream.width * stream.height > MAX_PIXELS:
        raise DataError(
            f"{path}: {stream.width}x{stream.height} pixels a frame are more than the limit of "
            f"{MAX_PIXELS}; reduce the video first"
        )
    # One thread a file: whole files are decoded side by side, and the frames of a damaged file
    # then do not depend on how threads happened to be scheduled.
    stream.codec_context.thread_count = 1
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
    return stream


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)

"""Encoding of anonymized frames: the input's size, times and colours, and nothing else of it."""

from collections.abc import Iterable
from typing import BinaryIO, cast

import av
import numpy as np

from anon_jax.anonymize.frames import UNSTATED, Frame, VideoFormat
from anon_jax.anonymize.sound import Sound
from input_pipeline.errors import DataError

# Suffix of the output -> (container, video codec, audio codec).
CONTAINERS = {
    ".mp4": ("mp4", "libx264", "aac"),
    ".m4v": ("mp4", "libx264", "aac"),
    ".mov": ("mov", "libx264", "aac"),
    ".mkv": ("matroska", "libx264", "aac"),
    ".webm": ("webm", "libvpx-vp9", "libopus"),
}
_OPTIONS = {
    # No B-frames: MP4 tells the durations of reordered frames only where all are equal.
    "libx264": {"crf": "20", "preset": "veryfast", "bf": "0"},
    "libvpx-vp9": {"crf": "30", "b": "0", "deadline": "realtime", "cpu-used": "6", "row-mt": "1"},
}
_FULL, _LIMITED = 2, 1  # FFmpeg's numbers of the colour ranges
_BT601 = 5  # what FFmpeg takes an unstated matrix for


class VideoWriter:
    """Writes a video into an open file; a new container, so that nothing is taken over unseen.

    Times are kept to the unit. No metadata, chapter, thumbnail or further stream is written; the
    sound only where `sound` is given.

    Args:
      file: open for reading and writing.
      suffix: a key of CONTAINERS.
      video: of the frames that come.

    Raises (also by its methods):
      DataError: the encoder refuses such frames, or the file does not hold what was written.
      OSError: the disk is full, ...
    """

    def __init__(self, file: BinaryIO, suffix: str, video: VideoFormat, sound: Sound | None = None):
        container, codec, audio_codec = CONTAINERS[suffix]
        self._file, self._video, self._sound = file, video, sound
        self._container = av.open(file, "w", format=container)
        self._stream = self._add_video(codec)
        if sound:
            sound.start(self._container, audio_codec, video.start)
        self._durations: dict[int, int] = {}
        self._written = 0

    def write(self, frame: Frame | None, pts: int, duration: int) -> None:
        """Encodes one frame; None is black."""
        video = self._video
        if frame is None:
            frame = np.zeros((video.height, video.width, 3), np.uint8)
        picture = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(
            format=self._stream.pix_fmt,
            dst_colorspace=_BT601 if video.stated_matrix == UNSTATED else video.stated_matrix,
            dst_color_range=_FULL if video.full_range else _LIMITED,
        )
        picture.pts, picture.time_base = pts, video.time_base
        self._durations[pts] = duration
        self._written += 1
        self._mux(self._encode(picture))
        if self._sound:
            self._sound.advance(pts * video.time_base)

    def finish(self) -> None:
        """Writes what is left, closes the video, and reads it again to see that it is whole."""
        self._mux(self._encode(None))
        if self._sound:
            self._sound.advance(None)
        try:
            self._container.close()
        except av.FFmpegError as error:
            raise DataError(f"the video cannot be finished: {error.strerror}") from error
        self._file.flush()
        self._check()

    def abandon(self) -> None:
        """Frees the encoder after an error; the file is unusable."""
        # Closing writes an index, which fails again where the disk is full.
        try:
            self._container.close()
        except (av.FFmpegError, OSError, ValueError):
            return

    def _add_video(self, codec: str) -> av.VideoStream:
        video = self._video
        options = dict(_OPTIONS[codec])
        try:
            added = self._container.add_stream(codec, rate=video.fps, options=options)
        except ValueError as error:
            raise DataError(f"PyAV was built without the encoder {codec}: {error}") from error
        stream = cast(av.VideoStream, added)  # PyAV knows it by the codec's name
        stream.height, stream.width = video.height, video.width
        # H.264 halves the colour planes only of even sizes.
        odd = codec == "libx264" and (video.height % 2 or video.width % 2)
        stream.pix_fmt = "yuv444p" if odd else "yuv420p"
        stream.time_base = video.time_base
        context = stream.codec_context
        context.time_base = video.time_base
        context.sample_aspect_ratio = video.pixel_aspect
        context.colorspace = video.stated_matrix
        context.color_range = _FULL if video.full_range else _LIMITED
        context.color_primaries, context.color_trc = video.primaries, video.transfer
        return stream

    def _encode(self, picture: av.VideoFrame | None) -> list[av.Packet]:
        try:
            return self._stream.encode(picture)
        except (av.FFmpegError, ValueError) as error:
            size = f"{self._video.width}x{self._video.height}"
            raise DataError(f"frames of {size} pixels cannot be encoded: {error}") from error

    def _mux(self, packets: Iterable[av.Packet]) -> None:
        for packet in packets:
            # The last frame is shown for its own duration, which no following frame tells.
            duration = self._durations.pop(packet.pts, 0) if packet.pts is not None else 0
            packet.duration = duration or packet.duration
            self._mux_one(packet)

    def _mux_one(self, packet: av.Packet) -> None:
        try:
            self._container.mux(packet)
        except av.FFmpegError as error:  # a full disk is the file's own OSError
            raise DataError(f"a frame's time cannot be written: {error}") from error

    def _check(self) -> None:
        """Raises DataError unless the written file has every frame, and the expected streams."""
        self._file.seek(0)
        with av.open(self._file, "r") as written:
            kinds = sorted(stream.type for stream in written.streams)
            expected = ["audio", "video"] if self._sound else ["video"]
            packets = sum(packet.size > 0 for packet in written.demux(written.streams.video[0]))
        if kinds != expected or packets != self._written:
            raise DataError(
                f"the written file is not whole: {packets} of {self._written} frames, {kinds}"
            )

"""Decoding with times: every frame of a file or a stream at its moment, damaged ones named."""

from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from anon_jax.anonymize import urls
from anon_jax.anonymize.frames import Frame, Shot, VideoFormat
from anon_jax.anonymize.timing import Clock, Lost
from input_pipeline.errors import DataError
from input_pipeline.video import MAX_PIXELS, promised_frames, video_stream

_DEFAULT_FPS, _DEFAULT_TIME_BASE = Fraction(25), Fraction(1, 90000)  # where a file does not say
_ASPECT_TOLERANCE = 0.02  # of a frame of another size than the first, to be scaled to it
_FORGIVING: dict[str, Any] = (  # tags that are no UTF-8; PyAV 19 dropped the option
    {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
)


def open_input(source: str) -> av.container.InputContainer:
    """Opens a file, or a URL of `urls.SCHEMES`.

    Raises:
      DataError: it cannot be opened; says why.
    """
    if urls.is_url(source):
        return _open_url(source)
    check_file(Path(source))
    # A file must not reach into the network.
    options = {"protocol_whitelist": "file", "max_pixels": str(MAX_PIXELS)}
    try:
        # The absolute path: FFmpeg takes "name:" at the start of one for a protocol.
        return av.open(str(Path(source).absolute()), options=options, **_FORGIVING)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise DataError(
            f"{source}: no video that can be opened (damaged, cut short, or something else): "
            f"{reason(error)}"
        ) from error


def _open_url(source: str) -> av.container.InputContainer:
    name = urls.shown(source)
    if urls.scheme(source) not in urls.SCHEMES:
        raise DataError(f"{name}: unknown kind of URL; known: {', '.join(urls.SCHEMES)}")
    try:
        return av.open(source, **urls.open_arguments(), **_FORGIVING)
    except av.ExitError as error:
        late = f"no picture came within {urls.OPEN_SECONDS:g} seconds"
        raise DataError(f"{name}: cannot be opened: {late}") from error
    except (av.FFmpegError, OSError, ValueError) as error:
        raise DataError(f"{name}: cannot be opened: {reason(error)}") from error


def check_file(path: Path) -> None:
    """Raises DataError where there is no file, or an empty one."""
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "there is no such file"
        raise DataError(f"{urls.shown(str(path))}: {what}")  # a URL with a slash too few, e.g.
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty")


def reason(error: Exception) -> str:
    """What FFmpeg or the system says, without paths and numbers around it."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


class VideoReader:
    """The frames of a file or URL with their times; a context manager.

    Attributes:
      estimated: how many frames to expect, 0 where nobody knows.
      stored_size: [width, height] in the file, before rotation.
      format: known from the first shot on.
      damaged: shots without a frame so far, and after the last one also the frames that the file
        promises but does not have.
      warnings: sentences about what was found.

    Args:
      seconds: stop after so many.

    Raises (also while iterating):
      DataError: it is no video, or not one frame can be decoded; of a URL also when it breaks off,
        says nothing for `urls.SILENT_SECONDS`, or ends before `seconds` where it should not end.
    """

    def __init__(self, source: str, *, seconds: float | None = None):
        self._source, self._seconds = source, seconds
        self._name = urls.shown(source)
        self._stack = ExitStack()
        self._container = self._stack.enter_context(open_input(source))
        try:
            self._stream = video_stream(self._container, self._name)
        except DataError:
            self.close()
            raise
        stream = self._stream
        self._fps = Fraction(stream.average_rate or stream.guessed_rate or _DEFAULT_FPS)
        self._time_base = Fraction(stream.time_base or _DEFAULT_TIME_BASE)
        self._clock = Clock(max(1, round(1 / (self._fps * self._time_base))))
        self._lost = Lost(self._container.format.name, stream.codec_context.name)
        self._last_error: Exception | None = None
        self._picture = _Picture()
        self.format: VideoFormat | None = None
        self.estimated = self._estimate()
        self.stored_size = [stream.width, stream.height]
        self.damaged = 0
        self.warnings: list[str] = []

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Frees the file."""
        self._stack.close()

    def __iter__(self) -> Iterator[Shot]:
        early: list[Shot] = []  # damaged ones, before the first frame says what size black has
        num_frames = packets = 0
        ended = True
        for frame, pts, duration in self._decoded():
            moment = self._clock.place(pts, duration)
            if self._seconds is not None and moment[0] * self._time_base >= self._seconds:
                ended = False
                break
            picture = self._picture.upright(frame) if frame and not frame.is_corrupt else None
            shot = Shot(picture, *moment)
            packets += 1
            num_frames += picture is not None
            self.damaged += picture is None
            if self.format is None:
                if picture is None or frame is None:
                    early.append(shot)
                    continue
                self.format = self._format_of(frame, picture)
                yield from early
            yield shot
        if not num_frames:
            said = f": {reason(self._last_error)}" if self._last_error else ""
            raise DataError(f"{self._name}: not one frame can be decoded{said}")
        if ended and urls.is_url(self._source):
            self._check_end()
        self._count_missing(packets)

    def _decoded(self) -> Iterator[tuple[av.VideoFrame | None, int | None, int]]:
        """(frame or None where one was lost, its time, its duration), in order of display."""
        for packet in self._packets():
            if packet is not None:
                self._lost.sent(packet)
            try:
                frames = self._stream.codec_context.decode(packet)
            except av.FFmpegError as error:
                self._last_error = error
                yield from self._lost.failed(packet)
                continue
            for frame in frames:
                yield from self._lost.before(frame)
                yield frame, *self._lost.time_of(frame)
        yield from self._lost.rest()

    def _packets(self) -> Iterator[av.Packet | None]:
        """The packets, then None for the decoder to give out what it holds."""
        try:
            for packet in self._container.demux(self._stream):
                if packet.dts is not None or packet.size:
                    yield packet
        except (av.FFmpegError, OSError) as error:
            if urls.is_url(self._source):
                silent = f"nothing came for {urls.SILENT_SECONDS:g} seconds"
                said = silent if isinstance(error, av.ExitError) else reason(error)
                raise DataError(f"{self._name}: the stream broke off: {said}") from error
            self._last_error = error
            self.warnings.append(f"the file breaks off: {reason(error)}")
        yield None

    def _check_end(self) -> None:
        """Whether a URL gave all that it should."""
        got = float(self._clock.end * self._time_base)
        if self._seconds is None:
            if urls.scheme(self._source) in urls.UNENDING:
                self.warnings.append(
                    f"the stream ended after {got:.1f} s: nobody can tell whether it was cut off"
                )
        elif got + float(1 / self._fps) < self._seconds:
            ended = f"the stream ended after {got:.1f} of {self._seconds:g} s"
            if urls.scheme(self._source) in urls.UNENDING:
                raise DataError(f"{self._name}: {ended}")
            self.warnings.append(ended)

    def _count_missing(self, packets: int) -> None:
        if self._seconds is not None or urls.is_url(self._source):
            return
        promised = promised_frames(Path(self._source), self._stream) - self._lost.skipped
        if promised > packets:
            self.damaged += promised - packets
            self.warnings.append(f"{promised - packets} frames that the file promises are missing")

    def _format_of(self, frame: av.VideoFrame, picture: Frame) -> VideoFormat:
        aspect = Fraction(self._stream.sample_aspect_ratio or 1) or Fraction(1)
        return VideoFormat(
            height=picture.shape[0],
            width=picture.shape[1],
            fps=self._fps,
            time_base=self._time_base,
            pixel_aspect=1 / aspect if self._picture.turns % 2 else aspect,
            matrix=int(frame.colorspace),
            full_range=int(frame.color_range) == 2 and not frame.format.is_rgb,
            primaries=int(self._stream.codec_context.color_primaries),
            transfer=int(self._stream.codec_context.color_trc),
            start=self._clock.start * self._time_base,
        )

    def _estimate(self) -> int:
        if self._seconds is not None:
            return max(1, round(self._seconds * self._fps))
        duration = self._container.duration
        guess = round(duration / av.time_base * self._fps) if duration and duration > 0 else 0
        return self._stream.frames or guess


class _Picture:
    """Turns decoded frames into upright RGB arrays of the first one's size."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()
        self._size: tuple[int, int] | None = None
        self.turns = 0

    def upright(self, frame: av.VideoFrame) -> Frame | None:
        """None where the frame cannot be turned into RGB, or has other proportions."""
        if self._size is None:
            self._size = (frame.height, frame.width)
            self.turns = round(frame.rotation / 90) % 4  # counterclockwise, as np.rot90 counts
        height, width = self._size
        if abs(frame.width * height / (frame.height * width) - 1) > _ASPECT_TOLERANCE:
            return None
        try:
            rgb = self._reformatter.reformat(frame, width=width, height=height, format="rgb24")
        except (av.FFmpegError, ValueError):
            return None
        return np.ascontiguousarray(np.rot90(rgb.to_ndarray(), self.turns))

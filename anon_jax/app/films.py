"""Videos of the page: is this one within the limits, can a browser show it, and what comes out."""

import dataclasses
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from anon_jax.anonymize.batch import Options, run_jobs
from anon_jax.anonymize.jobs import VIDEO_SUFFIXES, Job
from anon_jax.anonymize.methods import Method
from anon_jax.anonymize.outputs import whole_or_nothing
from anon_jax.anonymize.pictures import FORMATS
from anon_jax.anonymize.reading import VideoReader, open_input, reason
from anon_jax.anonymize.writing import VideoWriter
from input_pipeline.errors import DataError
from input_pipeline.video import video_stream

_MOST_PIXELS = 4096 * 2304  # of a frame: more takes minutes for seconds of video
_MOST_FPS = 60  # of the limit of seconds: frames are what takes the time
# (container, codec, pixels) -> the suffix under which every browser plays it. Of Matroska they
# play only what calls itself WebM, which its container does not tell.
_PLAYABLE = {
    ("mov,mp4,m4a,3gp,3g2,mj2", "h264", "yuv420p"): ".mp4",
    ("mov,mp4,m4a,3gp,3g2,mj2", "h264", "yuvj420p"): ".mp4",
    ("matroska,webm", "vp9", "yuv420p"): ".webm",
}

Advance = Callable[[int], None]


@dataclasses.dataclass(frozen=True)
class Limits:
    """What the page takes.

    Attributes:
      megabytes: of a file, 2^20 bytes each.
      seconds: from the first to the last frame.
      pixels: of a frame.
    """

    megabytes: float = 200.0
    seconds: float = 120.0
    pixels: int = _MOST_PIXELS

    @property
    def bytes(self) -> int:
        """The most bytes of a file."""
        return round(self.megabytes * 2**20)

    @property
    def frames(self) -> int:
        """The most frames of a video."""
        return round(self.seconds * _MOST_FPS)


@dataclasses.dataclass(frozen=True)
class Film:
    """An uploaded video that may be anonymized.

    Attributes:
      path: of the file.
      name: what its owner calls it.
      width, height: in the file, before rotation.
      playable: whether browsers can show it as it is.
    """

    path: Path
    name: str
    width: int
    height: int
    frames: int
    seconds: float
    playable: bool


def take_film(upload: Path, folder: Path, name: str, limits: Limits) -> Film:
    """Moves an upload into `folder` and looks at it; where it is refused, it is deleted.

    Raises:
      DataError: it is no video, or beyond the limits; names it as its owner does.
    """
    suffix = Path(name).suffix.lower()
    path = folder / (f"raw{suffix}" if suffix in VIDEO_SUFFIXES or suffix in FORMATS else "raw")
    upload.replace(path)
    with suppress(OSError):  # another upload of the same video may lie there by now
        upload.parent.rmdir()
    try:
        return _inspect(path, name, limits)
    except DataError as error:
        path.unlink(missing_ok=True)
        raise DataError(str(error).replace(str(path), name)) from error


def make_copy(film: Film, output: Path, advance: Advance) -> None:
    """Writes the raw video as one that browsers play.

    Raises:
      DataError: not one frame can be decoded, or the copy cannot be written.
    """
    with VideoReader(str(film.path)) as reader, whole_or_nothing(output, overwrite=True) as file:
        writer: VideoWriter | None = None
        try:
            for number, shot in enumerate(reader, start=1):
                if writer is None:
                    assert reader.format is not None  # known with the first shot
                    writer = VideoWriter(file, output.suffix, reader.format)
                writer.write(shot.frame, shot.pts, shot.duration)
                advance(number)
            assert writer is not None  # a reader without a frame raises
            writer.finish()
        except BaseException:
            if writer:
                writer.abandon()
            raise


def anonymize(film: Film, output: Path, method: Method, advance: Advance) -> dict[str, Any]:
    """Anonymizes as the command does, without sound; returns the entry of its summary.

    Raises:
      DataError: it failed; then there is no output.
    """
    job = Job(str(film.path), output, "video")
    (entry,) = run_jobs([job], method, Options(overwrite=True, on_frame=advance))
    if entry["status"] == "failed":
        raise DataError(entry["error"])
    return entry


def _inspect(path: Path, name: str, limits: Limits) -> Film:
    size = path.stat().st_size
    if size > limits.bytes:
        raise DataError(
            f"{path}: {size / 2**20:.1f} MB are more than the {limits.megabytes:g} MB that this "
            "page takes; the command line takes files of any size"
        )
    if path.suffix in FORMATS:
        raise DataError(f"{path}: an image; this page takes videos, the command line both")
    with open_input(str(path)) as container:
        stream = video_stream(container, str(path))
        width, height = stream.width, stream.height
        if width * height > limits.pixels:
            raise DataError(
                f"{path}: frames of {width}x{height} pixels are more than the {limits.pixels} "
                "that this page takes; the command line takes more"
            )
        kind = (container.format.name, stream.codec_context.name, stream.pix_fmt or "")
        frames, seconds = _count(path, container, stream)
    if seconds > limits.seconds:
        raise DataError(
            f"{path}: {seconds:.1f} s are more than the {limits.seconds:g} s that this page takes; "
            "the command line takes any length"
        )
    if frames > limits.frames:
        raise DataError(
            f"{path}: {frames} frames are more than the {limits.frames} that this page takes "
            f"({limits.seconds:g} s of {_MOST_FPS} a second)"
        )
    suffix = _PLAYABLE.get(kind)
    playable = suffix == ".mp4" or (suffix == ".webm" and path.suffix == ".webm")
    if playable:  # a browser goes by the name
        path = path.replace(path.with_name(f"raw{suffix}"))
    return Film(path, name, width, height, frames, seconds, playable)


def _count(
    path: Path, container: av.container.InputContainer, stream: av.VideoStream
) -> tuple[int, float]:
    """(frames, seconds), counted: what a file says of itself may be wrong, or a lie."""
    frames, times, last = 0, [], 0
    try:
        for packet in container.demux(stream):
            if packet.size:
                frames += 1
                last = packet.duration or 0
                if packet.pts is not None:
                    times.append(packet.pts)
    except (av.FFmpegError, OSError) as error:
        if not frames:
            raise DataError(f"{path}: holds no frame that can be read: {reason(error)}") from error
    if not frames:
        raise DataError(f"{path}: holds no frame")
    fps = stream.average_rate or stream.guessed_rate or Fraction(25)
    base = stream.time_base or Fraction(1, 90000)
    spread = float((max(times) - min(times) + last) * base) if times else 0.0
    # Where packets have no times, or one for all, frames are shown at the stated rate.
    return frames, max(spread, 0.0) or float(frames / fps)

"""The videos that are damaged: the small ones of some folders, cut to their first seconds."""

import dataclasses
import io
import itertools
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av

from anon_jax.anonymize.frames import VideoFormat
from anon_jax.anonymize.jobs import VIDEO_SUFFIXES
from anon_jax.anonymize.writing import VideoWriter
from benchmarks.fuzz_processes import forked
from benchmarks.video_likeness import Frame, decode, details
from benchmarks.video_likeness import likeness as likeness_of
from input_pipeline.errors import DataError

_LARGEST = 3 * 2**20  # bytes of a file that is read
_SMALL = 150 * 2**10  # bytes of one that is not cut
_SECONDS = 1.5  # that are left of a larger one
_FORMATS = {".mpg": "mpeg", ".mkv": "matroska", ".ts": "mpegts"}  # else the suffix is the name
_FPS = Fraction(25)
_LIMIT = 60.0  # seconds for reading one


@dataclasses.dataclass(frozen=True)
class Source:
    """A video that is to be damaged.

    Attributes:
      likeness: the least one of a raw frame and what becomes of it when it is encoded as an output
        is; 1 where there is no frame with details.
    """

    name: str
    data: bytes
    likeness: float

    @property
    def suffix(self) -> str:
        """Of the file."""
        return Path(self.name).suffix


def read_sources(folders: Sequence[Path]) -> list[Source]:
    """All videos of at most 3 MiB, in the order of their names; empty files are left out.

    Raises:
      DataError: there is none.
    """
    paths = [path for folder in folders for path in sorted(folder.rglob("*"))]
    paths = [path for path in paths if path.suffix.lower() in VIDEO_SUFFIXES]
    sources = [_read(path) for path in paths if 0 < path.stat().st_size <= _LARGEST]
    if not sources:
        raise DataError(f"no videos of at most {_LARGEST} bytes in {', '.join(map(str, folders))}")
    return sources


def _read(path: Path) -> Source:
    """In a process of its own: codecs make threads, and what forks later must have none."""

    def read() -> int:
        data = path.read_bytes() if path.stat().st_size <= _SMALL else _beginning(path)
        try:
            frames = list(itertools.islice(decode(path), int(_SECONDS * _FPS)))
        except DataError:
            frames = []
        (room / "data").write_bytes(data)
        (room / "likeness").write_text(str(_encoded_likeness(frames) if frames else 1.0))
        return 0

    with tempfile.TemporaryDirectory(prefix="fuzz_sources_") as folder:
        room = Path(folder)
        ended = forked(read, room, _LIMIT)
        if ended.code != 0:
            raise DataError(f"{path}: cannot be prepared: {ended.said}")
        likeness = float((room / "likeness").read_text())
        return Source(path.name, (room / "data").read_bytes(), likeness)


def _beginning(path: Path) -> bytes:
    """The packets of the first seconds in a container of the same kind."""
    file = io.BytesIO()
    name = _FORMATS.get(path.suffix.lower(), path.suffix[1:].lower())
    with av.open(str(path)) as source, av.open(file, "w", format=name) as output:
        kept = [*source.streams.video[:1], *source.streams.audio[:1]]
        added = {stream.index: output.add_stream_from_template(stream) for stream in kept}
        for packet in source.demux(kept):
            if packet.dts is None or float(packet.dts * packet.time_base) > _SECONDS:
                continue
            packet.stream = added[packet.stream.index]
            output.mux(packet)
    return file.getvalue()


def _encoded_likeness(frames: Sequence[Frame]) -> float:
    """How alike frames that pass raw would be, the least of them."""
    height, width = size = frames[0].shape[:2]
    file = io.BytesIO()
    writer = VideoWriter(file, ".mp4", VideoFormat(height, width, _FPS, 1 / _FPS))
    for number, frame in enumerate(frames):
        writer.write(frame, number, 1)
    writer.finish()
    file.seek(0)
    with av.open(file, "r") as written:
        encoded = [frame.to_ndarray(format="rgb24") for frame in written.decode(video=0)]
    found = likeness_of(details(frames, size), details(encoded, size, least=0.0))
    return float(found.min(initial=1.0))

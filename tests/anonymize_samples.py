"""A tiny anonymizer of random weights, videos with what may not pass, and a look into both."""

import functools
import json
import struct
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import grain
import jax
import numpy as np

from anon_jax.anonymize.__main__ import main
from anon_jax.checkpoint import Checkpointer
from anon_jax.phases import modules
from anon_jax.restore import save_anonymizer
from anon_jax.results import write_json
from anon_jax.sharding import make_mesh, replicate
from anon_jax.state import Network, new_state
from configs import demo

UNEVEN = [0, 3000, 4000, 13000, 14000, 20000]  # of 90,000 a second: no two steps are equal

_FOLDERS = tempfile.TemporaryDirectory(prefix="anonymize_samples_")


@functools.cache
def workdir() -> Path:
    """What a run on four devices leaves: config.json and checkpoints/minimax, at steps 1 and 2."""
    folder = Path(_FOLDERS.name) / "run"
    config = demo.get_config()
    network = Network(modules.anonymizer(config))
    checkpointer = Checkpointer(folder / "checkpoints" / "minimax")
    # Not drawn by JAX: compiling the initialisation takes half a minute.
    like = network.abstract((1, 16, 16, 3))
    for step in (1, 2):
        rng = np.random.default_rng(step)
        net = jax.tree.map_with_path(lambda path, x: _drawn(path, x.shape, rng), like)  # noqa: B023
        state = new_state({"anonymizer": net}).replace(step=jax.numpy.int32(step))
        iterator = iter(grain.MapDataset.range(2).to_iter_dataset())
        checkpointer.save(replicate(state, make_mesh(4)), iterator)
    checkpointer.close()
    write_json(folder / "config.json", json.loads(json.dumps(config.to_dict())))
    return folder


def _drawn(path: tuple, shape: tuple[int, ...], rng: np.random.Generator) -> jax.Array:
    """Kernels as He et al. draw them; scales and variances of 1, biases and means of 0."""
    name = str(path[-1].key)
    if name == "kernel":
        fan_in = np.prod(shape[:-1])
        return jax.numpy.asarray(rng.normal(size=shape) * (2 / fan_in) ** 0.5, "float32")
    return jax.numpy.full(shape, float(name in ("scale", "var")), "float32")


@functools.cache
def exported() -> Path:
    """The same anonymizer, alone."""
    return save_anonymizer(workdir(), Path(_FOLDERS.name) / "exported")


def pictures(count: int, height: int = 48, width: int = 64, seed: int = 0) -> list[np.ndarray]:
    """Random uint8 frames of coarse blocks, each another one: detail that an encoder keeps."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3)).astype(np.uint8)
    rows, columns = -(-height // 8), -(-width // 8)
    return list(coarse.repeat(rows, 1).repeat(columns, 2)[:, :height, :width])


def write_timed(
    path: Path,
    frames: Sequence[np.ndarray],
    times: Sequence[int],
    *,
    time_base: Fraction = Fraction(1, 90000),
    damaged: Sequence[int] = (),
    tags: dict[str, str] | None = None,
    sound: bool = False,
) -> Path:
    """H.264, each frame on its own, at `times`; the packets `damaged` hold nonsense."""
    with av.open(str(path), "w") as container:
        container.metadata.update(tags or {})
        stream = container.add_stream("libx264", rate=25, options={"g": "1", "crf": "5"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = stream.time_base = time_base
        audio = container.add_stream("aac", rate=16000, layout="mono") if sound else None
        if tags:
            stream.metadata.update(tags)
        if tags:
            container.set_chapters([{"id": 1, "start": 0, "end": 9, "time_base": time_base,
                                     "metadata": {"title": "home"}}])  # fmt: skip
        packets: list[av.Packet] = []
        for array, time in zip(frames, times, strict=True):
            frame = av.VideoFrame.from_ndarray(array, format="rgb24")
            frame.pts, frame.time_base = time, time_base
            packets += stream.encode(frame)
        packets += stream.encode(None)
        if audio:
            container.mux(_sine(audio, float(times[-1] * time_base)))
        for index, packet in enumerate(packets):
            if index in damaged:
                packet.update((b"\0\0\0\1\x65" + b"\xa5" * packet.size)[: packet.size])
            container.mux(packet)
    return path


def _sine(stream: av.AudioStream, seconds: float) -> list[av.Packet]:
    time = np.arange(int(seconds * 16000))
    tone = (np.sin(time / 5) * 0.5).astype(np.float32)[None]  # [samples] -> [1, samples]
    frame = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = 16000, 0, Fraction(1, 16000)
    return [*stream.encode(frame), *stream.encode(None)]


def turn_clockwise(path: Path) -> Path:
    """Sets the rotation flag of an MP4 of one track: players turn it by 90 degrees."""
    data = path.read_bytes()
    one, unit = 1 << 16, 1 << 30  # the display matrix is in 16.16, its last column in 2.30
    upright = struct.pack(">9i", one, 0, 0, 0, one, 0, 0, 0, unit)
    clockwise = struct.pack(">9i", 0, one, 0, -one, 0, 0, 0, 0, unit)
    film, track, rest = data.split(upright)
    path.write_bytes(film + upright + track + clockwise + rest)
    return path


def read_times(path: Path) -> list[Fraction]:
    """The times in seconds at which the frames are shown."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [Fraction(frame.pts) * stream.time_base for frame in container.decode(stream)]


def facts(path: Path) -> dict:
    """What a look into a video shows."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return {
            "streams": [stream.type for stream in container.streams],
            "tags": {**container.metadata, **stream.metadata},
            "chapters": container.chapters(),
            "size": (stream.width, stream.height),
            "seconds": container.duration / av.time_base,
            "rate": stream.average_rate,
            "range": int(stream.codec_context.color_range),
            "matrix": int(stream.codec_context.colorspace),
            "aspect": stream.sample_aspect_ratio,
            "codec": stream.codec_context.name,
        }


def run(*arguments: object, method: str = "downsample") -> int:
    """The exit code of the command."""
    return main([str(a) for a in arguments] + [f"--method={method}"])


def files_in(folder: Path) -> list[str]:
    """All files below a folder, hidden ones too."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


class Identity:
    """An engine that lets everything pass."""

    name, precision, sha256, trained_at = "identity", "float32", "0" * 64, 64

    def __init__(self, checkpoint: Path, precision: str | None):
        self.calls = 0

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        self.calls += 1
        return frames.copy()

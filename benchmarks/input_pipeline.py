"""Speed and memory of the input pipeline: `python -m benchmarks.input_pipeline [--source=DIR]`.

Builds a dataset from H.264 videos (generated ones of 320x240, or those of DIR), reads clips of it
as training does, and prints what it took. Nothing else should run on the machine meanwhile.
"""

import argparse
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np

from benchmarks.machine import describe, peak_rss_mib, rss_mib
from input_pipeline.build import build_dataset
from input_pipeline.loader import train_stream
from input_pipeline.records import RecordSource, parse_record
from input_pipeline.specs import DatasetSpec
from input_pipeline.transforms import Augmentation, TrainClip, clip_positions, decode_jpeg

NUM_VIDEOS, NUM_COPIES, NUM_FRAMES, HEIGHT, WIDTH = 36, 6, 300, 240, 320
AUGMENTATION = Augmentation((0.6, 1.0), jitter=0.1, hue=0.1, grey=0.1, flip=0.5, erase=0.4)


def write_videos(
    folder: Path, videos: int = NUM_VIDEOS, copies: int = NUM_COPIES, frames: int = NUM_FRAMES
) -> None:
    """Videos of 320x240 in which two layers of texture move, with the spectrum of photographs.

    There are `copies` of each of the `videos`; the first two of twelve are for validation.
    """
    rng = np.random.default_rng(0)
    rows = ["file,action,split"]
    for index in range(videos):
        layers = [_texture(rng) for _ in range(2)]
        _encode(folder / f"{index}.mp4", layers, rng, frames)
        split = "validation" if index % 12 < 2 else "train"
        for copy in range(copies):  # long enough that the start of the processes counts little
            name = f"{index}_{copy}.mp4"
            os.link(folder / f"{index}.mp4", folder / name)
            rows.append(f"{name},{'left' if index % 2 else 'right'},{split}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")


def _texture(rng: np.random.Generator) -> np.ndarray:
    """A uint8 RGB picture [2 H, 2 W, 3] whose amplitudes fall with the frequency."""
    shape = (2 * HEIGHT, 2 * WIDTH)
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.fftfreq(shape[1])[None])
    spectrum = (
        np.fft.fft2(rng.normal(size=(3, *shape))) / np.maximum(frequency, 1 / shape[1]) ** 1.5
    )
    picture = np.fft.ifft2(spectrum).real
    picture = (picture - picture.mean()) / picture.std()
    return np.clip(128 + 48 * picture, 0, 255).astype(np.uint8).transpose(1, 2, 0)


def _encode(
    path: Path, layers: Sequence[np.ndarray], rng: np.random.Generator, frames: int
) -> None:
    steps = rng.uniform(-1.5, 1.5, size=(2, 2))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        for time_index in range(frames):
            parts = []
            for layer, step in zip(layers, steps, strict=True):
                top, left = (np.abs(step * time_index).astype(int)) % (HEIGHT, WIDTH)
                parts.append(layer[top : top + HEIGHT, left : left + WIDTH])
            frame = parts[0].copy()
            frame[60:180, 100:220] = parts[1][60:180, 100:220]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


def measure_build(source: Path, data: Path, workers: int) -> tuple[DatasetSpec, dict[str, float]]:
    """Frames a second of a build, start of the processes and estimate included."""
    start = time.perf_counter()
    (spec,) = build_dataset("video_folder", data, source=source, name="clips", workers=workers)
    seconds = time.perf_counter() - start
    frames = json.loads((spec.path / "build_report.json").read_text())["frames"]
    size = sum(path.stat().st_size for path in spec.path.glob("*array_record*"))
    return spec, {"build frames/s": frames / seconds, "stored KiB a frame": size / frames / 1024}


def measure_record(source: RecordSource) -> dict[str, float]:
    """Milliseconds to read and parse a record, and to decode a clip of 16 frames; medians."""
    longest = max(range(min(len(source), 40)), key=lambda index: len(source[index].frames))
    data = source.read(longest)
    record = parse_record(data, longest)

    def decode() -> None:
        for position in clip_positions(len(record.frames), 16, 2, 0.5):
            decode_jpeg(record.frames[position], record)

    return {
        "frames of the record": len(record.frames),
        "read a record ms": 1e3 * _median_seconds(lambda: source.read(longest)),
        "parse a record ms": 1e3 * _median_seconds(lambda: parse_record(data, longest)),
        "decode 16 frames ms": 1e3 * _median_seconds(decode),
    }


def measure_clips(
    source: RecordSource, *, threads: int, resolution: int, seconds: float
) -> dict[str, float]:
    """Clips of 16 frames a second, as training reads them, after a warm-up of a second."""
    transform = TrainClip(16, 2, resolution, AUGMENTATION, repeat_short=True)
    stream = iter(
        train_stream(source, transform, batch_size=8, seed=0, num_threads=threads, prefetch=threads)
    )
    end = time.perf_counter() + 1
    while time.perf_counter() < end:
        next(stream)
    start, clips = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        clips += len(next(stream)["index"])
    return {f"clips/s at {resolution}": clips / (time.perf_counter() - start)}


def measure_memory(
    source: RecordSource, *, threads: int, minutes: float, rate: float
) -> dict[str, float]:
    """Resident MiB after a minute's warm-up (a tenth of a short run), at the end, and at most.

    `rate` bounds the clips a second, as a training step does; 0 = as fast as they come.
    """
    transform = TrainClip(16, 2, 112, AUGMENTATION, repeat_short=True)
    stream = iter(
        train_stream(source, transform, batch_size=8, seed=0, num_threads=threads, prefetch=threads)
    )
    start = time.monotonic()
    end, settled = start + 60 * minutes, start + min(60, 6 * minutes)
    first, clips = 0.0, 0
    for count in itertools.count():
        clips += len(next(stream)["index"])
        if rate:
            time.sleep(max(0.0, start + clips / rate - time.monotonic()))
        if count % 50 == 0:
            now = time.monotonic()
            first = first if first or now < settled else rss_mib()
            if now > end:
                break
    return {
        "minutes": minutes,
        "clips read": clips,
        "MiB when warm": first,
        "MiB at the end": rss_mib(),
        "MiB at most": peak_rss_mib(),
    }


def _median_seconds(function: Callable[[], Any], repeats: int = 50) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def main(argv: Sequence[str] | None = None) -> int:
    """Prints a table; `--json=FILE` writes the same."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.input_pipeline")
    add = parser.add_argument
    add("--source", type=Path, metavar="DIR", help="videos and labels.csv to take instead")
    add("--threads", type=int, default=os.cpu_count() or 1, help="that read (default: the cores)")
    add("--seconds", type=float, default=20.0, help="of each reading (default: 20)")
    add("--memory_minutes", type=float, default=0.0, help="of reading to watch memory (default: 0)")
    add("--memory_rate", type=float, default=0.0, help="clips a second then (default: all it can)")
    add("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args(argv)
    results: dict[str, Any] = {"machine": describe()}
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.source or Path(scratch, "videos")
        if not arguments.source:
            folder.mkdir()
            write_videos(folder)
        spec, build = measure_build(folder, Path(scratch, "data"), os.cpu_count() or 1)
        source = RecordSource(spec, "train")
        results |= build | measure_record(source)
        for resolution in (112, 224):
            results |= measure_clips(
                source,
                threads=arguments.threads,
                resolution=resolution,
                seconds=arguments.seconds,
            )
        if arguments.memory_minutes:
            minutes = arguments.memory_minutes
            rate = arguments.memory_rate
            results |= measure_memory(source, threads=arguments.threads, minutes=minutes, rate=rate)
    for name, value in results.items():
        print(f"{name:24}{value if isinstance(value, str) else f'{value:.4g}'}")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What a JPEG quality costs: `python -m benchmarks.stored_frames --source=DIR [--short_side=240]`.

Decodes evenly spaced videos of a folder, stores their frames at several qualities, and prints the
size of a frame and the PSNR of the stored frames against the decoded ones.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from input_pipeline.annotations.files import VIDEO_SUFFIXES
from input_pipeline.encoding import encode_jpeg
from input_pipeline.video import VideoFrames

QUALITIES = (75, 85, 90, 95, 98)
EVERY = 5  # frames: neighbours tell little more


def measure(path: Path, short_side: int) -> dict[int, tuple[list[int], list[float]]]:
    """For each quality the bytes and the mean squared errors of the frames."""
    found: dict[int, tuple[list[int], list[float]]] = {q: ([], []) for q in QUALITIES}
    for index, frame in enumerate(VideoFrames(path, short_side=short_side)):
        if index % EVERY:
            continue
        for quality, (sizes, errors) in found.items():
            data = encode_jpeg(frame, quality)
            stored = np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB))
            sizes.append(len(data))
            errors.append(float(np.mean(np.subtract(stored, frame, dtype=np.float64) ** 2)))
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Prints a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stored_frames")
    parser.add_argument("--source", type=Path, required=True, metavar="DIR")
    parser.add_argument("--short_side", type=int, default=240, metavar="PIXELS")
    parser.add_argument("--videos", type=int, default=60, metavar="N", help="most to read")
    arguments = parser.parse_args(argv)
    paths = sorted(p for p in arguments.source.rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES)
    chosen = paths[:: max(1, len(paths) // arguments.videos)][: arguments.videos]
    if not chosen:
        sys.exit(f"{arguments.source}: there is no video below this folder")
    measured = [measure(path, arguments.short_side) for path in chosen]
    print(f"{len(chosen)} of {len(paths)} videos, every {EVERY}th frame")
    print("quality   KiB a frame   PSNR dB (median of videos, least, most)")
    for quality in QUALITIES:
        sizes = [size for found in measured for size in found[quality][0]]
        psnr = [10 * np.log10(255**2 / np.mean(found[quality][1])) for found in measured]
        spread = f"{np.median(psnr):.1f} ({min(psnr):.1f} to {max(psnr):.1f})"
        print(f"{quality:7}   {np.mean(sizes) / 1024:11.1f}   {spread}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Small videos made for the tests, and the way to the real samples beside the repository."""

import os
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]


def data_folder(*parts: str) -> Path:
    """A folder of the real data (`../shared/data` or ANON_JAX_DATA); skips the test without it."""
    folder = Path(os.environ.get("ANON_JAX_DATA", ROOT.parent / "shared" / "data")).joinpath(*parts)
    if not folder.exists():
        pytest.skip(f"the real data is not there: {folder} (ANON_JAX_DATA names another folder)")
    return folder


def halves(
    left: Sequence[int], right: Sequence[int], height: int = 48, width: int = 64
) -> np.ndarray:
    """A frame [height, width, 3] whose left and right halves have one RGB colour each."""
    frame = np.empty((height, width, 3), np.uint8)
    frame[:, : width // 2], frame[:, width // 2 :] = left, right
    return frame


def write_video(
    path: Path,
    frames: Sequence[np.ndarray],
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    fps: int = 25,
    colorspace: int | None = None,
    color_range: int | None = None,
) -> Path:
    """Encodes uint8 RGB (or RGBA) frames at a high quality."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pix_fmt
        if codec == "libx264":
            stream.options = {"crf": "1", "preset": "ultrafast"}
        if codec in ("mpeg4", "mjpeg"):
            stream.options = {"qscale": "1"}
            stream.codec_context.qmin = 1
        target = {}
        if colorspace is not None:
            stream.codec_context.colorspace = target["dst_colorspace"] = colorspace
        if color_range is not None:
            stream.codec_context.color_range = target["dst_color_range"] = color_range
        for array in frames:
            source = "rgba" if array.shape[2] == 4 else "rgb24"
            frame = av.VideoFrame.from_ndarray(array, format=source)
            frame = frame.reformat(format=pix_fmt, **target)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_people(folder: Path, *people: str) -> None:
    """ACTION/PERSON_01.mp4 of two actions by each of the people."""
    frames = [halves((9 * i, 30, 40), (40, 50, 9 * i)) for i in range(20)]
    for action in ("wave", "walk"):
        for person in people:
            write_video(folder / action / f"{person}_01.mp4", frames)

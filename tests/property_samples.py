"""Strategies for the property tests: odd values, and files with bytes that damage has changed."""

import functools
import io
import os
import pickle
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from PIL import Image
from video_samples import write_video

from input_pipeline.encoding import encode_jpeg
from input_pipeline.records import Record

# The long form is for nights: HYPOTHESIS_PROFILE=long pytest tests/test_properties*.py. The short
# one draws the same cases each time, so that a change is not blamed for what was there before.
_COMMON = {
    "deadline": None,
    "database": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
}
LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
cases = (
    settings(max_examples=1200, **_COMMON)
    if LONG
    else settings(max_examples=20, derandomize=True, **_COMMON)
)

names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
keys = st.text(st.characters(codec="utf-8", exclude_characters="\0."), max_size=8)
numbers = st.one_of(
    st.integers(-(10**20), 10**20),
    st.integers(-3, 70),
    st.floats(),
    st.floats(-0.5, 1.5),
)
odd_values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, names),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(keys, inner, max_size=3),
    ),
    max_leaves=6,
)


def near(value: object) -> st.SearchStrategy[object]:
    """Values of the type of `value`, most of them near it; of a text itself alone."""
    if isinstance(value, bool):
        return st.booleans()
    if isinstance(value, int):
        return st.one_of(st.integers(0, 2 * value + 4), st.integers(0, 10**7))
    if isinstance(value, float):
        return st.one_of(st.floats(0, 1), st.floats(-0.5, 2 * value + 2), st.floats())
    if isinstance(value, tuple) and all(isinstance(part, float) for part in value):
        return st.lists(st.floats(-0.1, 1.2), max_size=4).map(tuple)
    return st.just(value)


@st.composite
def damaged(draw: st.DrawFn, original: bytes) -> bytes:
    """The bytes with some changed, and perhaps the end cut off."""
    data = bytearray(original)
    places = st.integers(0, len(data) - 1)
    for place, value in draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=8)):
        data[place] = value
    end = draw(st.one_of(st.just(len(data)), places))
    return bytes(data[:end])


@functools.cache
def picture_file(kind: str, side: int = 12) -> bytes:
    """A small picture as a file of a format that Pillow knows."""
    pixels = np.random.default_rng(0).integers(0, 256, (side, side + 3, 3)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


@functools.cache
def video_file(folder: str, suffix: str, codec: str) -> bytes:
    """Eight small frames as a video file."""
    pixels = np.random.default_rng(0).integers(0, 256, (8, 16, 32, 3)).astype(np.uint8)
    path = write_video(Path(folder) / f"video{suffix}", list(pixels), codec=codec)
    return path.read_bytes()


@functools.cache
def pickle_file(protocol: int) -> bytes:
    """What the annotation pickles are made of."""
    arrays = {f"class/{i}.mp4": np.array([[0, 1, i % 2, 0, 1]]) for i in range(3)}
    return pickle.dumps(arrays, protocol)


def record(height: int, width: int, num_frames: int) -> Record:
    """A video of grey frames."""
    frame = encode_jpeg(np.full((height, width, 3), 90, np.uint8))
    attributes = np.array([0, 1], np.int32)
    return Record(0, "a", "", [frame] * num_frames, 0, attributes, 25.0, {})

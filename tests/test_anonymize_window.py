"""The live window: what a browser gets, who may look, the pace, and what is left out."""

import threading
import time
import urllib.error
import urllib.request
from fractions import Fraction

import cv2
import numpy as np
import pytest
from anonymize_samples import pictures, write_timed

from anon_jax.anonymize.__main__ import main
from anon_jax.anonymize.frames import Anonymized, Shot, VideoFormat
from anon_jax.anonymize.methods import Method
from anon_jax.anonymize.pipeline import Pipeline
from anon_jax.anonymize.selfcheck import SelfCheck
from anon_jax.anonymize.watching import watch
from anon_jax.anonymize.window import Window, WindowWriter
from input_pipeline.errors import DataError

VIDEO = VideoFormat(48, 64, Fraction(10), Fraction(1, 10))


class Inverted:
    """A stream that shows negatives, slowly if asked to."""

    def __init__(self, seconds=0.0):
        self._seconds = seconds

    def feed(self, frames):
        time.sleep(self._seconds)
        return [Anonymized(255 - frame) for frame in frames]

    def finish(self):
        return ()

    def facts(self):
        return {}

    def warnings(self):
        return []


def _method(stream):
    return Method("negative", {}, lambda height, width: (stream, 1))


def _get(url, **headers):
    return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=20)


def _shown(url):
    """The pictures of a page, RGB, to its end."""
    data = _get(f"{url}frames").read()
    for part in data.split(b"--frame\r\n")[1:]:
        head, _, body = part.partition(b"\r\n\r\n")
        size = int(head.rpartition(b": ")[2])
        yield cv2.imdecode(np.frombuffer(body[:size], np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def test_a_file_is_shown_anonymized_at_its_pace_and_nothing_is_written(
    tmp_path, monkeypatch, capsys
):
    frames = pictures(6)
    source = write_timed(tmp_path / "in.mp4", frames, range(0, 6 * 9000, 9000))
    opened: list[Window] = []
    monkeypatch.setattr(
        "anon_jax.anonymize.watching.Window", lambda port: opened.append(Window(port)) or opened[0]
    )
    entries = []

    def run():
        entries.append(watch(str(source), _method(Inverted()), port=0, seconds=None, preview=False))

    watching = threading.Thread(target=run)
    watching.start()
    while not opened:
        time.sleep(0.01)
    assert '<img src="/frames"' in _get(opened[0].url).read().decode()
    start = time.monotonic()
    shown = list(_shown(opened[0].url))
    assert time.monotonic() - start >= 0.5  # six frames, 0.1 s from each to the next
    watching.join()
    assert len(shown) == entries[0]["frames"] == 6
    for picture, frame in zip(shown, frames, strict=True):
        # H.264 and JPEG with halved colour planes; the raw frame is about 100 away.
        assert np.abs(picture - (255.0 - frame)).mean() < 20
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]
    assert opened[0].url in capsys.readouterr().err


def test_only_pages_of_this_machine_are_answered():
    with Window(0) as window:
        assert _get(window.url).status == 200
        for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}):
            with pytest.raises(urllib.error.HTTPError, match="403"):
                _get(window.url, **headers)
        with pytest.raises(urllib.error.HTTPError, match="404"):
            _get(f"{window.url}../etc/passwd")
        assert window.url.startswith("http://127.0.0.1:")
        with pytest.raises(DataError, match="--port="):
            Window(int(window.url.rstrip("/").rpartition(":")[2]))


def test_a_damaged_frame_leaves_the_one_before_it():
    with Window(0) as window:
        writer = WindowWriter(window, VIDEO, timed=False)
        seen = window.pictures()
        writer.write(pictures(1)[0], 0, 1)
        first = next(seen)
        writer.write(None, 1, 1)
        writer.write(255 - pictures(1)[0], 2, 1)
        assert next(seen) != first


def test_frames_of_a_camera_that_come_too_fast_are_left_out():
    class Fast:
        format = VIDEO

        def __iter__(self):
            for number, frame in enumerate(pictures(60)):
                time.sleep(0.002)
                yield Shot(frame, number, 1)

    with Window(0) as window:
        pipeline = Pipeline(
            Fast(),
            _method(Inverted(seconds=0.02)),
            lambda video: WindowWriter(window, video, timed=False),
            check=SelfCheck(),
            preview=False,
            advance=lambda frames: None,
            drop_late=True,
        )
        pipeline.run()
    assert pipeline.frames + pipeline.dropped == 60
    assert pipeline.dropped > 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["in.mp4"], "--output=PATH, or --window"),
        (["in.mp4", "--window", "--output=x.mp4"], "--output=PATH, or --window"),
        (["in.mp4", "other.mp4", "--window"], "one video"),
        (["in.mp4", "--window", "--keep-audio"], "--keep-audio"),
        (["in.png", "--window"], "image"),
        (["nowhere.mp4", "--window"], "nowhere.mp4"),
    ],
)
def test_what_a_window_cannot_show_is_said(arguments, words, capsys):
    assert main([*arguments, "--method=downsample"]) == 2
    assert words in capsys.readouterr().err

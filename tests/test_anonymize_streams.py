"""Streams of the network through the command: lengths, ends of all kinds, and no password said."""

import _thread
import functools
import json
import signal
import socket
import threading
import time

import numpy as np
import pytest
from anonymize_samples import facts, files_in, pictures, read_times, run
from rtsp_server import RtspServer, transport_stream

from anon_jax.anonymize import urls
from anon_jax.anonymize.__main__ import main
from anon_jax.anonymize.timing import Clock
from input_pipeline.video import decode_frames

FRAMES = 75  # three seconds


@functools.cache
def camera() -> bytes:
    """What the camera sees: coarse random blocks, each frame another one."""
    return transport_stream(pictures(FRAMES, 96, 128))


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Two seconds instead of ten: long beside a connection within this machine."""
    monkeypatch.setattr(urls, "OPEN_SECONDS", 2.0)
    monkeypatch.setattr(urls, "SILENT_SECONDS", 2.0)


def test_a_stream_is_anonymized_for_as_long_as_asked(tmp_path, capsys):
    output, summary = tmp_path / "out.mp4", tmp_path / "s.json"
    with RtspServer(camera()) as server:
        assert run(server.url, f"--output={output}", "--seconds=2", f"--summary={summary}") == 0
    # TCP is asked for first: what UDP loses is a damaged frame.
    assert ["TCP" in transport for transport in server.transports] == [True]
    assert facts(output)["size"] == (128, 96)
    frames, _ = decode_frames(output)
    assert len(frames) == 50
    raw = np.stack(pictures(FRAMES, 96, 128)).astype(float)
    for frame in frames.astype(float):
        # Encoded raw frames are up to 6 grey levels from their originals, anonymized ones 14.
        assert np.abs(raw - frame).mean(axis=(1, 2, 3)).min() > 10
    (entry,) = json.loads(summary.read_text())["files"]
    assert (entry["frames"], entry["damaged"], entry["warnings"]) == (50, 0, [])
    assert files_in(tmp_path) == ["out.mp4", "s.json"]


def test_a_stream_that_begins_anew_goes_on(tmp_path):
    """Its times jump back: it must neither go on for ever nor stand still."""
    output = tmp_path / "out.mp4"
    with RtspServer(camera() * 2) as server:
        assert run(server.url, f"--output={output}", "--seconds=5") == 0
    times = read_times(output)
    steps = np.diff([float(time) for time in times])
    # The seam may be a frame or two short, which the decoder had not given out.
    assert len(times) == pytest.approx(125, abs=3)
    assert steps.min() > 0
    assert np.median(steps) == pytest.approx(1 / 25)
    clock = Clock(step=10)
    placed = [clock.place(pts, 10)[0] for pts in (500, 510, 505, 1000, 0, 10, None, 30)]
    assert placed == [0, 10, 11, 500, 510, 520, 530, 540]


def test_a_stream_that_ends_by_itself_is_whole_but_doubted(tmp_path, capsys):
    with RtspServer(camera()) as server:
        assert run(server.url, f"--output={tmp_path / 'out.mp4'}") == 0
    # The last frame of a transport stream is known as whole only when the next one begins.
    assert len(decode_frames(tmp_path / "out.mp4")[0]) in (FRAMES - 1, FRAMES)
    assert "nobody can tell whether it was cut off" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("server", "sentence"),
    [
        ({"send": 0.5}, "the stream ended after 1.5 of 3 s"),
        ({"send": 0.5, "then": "stall"}, "the stream broke off: nothing came for 2 seconds"),
        ({"send": 0.0, "then": "stall"}, "no picture came within 2 seconds"),
        ({"send": 0.0}, "cannot be opened"),
        ({"status": "401 Unauthorized"}, "Server returned 401 Unauthorized"),
        ({"status": "404 Not Found"}, "Server returned 404 Not Found"),
        ({"udp": True}, "cannot be opened"),
    ],
)
def test_a_stream_that_fails_leaves_a_sentence_and_no_output(tmp_path, capsys, server, sentence):
    begin = time.monotonic()
    with RtspServer(camera(), **server) as camera_server:
        url = camera_server.url.replace("//", "//user:secret@")
        arguments = [f"--output={tmp_path / 'o' / 'out.mp4'}", "--seconds=3"]
        assert run(url, *arguments, f"--summary={tmp_path / 's.json'}") == 2
    # Two seconds to open, two of silence, and a machine that is busy.
    assert time.monotonic() - begin < 10
    said = capsys.readouterr().err + (tmp_path / "s.json").read_text()
    assert sentence in said
    assert f"rtsp://***@{camera_server.address}/camera: " in said
    assert "secret" not in said
    assert "Traceback" not in said
    assert files_in(tmp_path) == ["s.json"]
    if "udp" in server:  # a camera without TCP is asked for UDP
        assert ["TCP" in transport for transport in camera_server.transports] == [True, False]


def test_nobody_listens(tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    url = f"rtsp://user:secret@127.0.0.1:{port}/camera"
    assert run(url, f"--output={tmp_path / 'out.mp4'}") == 2
    said = capsys.readouterr().err
    assert f"rtsp://***@127.0.0.1:{port}/camera: cannot be opened: Connection refused" in said
    assert files_in(tmp_path) == []


@pytest.fixture
def ctrl_c_heard():
    """What a shell starts in the background does not hear it."""
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, former)


@pytest.mark.usefixtures("ctrl_c_heard")
def test_ctrl_c_ends_a_stream_that_is_silent(tmp_path, monkeypatch, capsys):
    with RtspServer(camera(), send=0.5, then="stall") as server:
        # The silence ends the reading thread, and Ctrl-C comes well before that.
        monkeypatch.setattr(urls, "SILENT_SECONDS", 6.0)

        def press():
            while not server.transports:  # not connected yet
                time.sleep(0.1)
            time.sleep(1.0)
            _thread.interrupt_main()

        threading.Thread(target=press, daemon=True).start()
        assert run(server.url, f"--output={tmp_path / 'out.mp4'}") == 130
    assert files_in(tmp_path) == []


def test_no_password_in_names_summaries_and_sentences(tmp_path, capsys):
    with RtspServer(camera()) as server:
        url = server.url.replace("//", "//user:p@ss:secret@") + "?pwd=secret&channel=1"
        summary = f"--summary={tmp_path / 's.json'}"
        arguments = [url, f"--output={tmp_path / 'o'}/", "--seconds=1", summary]
        assert run(*arguments, "--dry-run") == 0
        assert run(*arguments) == 0
        assert run(*arguments) == 2  # it is there already
        assert run(url, *arguments) == 2  # both would have one name
        assert main([url, "--window", "--method=downsample", "--seconds=1", "--port=-1"]) == 2
    assert run(url.replace("rtsp", "ftp"), f"--output={tmp_path / 'a.mp4'}") == 2
    assert run(url.replace("://", ":/"), f"--output={tmp_path / 'a.mp4'}") == 2
    assert files_in(tmp_path) == ["o/stream.mp4", "s.json"]
    said = capsys.readouterr().err + (tmp_path / "s.json").read_text()
    assert f"rtsp://***@{server.address}/camera?pwd=***&channel=***" in said
    assert "secret" not in said


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("rtsp://host:554/live", "rtsp://host:554/live"),
        ("rtsp://user:secret@host/live", "rtsp://***@host/live"),
        ("http://host/v?user=a&pwd=b", "http://host/v?user=***&pwd=***"),
        ("rtsp://host/user=a_password=b/1.sdp", "rtsp://host/user=***/1.sdp"),
        ("srt://host:1?passphrase=a/b@c", "srt://***@c"),
        ("rtsp:/user:secret@host", "rtsp:/***@host"),
        ("films/a@b=c.mp4", "films/a@b=c.mp4"),
        ("0", "0"),
    ],
)
def test_what_is_shown_of_a_source(source, expected):
    assert urls.shown(source) == expected

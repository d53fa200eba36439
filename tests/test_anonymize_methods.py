"""The parts of the command: held boxes, smoothing, self-check, jobs, cameras, broken streams."""

import http.server
import threading
from fractions import Fraction
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest
from anonymize_samples import Identity, pictures, read_times, write_timed

from anon_jax.anonymize import camera, engines, regions
from anon_jax.anonymize.__main__ import main
from anon_jax.anonymize.frames import Anonymized
from anon_jax.anonymize.jobs import plan
from anon_jax.anonymize.methods import WholeFrames, learned, obfuscation
from anon_jax.anonymize.outputs import whole_or_nothing
from anon_jax.anonymize.selfcheck import SelfCheck
from anon_jax.anonymize.smoothing import Smoothing
from anon_jax.anonymize.timing import Clock, Lost
from anon_jax.image_metrics import flicker
from input_pipeline.errors import DataError
from input_pipeline.obfuscation import blacken


def test_boxes_hide_the_frames_around_the_one_they_were_found_in(monkeypatch):
    monkeypatch.setattr(regions, "MARGIN", 0.0)
    hold, found_in = regions.HOLD, 9
    frames = [np.full((20, 30, 3), 200, np.uint8) for _ in range(25)]
    frames[found_in][0, 0] = 7  # the detector's mark

    def find(frame):
        boxes = [[5, 6, 4, 3]] if frame[0, 0, 0] == 7 else []
        return np.array(boxes, np.int32).reshape(-1, 4)

    stream = regions.HideRegions(find, blacken)
    results = [r for start in range(0, 25, 4) for r in stream.feed(frames[start : start + 4])]
    results += stream.finish()
    assert len(results) == 25
    for number, result in enumerate(results):
        near = abs(number - found_in) <= hold
        assert (result.frame[5:9, 6:9] == 0).all() == near
        assert (result.frame[9:, :] == 200).all()
        assert len(result.hidden) == near
    assert stream.facts() == {"frames_with_boxes": 0.04}
    assert "14 of 25 frames" in stream.warnings()[0]  # 25 less 2 * HOLD + 1


def test_downsampling_leaves_the_same_rows_of_every_size():
    for side in (60, 480):
        frame = np.random.default_rng(0).integers(0, 256, (side, side, 3)).astype(np.uint8)
        stream, _ = obfuscation("downsample", "opencv").start(side, side)
        (result,) = stream.feed([frame])
        # Bilinear interpolation between n rows: at most n slopes, so as many bends down a column.
        bends = np.abs(np.diff(result.frame[:, 0, 0].astype(int), 2)) > 2
        assert result.frame.shape == frame.shape
        assert bends.sum() <= 2 * 28


def test_frames_far_larger_than_those_of_the_training_are_warned_of(monkeypatch, tmp_path):
    monkeypatch.setattr(engines, "ENGINES", {"identity": Identity})  # trained on 64 pixels

    def warnings(height, width, checkpoint=tmp_path, resolution=None):
        stream, _ = learned(checkpoint, "identity", resolution, 0.0).start(height, width)
        return stream.warnings()

    assert warnings(128, 300) == []
    (warning,) = warnings(300, 129)
    assert "trained on frames of 64 pixels (short side) and sees 129 here" in warning
    assert "--resolution=64" in warning
    assert warnings(300, 400, resolution=100) == []
    # The package's own checkpoint is run at its own size unless something else is asked for.
    assert warnings(300, 400, checkpoint="small") == []
    assert warnings(300, 400, checkpoint="small", resolution=200) != []


def test_resolution_works_small_and_gives_back_the_size():
    seen = []

    def run(frames):
        seen.append(frames.shape)
        return 255 - frames

    stream = WholeFrames(run, 24, 0.0)
    (result,) = stream.feed([np.full((48, 65, 3), 55, np.uint8)])
    assert seen == [(1, 24, 32, 3)]  # 65 * 24 / 48 = 32.5, rounded to even
    assert result.frame.shape == (48, 65, 3)
    assert (result.frame == 200).all()


def test_smoothing_lowers_flicker_on_a_still_scene_and_ends_at_cuts():
    rng = np.random.default_rng(0)
    raw = [np.full((32, 32, 3), level, np.uint8) for level in (60,) * 30 + (200,) * 30]
    # An anonymizer that flickers: noise around a level of its own for each scene.
    output = [
        np.clip(rng.normal(255 - frame[0, 0, 0], 20, frame.shape), 0, 255).astype(np.uint8)
        for frame in raw
    ]
    smoothing = Smoothing(0.8)
    smoothed = [smoothing(frame, raw_one) for frame, raw_one in zip(output, raw, strict=True)]
    assert smoothing.cuts == 1
    np.testing.assert_array_equal(smoothed[30], output[30])  # nothing of the scene before
    clip, still = (np.stack(frames[:30]) / 255.0 for frames in (smoothed, raw))
    before = flicker(np.stack(output[:30]) / 255.0, still)
    after = flicker(clip[10:], still[10:])
    # y - y' = (1 - s)(x - y') has a variance of (1 - s)^2 (1 + (1 - s) / (1 + s)) = 0.0444 of x's,
    # x - x' one of 2: a factor of 0.149. 5 % leave room for rounding to grey levels.
    assert after / before == pytest.approx(0.149, rel=0.05)


def test_the_self_check_sees_a_patch_and_ignores_flat_blocks():
    raw = cv2.resize(pictures(1, 30, 40, seed=3)[0], (312, 240), interpolation=cv2.INTER_CUBIC)
    rng = np.random.default_rng(1)
    changed = rng.integers(0, 256, raw.shape).astype(np.uint8)
    check = SelfCheck()
    check.add(raw, Anonymized(changed))
    assert check.facts()["share"] == 0.0
    assert check.warnings() == []
    patched = changed.copy()
    patched[60:132, 120:192] = raw[60:132, 120:192] // 2 + 40  # darker, of less contrast
    check = SelfCheck()
    check.add(raw, Anonymized(patched))
    assert check.facts()["region"] == [60, 120, 72, 72]
    assert "x 120 to 192, y 60 to 132" in check.warnings()[0]
    flat = np.full((240, 312, 3), 90, np.uint8)
    check = SelfCheck()
    check.add(flat, Anonymized(flat))
    assert check.warnings() == []


def test_the_self_check_looks_into_boxes_only():
    raw = cv2.resize(pictures(1, 30, 40, seed=3)[0], (312, 240), interpolation=cv2.INTER_CUBIC)
    boxes = np.array([[48, 60, 96, 96]], np.int32)
    for frame, share in ((raw, 1.0), (blacken(raw, boxes), 0.0)):
        check = SelfCheck()
        check.add(raw, Anonymized(frame, boxes))
        assert check.facts()["share"] == share
        assert bool(check.warnings()) == (share == 1.0)


def test_times_rise_whatever_the_file_says():
    clock = Clock(step=10)
    moments = [(500, 10), (510, 0), (None, 5), (505, 10), (540, 10)]
    #           first      follows   no time    backwards  a gap
    assert [clock.place(*m) for m in moments] == [(0, 10), (10, 10), (20, 5), (21, 10), (40, 10)]
    assert clock.start == 500


def test_frames_of_a_container_without_times_begin_with_its_first_packet():
    lost = Lost("avi", "h264")
    for dts in (0, 1, 2):  # two frames are held back for reordering
        lost.sent(SimpleNamespace(dts=dts, pts=dts, size=9, is_discard=False))
    # The third packet brings the first frame, and the end of the file the last two.
    frames = [SimpleNamespace(dts=dts, pts=wrong) for dts, wrong in ((2, 1), (None, 0), (None, 2))]
    assert [lost.time_of(frame) for frame in frames] == [(0, 0), (None, 0), (None, 0)]


def test_outputs_of_folders_patterns_and_clashes(tmp_path):
    for name in ("f/a.avi", "f/a.mpg", "f/x/b.MKV", "f/x/c.jpg", "f/x/d.txt", "f/.h.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = plan([str(tmp_path / "f")], tmp_path / "o")
    names = [str(job.output.relative_to(tmp_path / "o")) for job in found.jobs]
    assert names == ["a.avi.mp4", "a.mpg.mp4", "x/b.mkv", "x/c.jpg"]
    assert [path.name for path in found.ignored] == ["d.txt"]
    assert found.many
    found = plan([str(tmp_path / "f" / "**" / "*.*")], tmp_path / "o")
    assert [job.output.name for job in found.jobs][:2] == ["a.avi.mp4", "a.mpg.mp4"]
    # The outputs of an earlier run, inside the folder, are no inputs.
    (tmp_path / "f" / "o").mkdir()
    (tmp_path / "f" / "o" / "a.mp4").write_bytes(b"x")
    assert len(plan([str(tmp_path / "f")], tmp_path / "f" / "o").jobs) == 4
    for inputs, output, sentence in (
        (["f/a.avi"], "o.avi", "can be written as .mp4"),
        (["f/x/c.jpg"], "o.mp4", "can be written as .png"),
        (["f/q*"], "o", "no file has such a name"),
        (["f/o", "f"], "f/a.avi", "is a file"),
    ):
        with pytest.raises(DataError, match=sentence):
            plan([str(tmp_path / name) for name in inputs], tmp_path / output)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no videos or images"):
        plan([str(tmp_path / "empty")], tmp_path / "o")


def test_an_output_appears_only_when_it_is_whole(tmp_path):
    path = tmp_path / "deep" / "a.mp4"

    def write(meanwhile) -> None:
        with whole_or_nothing(path, overwrite=False) as file:
            file.write(b"half")
            assert [p.suffix for p in path.parent.iterdir()] == [".partial"]
            meanwhile()

    def fail():
        raise KeyError

    with pytest.raises(KeyError):
        write(fail)
    assert not path.parent.exists()  # it was made for this output
    with pytest.raises(DataError, match="is there already"):
        write(lambda: path.write_bytes(b"somebody else's"))
    assert path.read_bytes() == b"somebody else's"
    with whole_or_nothing(path, overwrite=True) as file:
        file.write(b"whole")
    assert path.read_bytes() == b"whole"
    assert [p.name for p in path.parent.iterdir()] == ["a.mp4"]


class FakeCamera:
    """Gives a frame on each call, `left` of them."""

    left = 10**6

    def __init__(self, number):
        self.number = number

    def isOpened(self):
        return self.number == 0

    def get(self, what):
        return 25.0

    def read(self):
        self.left -= 1
        return (True, np.full((48, 64, 3), 90, np.uint8)) if self.left >= 0 else (False, None)

    def release(self):
        pass


def test_a_camera_is_read_for_a_time(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(camera.cv2, "VideoCapture", FakeCamera)
    monkeypatch.chdir(tmp_path)  # no file is called 0
    output = tmp_path / "a.mp4"
    arguments = [f"--output={output}", "--method=downsample"]
    assert main(["0", *arguments]) == 2
    assert "--seconds" in capsys.readouterr().err
    assert main(["1", *arguments, "--seconds=1"]) == 2
    assert "cannot be opened" in capsys.readouterr().err
    assert main(["0", *arguments, "--seconds=0.3"]) == 0
    times = read_times(output)
    assert 0.2 < times[-1] <= Fraction(1, 2)  # the camera's own moments; the machine may be slow
    monkeypatch.setattr(camera, "_PATIENCE", 0.05)
    monkeypatch.setattr(FakeCamera, "left", 5)
    output.unlink()
    assert main(["0", *arguments, "--seconds=5"]) == 2
    assert "gives no more pictures" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.fixture
def served(tmp_path):
    """A server of one video at /whole.ts, and of its first half at /cut.ts."""
    source = write_timed(tmp_path / "in.ts", pictures(60), range(0, 60 * 3600, 3600))
    data = source.read_bytes()
    source.unlink()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2] if "cut" in self.path else data)

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_url_that_dies_in_the_middle_leaves_nothing(tmp_path, served, capsys):
    output = tmp_path / "a.mp4"
    arguments = [f"--output={output}", "--method=downsample"]
    assert main([f"{served}/cut.ts", *arguments]) == 2
    assert "the stream broke off" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    assert main([f"{served}/whole.ts", *arguments]) == 0
    assert len(read_times(output)) == 60
    assert main([f"{served}/whole.ts", *arguments, "--overwrite", "--seconds=1"]) == 0
    assert len(read_times(output)) == 25  # the frames from 0 to 1 s
    assert main(["gopher://x/y", *arguments, "--overwrite"]) == 2
    assert "known: rtsp" in capsys.readouterr().err


def test_a_playlist_under_a_videos_name_does_not_reach_into_the_network(tmp_path, served):
    playlist = tmp_path / "in.m3u8"
    head = "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:2.4,\n"
    playlist.write_text(f"{head}{served}/whole.ts\n#EXT-X-ENDLIST\n")
    # FFmpeg follows it where it is allowed to.
    with av.open(str(playlist), options={"protocol_whitelist": "file,http,tcp"}) as container:
        assert container.streams.video
    assert main([str(playlist), f"--output={tmp_path / 'a.mp4'}", "--method=downsample"]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["in.m3u8"]
